package plan

import (
	"fmt"
	"slices"

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
				if r := c.changeOf(replica); r != nil && !resting(r) {
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

// roll decides how the replicas of each function are replaced: with a surge
// where the machines have room for one, else one after the other.
func (c *computer) roll() {
	backends := map[engine.Address][]*engine.Change{} // by replica
	for i := range c.changes {
		if b := &c.changes[i]; b.Address.Kind == engine.KindBackend {
			_, replica := b.Address.Membership()
			backends[replica] = append(backends[replica], b)
		}
	}
	for i := range c.in.Desired.Decls {
		d := &c.in.Desired.Decls[i]
		if d.Address.Kind == engine.KindFunction {
			c.rollFunction(d, backends)
			c.pauses(d, backends)
		}
	}
}

func (c *computer) rollFunction(d *engine.Decl, backends map[engine.Address][]*engine.Change) {
	var moving []*engine.Change
	surge := true
	for _, a := range c.members[d.Address] {
		ch := c.changeOf(a)
		if ch == nil || ch.Action != engine.Replace {
			continue
		}
		moving = append(moving, ch)
		surge = surge && (ch.CreateFirst || ch.Prior.Lifecycle == engine.Tainted)
	}
	if len(moving) == 0 {
		return
	}
	window := d.Roll.MaxUnavailable
	if surge = surge && d.Roll.MaxSurge > 0 && c.reserveSurge(d, moving); surge {
		window = c.surgeWindow(d, moving)
	} else if window == 0 {
		c.fault(d.Address, &d.Source, "No room to replace replicas", fmt.Sprintf(
			"%s must be replaced without ever having fewer replicas (max_unavailable = 0), but its machines have no room for one more. Raise their slots or number, or allow max_unavailable = 1.", d.Address))
	}
	for _, ch := range moving {
		ch.CreateFirst = surge && ch.Prior.Lifecycle != engine.Tainted
		ch.Window = max(1, window)
		for _, b := range backends[ch.Address] { // they change places in the same order
			b.CreateFirst = b.Action == engine.Replace && ch.CreateFirst && b.Prior.Lifecycle != engine.Tainted
		}
	}
}

// reserveSurge takes room for one replica more on each machine where one is
// replaced in its place. One that moves has its new place already.
func (c *computer) reserveSurge(d *engine.Decl, moving []*engine.Change) bool {
	var done []engine.Address
	for _, ch := range moving {
		p := c.machine[ch.Address]
		if p.Machine != p.Was || slices.Contains(done, p.Machine) {
			continue
		}
		if !c.placement.Reserve(d.Address, p.Machine) {
			return false
		}
		done = append(done, p.Machine)
	}
	return true
}

// surgeWindow is how many replacements may be under way: as many as max_surge
// allows and every machine has room for.
func (c *computer) surgeWindow(d *engine.Decl, moving []*engine.Change) int {
	window := min(d.Roll.MaxSurge, len(moving))
	for extra := 1; extra < window; extra++ {
		for _, ch := range moving {
			p := c.machine[ch.Address]
			if p.Machine == p.Was && !c.placement.Reserve(d.Address, p.Machine) {
				return extra
			}
		}
	}
	return max(1, window)
}
