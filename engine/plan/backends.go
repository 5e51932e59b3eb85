package plan

import (
	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// backends plans, for each frontend that is wanted, one backend for each
// replica of the functions that it balances to.
func (c *computer) backends() {
	for i := range c.in.Desired.Decls {
		d := &c.in.Desired.Decls[i]
		front := c.changeOf(d.Address)
		if d.Address.Kind != engine.KindFrontend || front == nil || front.Planned == cty.NilVal {
			continue
		}
		for _, fn := range engine.MustDecode[engine.Frontend](front.Planned).Targets() {
			for _, replica := range c.members[fn] {
				if b := engine.BackendOf(front.Address, replica); c.busy(b) {
					c.passes(b, d.Source)
				} else if r := c.changeOf(replica); r != nil && !resting(r) {
					c.add(c.decide(c.backend(*front, *r)))
				}
			}
		}
	}
}

func (c *computer) backend(front, replica engine.Change) subject {
	r := engine.MustDecode[engine.Replica](replica.Planned)
	b := engine.Backend{
		Frontend: front.Address.String(), Function: replica.Address.Group().String(),
		Protocol: r.Protocol, Drain: r.Drain, Health: healthOf(r),
	}
	want := engine.With(engine.Encode(b), map[string]cty.Value{
		"replica_id": replica.Planned.GetAttr("id"), "target": replica.Planned.GetAttr("address"),
	})
	return subject{
		addr: engine.BackendOf(front.Address, replica.Address), provider: front.Provider, want: want,
		needs:  []engine.Need{{Target: front.Address, Source: front.Source}, {Target: replica.Address, Source: replica.Source}},
		config: BackendConfig{Frontend: front.Address, Replica: replica.Address}, timeouts: front.Timeouts, source: front.Source,
	}
}

// healthOf carries a function's own check over to the frontend.
func healthOf(r engine.Replica) *engine.FrontHealth {
	h := r.Health
	if h == nil || h.HTTP == "" && !h.TCP {
		return nil
	}
	return &engine.FrontHealth{HTTP: h.HTTP, Interval: h.Interval, Timeout: h.Timeout, HealthyAfter: h.HealthyAfter, UnhealthyAfter: h.UnhealthyAfter}
}

// BackendConfig is the configuration of a backend: it follows from the replica.
type BackendConfig struct {
	Frontend, Replica engine.Address
}

// Eval implements engine.Config.
func (b BackendConfig) Eval(v engine.Values) (cty.Value, engine.Diagnostics) {
	val := v.Value(b.Replica)
	if !val.IsKnown() || val.IsNull() {
		return cty.DynamicVal, nil
	}
	bare, _ := val.UnmarkDeep()
	r := engine.MustDecode[engine.Replica](bare)
	want := engine.Encode(engine.Backend{
		Frontend: b.Frontend.String(), Function: b.Replica.Group().String(),
		Protocol: r.Protocol, Drain: r.Drain, Health: healthOf(r),
	})
	return engine.With(want, map[string]cty.Value{"replica_id": bare.GetAttr("id"), "target": bare.GetAttr("address")}), nil
}
