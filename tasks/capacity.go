package tasks

import (
	"context"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

// Capacities asks hosts that do not exist yet what they offer, as far as their
// blocks do not say: replicas are to be placed by it before anything is made.
// What nobody can tell now is left out; making the host will say why.
func Capacities(ctx context.Context, source Source, d engine.Desired, existing []engine.Object) map[engine.Key]engine.Observation {
	known := map[engine.Address]bool{}
	for _, o := range existing {
		known[o.Address] = true
	}
	all := map[engine.Key]engine.Observation{}
	for _, decl := range d.Decls {
		if decl.Address.Kind != engine.KindHost || known[decl.Address] {
			continue
		}
		v, diags := decl.Config.Eval(engine.Unmade{})
		if diags.HasErrors() {
			continue
		}
		bare, hidden := engine.Unmark(v)
		o := engine.Object{Address: decl.Address, Gen: 1, Provider: decl.Provider, Value: bare, Sensitive: hidden}
		if c, ok := capacity(ctx, source, o); ok {
			o.Value = offering(bare, c)
			all[o.Key()] = engine.Observation{Object: o}
		}
	}
	return all
}

func capacity(ctx context.Context, source Source, o engine.Object) (engine.Capacity, bool) {
	p, err := source.Get(ctx, o.Provider)
	if err != nil {
		return engine.Capacity{}, false
	}
	s, ok := providers.As[providers.Sizer](p)
	if !ok {
		return engine.Capacity{}, false
	}
	ask, stop := context.WithTimeout(ctx, lookTimeout)
	defer stop()
	c, err := s.Capacity(ask, o)
	return c, err == nil
}

// offering fills in what a host's block leaves open.
func offering(v cty.Value, c engine.Capacity) cty.Value {
	fill := map[string]cty.Value{}
	if a := v.GetAttr("cpus"); c.CPU > 0 && (!a.IsKnown() || a.IsNull()) {
		fill["cpus"] = cty.NumberFloatVal(c.CPU)
	}
	if a := v.GetAttr("memory"); c.Memory > 0 && (!a.IsKnown() || a.IsNull()) {
		fill["memory"] = cty.StringVal(c.Memory.String())
	}
	return engine.With(v, fill)
}
