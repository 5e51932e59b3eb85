package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// local is one named value of a locals block.
type local struct {
	name    string
	attr    *hclsyntax.Attribute
	expr    *expression
	value   cty.Value      // unknown as far as it is made of resources
	dynamic bool           // made of resources
	maker   engine.Address // one of these blocks
	sites   []site         // those that it names itself
	state   evaluation
	typed   bool // evaluated as far as types go
}

// evaluation says how far a local is.
type evaluation int

const (
	pending evaluation = iota
	underWay
	done
)

// localValues evaluates all locals, each after those that it refers to.
func (l *loader) localValues() map[string]cty.Value {
	names := slices.Sorted(maps.Keys(l.locals))
	for _, name := range names {
		loc := l.locals[name]
		loc.expr = l.examine(loc.attr.Expr, where{})
	}
	values := make(map[string]cty.Value, len(names))
	for _, name := range names {
		l.evalLocal(l.locals[name], nil)
		values[name] = l.locals[name].value
	}
	return values
}

func (l *loader) evalLocal(loc *local, path []string) {
	switch loc.state {
	case done:
		return
	case underWay:
		loop := append(path[slices.Index(path, loc.name):], loc.name)
		l.fault(loc.attr.Expr.Range(), "Locals in a circle", fmt.Sprintf("local.%s is made of itself: local.%s. Give one of them a value of its own.", loc.name, strings.Join(loop, " → local.")))
		loc.value, loc.state = cty.DynamicVal, done
		return
	}
	loc.state = underWay
	deps := map[string]cty.Value{}
	for _, u := range loc.expr.locals {
		l.evalLocal(u.local, append(path, loc.name))
		deps[u.local.name] = u.local.value
		if u.local.dynamic {
			loc.dynamic, loc.maker = true, u.local.maker
		}
	}
	if loc.state == done { // found to be part of a circle
		return
	}
	loc.state, loc.value = done, cty.DynamicVal
	if len(loc.expr.uses) > 0 {
		loc.dynamic, loc.maker = true, loc.expr.uses[0].block.addr()
	}
	if loc.dynamic || loc.expr.broken {
		return
	}
	ctx := l.scope.NewChild()
	ctx.Variables = map[string]cty.Value{"local": cty.ObjectVal(deps)}
	v, ds := evaluate(loc.attr.Expr, ctx)
	l.addAll(convertDiags(ds))
	if !ds.HasErrors() {
		loc.value = v
	}
}

// resolveLocals finds what the locals that are made of resources use, and
// evaluates them as far as types go.
func (l *loader) resolveLocals() {
	for _, name := range slices.Sorted(maps.Keys(l.locals)) {
		loc := l.locals[name]
		for i := range loc.expr.uses {
			s := l.siteOf(&loc.expr.uses[i], l.scope, nil)
			loc.expr.broken = loc.expr.broken || s.lost
			loc.sites = append(loc.sites, s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.locals)) {
		l.typeLocal(l.locals[name])
	}
}

// typeLocal evaluates a local that is made of resources with what is known of
// these before they are made, each after those that it refers to.
func (l *loader) typeLocal(loc *local) {
	if loc.typed || !loc.dynamic || loc.expr.broken {
		return
	}
	loc.typed = true
	values := map[string]cty.Value{}
	for _, u := range loc.expr.locals {
		l.typeLocal(u.local)
		values[u.local.name] = u.local.value
	}
	resource := l.program.scope.NewChild()
	resource.Variables = resources(loc.sites, nil, unmade{})
	ctx := loc.scope(resource, values)
	v, ds := evaluate(loc.attr.Expr, ctx)
	l.addAll(convertDiags(ds))
	if !ds.HasErrors() {
		loc.value = v
	}
}

// scope returns the scope to evaluate loc in, with the locals that it names.
func (loc *local) scope(parent *hcl.EvalContext, values map[string]cty.Value) *hcl.EvalContext {
	own := make(map[string]cty.Value, len(loc.expr.locals))
	for _, u := range loc.expr.locals {
		own[u.local.name] = values[u.local.name]
	}
	ctx := parent.NewChild()
	ctx.Variables = map[string]cty.Value{"local": cty.ObjectVal(own)}
	return ctx
}
