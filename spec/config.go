package spec

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// inputs is what the value of a block or an output is made of, besides what is
// known when the spec is loaded.
type inputs struct {
	uses    []use       // of resources
	dynamic []*local    // the locals made of resources, each after those that it is made of
	via     []hcl.Range // for each of dynamic, the place that leads to it
	names   []string    // of all locals that the value and those locals name; nil if dynamic is
	sites   []site      // of resources that those locals use
}

// inputsOf gathers what expressions are made of.
func inputsOf(exprs []*expression) inputs {
	var in inputs
	names := map[string]bool{}
	done := map[*local]bool{}
	var visit func(u localUse, via hcl.Range)
	visit = func(u localUse, via hcl.Range) {
		names[u.local.name] = true
		if !u.local.dynamic || done[u.local] {
			return
		}
		done[u.local] = true
		for _, inner := range u.local.expr.locals {
			visit(inner, via)
		}
		in.dynamic = append(in.dynamic, u.local)
		in.via = append(in.via, via)
		in.sites = append(in.sites, u.local.sites...)
	}
	for _, e := range exprs {
		in.uses = append(in.uses, e.uses...)
		for _, u := range e.locals {
			visit(u, u.rng)
		}
	}
	if len(in.dynamic) > 0 {
		in.names = slices.Sorted(maps.Keys(names))
	}
	return in
}

// scope returns the scope to evaluate in: the instance's own, with the
// resources that it uses and the locals made of them.
func (in *inputs) scope(p *program, each cty.Value, sites []site, v engine.Values) (*hcl.EvalContext, engine.Diagnostics) {
	ctx := p.scope.NewChild()
	ctx.Variables = resources(sites, in.sites, v)
	if each != cty.NilVal {
		ctx.Variables["each"] = each
	}
	if len(in.dynamic) == 0 {
		return ctx, nil
	}
	var diags engine.Diagnostics
	locals := make(map[string]cty.Value, len(in.names))
	for _, name := range in.names {
		locals[name] = p.locals[name].value
	}
	for _, loc := range in.dynamic {
		if loc.expr.broken {
			continue
		}
		val, ds := evaluate(loc.attr.Expr, loc.scope(ctx, locals))
		diags = append(diags, convertDiags(ds)...)
		locals[loc.name] = val
	}
	ctx.Variables["local"] = cty.ObjectVal(locals)
	return ctx, diags
}

// blockConfig is the configuration of one block instance: an engine.Config.
type blockConfig struct{ *instance }

// Eval implements engine.Config.
func (c blockConfig) Eval(v engine.Values) (cty.Value, engine.Diagnostics) {
	if c.block.value != cty.NilVal {
		return c.block.value, nil
	}
	val, d := c.eval(v, false)
	return val, d.diags
}

// eval evaluates the block. While the flow is loaded, it keeps what is the same
// for all instances.
func (c blockConfig) eval(v engine.Values, loading bool) (cty.Value, *decoder) {
	d := c.decoder(v, loading)
	return d.object(c.block.body, engine.ValueSchema(c.block.kind), c.block.def), d
}

// check evaluates the block for what is wrong with it.
func (c blockConfig) check() engine.Diagnostics {
	d := c.decoder(unmade{}, true)
	d.each(c.block.body, engine.ValueSchema(c.block.kind), c.block.def, false, func(*engine.Attribute, cty.Value) {})
	return d.diags
}

func (c blockConfig) decoder(v engine.Values, loading bool) *decoder {
	b := c.block
	d := &decoder{program: b.program, instance: c.instance, loading: loading}
	switch {
	case len(c.sites) == 0 && len(b.inputs.dynamic) == 0:
		d.values = c.scope()
	case loading && c.each != cty.NilVal && !c.lost:
		d.values = b.typedScope().NewChild()
		d.values.Variables = map[string]cty.Value{"each": c.each}
	default:
		d.values, d.diags = b.inputs.scope(b.program, c.each, c.sites, v)
	}
	return d
}

// typedScope returns a scope for all instances of a block, in which resources
// have no values, but types.
func (b *block) typedScope() *hcl.EvalContext {
	if b.typed == nil {
		sites := make([]site, len(b.inputs.uses))
		for i := range sites {
			sites[i] = site{use: &b.inputs.uses[i], index: -1}
		}
		b.typed, _ = b.inputs.scope(b.program, cty.NilVal, sites, unmade{}) // faults of locals are reported for themselves
	}
	return b.typed
}

// outputConfig is the value of an output: an engine.Config.
type outputConfig struct {
	program   *program
	name      string
	expr      hclsyntax.Expression
	inputs    inputs
	sites     []site
	sensitive bool
}

// Eval implements engine.Config.
func (c *outputConfig) Eval(v engine.Values) (cty.Value, engine.Diagnostics) {
	ctx, diags := c.inputs.scope(c.program, cty.NilVal, c.sites, v)
	val, ds := evaluate(c.expr, ctx)
	diags = append(diags, convertDiags(ds)...)
	if diags.HasErrors() {
		return cty.DynamicVal, diags
	}
	if !c.sensitive && isSensitive(val) {
		diags = append(diags, engine.Diagnostic{
			Summary: "Sensitive output", Source: sourceOf(c.expr.Range()),
			Detail: fmt.Sprintf("The output %q shows a sensitive value. Write sensitive = true in the block, or nonsensitive(…) around the value if it may be seen.", c.name),
		})
		return cty.DynamicVal, diags
	}
	return val, diags
}

// isSensitive reports whether a value is, or has in it, something sensitive.
func isSensitive(v cty.Value) bool {
	if !v.ContainsMarked() {
		return false
	}
	_, marks := v.UnmarkDeep()
	_, ok := marks[engine.Sensitive]
	return ok
}

// unmade is what is known of resources before anything is made: their types.
type unmade struct{}

// Value implements engine.Values.
func (unmade) Value(a engine.Address) cty.Value {
	t := engine.ValueSchema(a.Kind).Type()
	if _, one := a.Index(); a.Kind.Sized() && !one {
		t = cty.List(t)
	}
	return cty.UnknownVal(t)
}
