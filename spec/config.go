package spec

import (
	"sync"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// blockConfig is the configuration of one block instance: an engine.Config.
type blockConfig struct {
	loader *loader
	inst   *instance
	sites  []site

	once  sync.Once // for blocks that use no resource: they are evaluated once
	value cty.Value
	diags engine.Diagnostics
}

// Eval implements engine.Config.
func (c *blockConfig) Eval(v engine.Values) (cty.Value, engine.Diagnostics) {
	if len(c.sites) > 0 {
		return c.eval(v)
	}
	c.once.Do(func() { c.value, c.diags = c.eval(v) })
	return c.value, c.diags
}

func (c *blockConfig) eval(v engine.Values) (cty.Value, engine.Diagnostics) {
	b := c.inst.block
	d := decoder{values: c.loader.scopeFor(c.inst, c.sites, v), refs: c.loader.refScope(c.inst), bad: c.loader.bad}
	val := d.object(b.body, engine.ValueSchema(b.kind), b.def)
	return val, d.diags
}

// outputConfig is the value of an output: an engine.Config.
type outputConfig struct {
	loader *loader
	expr   hclsyntax.Expression
	inst   *instance
	sites  []site
}

// Eval implements engine.Config.
func (c *outputConfig) Eval(v engine.Values) (cty.Value, engine.Diagnostics) {
	val, ds := c.expr.Value(c.loader.scopeFor(c.inst, c.sites, v))
	if ds.HasErrors() {
		return cty.DynamicVal, convertDiags(ds)
	}
	return val, convertDiags(ds)
}

// noValues knows no resource: everything about them is unknown.
type noValues struct{}

// Value implements engine.Values.
func (noValues) Value(engine.Address) cty.Value { return cty.DynamicVal }

// refScope returns the scope for attributes that hold references.
func (l *loader) refScope(inst *instance) *hcl.EvalContext {
	ctx := inst.ctx.NewChild()
	ctx.Variables = l.refs
	return ctx
}

// scopeFor returns the scope for attributes that hold values: the instance's
// own, with the resources that sites name and the locals made of them.
func (l *loader) scopeFor(inst *instance, sites []site, v engine.Values) *hcl.EvalContext {
	if len(sites) == 0 {
		return inst.ctx
	}
	ctx := inst.ctx.NewChild()
	ctx.Variables = resourceValues(sites, v)
	if len(l.dynamic) > 0 {
		locals := make(map[string]cty.Value, len(l.locals))
		for name, loc := range l.locals {
			locals[name] = loc.value
		}
		for _, name := range l.dynamic {
			loc := l.locals[name]
			if v, ds := loc.attr.Expr.Value(dynamicScope(ctx, locals, loc.sites, v)); !ds.HasErrors() {
				locals[name] = v
			}
		}
		ctx.Variables["local"] = cty.ObjectVal(locals)
	}
	return ctx
}

func dynamicScope(parent *hcl.EvalContext, locals map[string]cty.Value, sites []site, v engine.Values) *hcl.EvalContext {
	ctx := parent.NewChild()
	ctx.Variables = resourceValues(sites, v)
	ctx.Variables["local"] = cty.ObjectVal(locals)
	return ctx
}

// wanted is what an expression uses of one block.
type wanted struct {
	all     bool             // every key and instance
	keys    map[string][]int // the instances used of each key; nil means all
	indexes []int            // without for_each: the instances used; nil means all
}

// resourceValues builds the objects vm, function, … with just what sites use.
func resourceValues(sites []site, v engine.Values) map[string]cty.Value {
	byBlock := map[*block]*wanted{}
	var order []*block
	for _, s := range sites {
		w := byBlock[s.block]
		if w == nil {
			w = &wanted{keys: map[string][]int{}}
			byBlock[s.block] = w
			order = append(order, s.block)
		}
		w.add(s)
	}
	kinds := map[string]map[string]cty.Value{}
	for _, b := range order {
		if kinds[string(b.kind)] == nil {
			kinds[string(b.kind)] = map[string]cty.Value{}
		}
		kinds[string(b.kind)][b.name] = byBlock[b].value(b, v)
	}
	vars := map[string]cty.Value{}
	for kind, blocks := range kinds {
		vars[kind] = cty.ObjectVal(blocks)
	}
	return vars
}

func (w *wanted) add(s site) {
	if s.block.forEach != nil && s.key == "" || s.block.forEach == nil && s.index < 0 {
		w.all = true
		return
	}
	if s.block.forEach == nil {
		w.indexes = append(w.indexes, s.index)
		return
	}
	have, seen := w.keys[s.key]
	if s.index < 0 || seen && have == nil {
		w.keys[s.key] = nil
		return
	}
	w.keys[s.key] = append(have, s.index)
}

func (w *wanted) value(b *block, v engine.Values) cty.Value {
	if b.forEach == nil {
		if w.all {
			return v.Value(b.addr())
		}
		return instances(b.addr(), w.indexes, v)
	}
	if b.keys == nil { // for_each is not evaluated yet
		return cty.DynamicVal
	}
	byKey := map[string]cty.Value{}
	for _, key := range b.keys {
		addr := b.addr().For(key)
		indexes, used := w.keys[key]
		switch {
		case w.all || used && indexes == nil:
			byKey[key] = v.Value(addr)
		case used:
			byKey[key] = instances(addr, indexes, v)
		}
	}
	return cty.ObjectVal(byKey)
}

// instances returns a tuple in which the given places are filled and the others
// unknown.
func instances(group engine.Address, indexes []int, v engine.Values) cty.Value {
	n := 0
	for _, i := range indexes {
		n = max(n, i+1)
	}
	vals := make([]cty.Value, n)
	for i := range vals {
		vals[i] = cty.DynamicVal
	}
	for _, i := range indexes {
		vals[i] = v.Value(group.At(i))
	}
	return cty.TupleVal(vals)
}
