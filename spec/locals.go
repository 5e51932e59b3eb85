package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// local is one named value of a locals block.
type local struct {
	attr  *hclsyntax.Attribute
	value cty.Value // unknown as far as it is made of resources
	sites []site    // the resources that it is made of
	state int       // 0 not begun, 1 under way, 2 done
}

func (l *loader) declareLocals(blk *hclsyntax.Block) {
	for _, nested := range blk.Body.Blocks {
		l.fault(nested.DefRange(), "Block in locals", "A locals block has only lines such as name = value.")
	}
	for _, a := range attributes(blk.Body) {
		if first, ok := l.locals[a.Name]; ok {
			l.fault(a.NameRange, "Duplicate local", fmt.Sprintf("local.%s is declared twice, first at %s. Rename one.", a.Name, first.attr.SrcRange))
			continue
		}
		l.locals[a.Name] = &local{attr: a}
	}
}

// localValues evaluates all locals, each after those that it refers to. One
// that is made of resources is unknown here; loader.dynamic lists those.
func (l *loader) localValues() map[string]cty.Value {
	values := map[string]cty.Value{}
	l.scope.Variables["local"] = cty.EmptyObjectVal
	for _, name := range slices.Sorted(maps.Keys(l.locals)) {
		l.evalLocal(name, nil)
	}
	for name, loc := range l.locals {
		values[name] = loc.value
	}
	return values
}

func (l *loader) evalLocal(name string, path []string) {
	loc := l.locals[name]
	if loc.state == 2 {
		return
	}
	if loc.state == 1 {
		loop := append(path[slices.Index(path, name):], name)
		l.fault(loc.attr.Expr.Range(), "Locals in a circle", fmt.Sprintf("local.%s is made of itself: local.%s. Give one of them a value of its own.", name, strings.Join(loop, " → local.")))
		loc.value, loc.state = cty.DynamicVal, 2
		return
	}
	loc.state = 1
	deps := map[string]cty.Value{}
	for _, t := range loc.attr.Expr.Variables() {
		if t.RootName() != "local" || len(t) < 2 {
			continue
		}
		if dep := attrName(t[1]); l.locals[dep] != nil {
			l.evalLocal(dep, append(path, name))
			deps[dep] = l.locals[dep].value
		}
	}
	if loc.state == 2 { // found to be part of a circle
		return
	}
	loc.state = 2
	loc.value = cty.DynamicVal
	sites, ds := l.sitesOf(loc.attr.Expr, nil, nil)
	if ds.HasErrors() {
		l.diags = append(l.diags, ds...)
		return
	}
	ctx := l.scope.NewChild()
	ctx.Variables = resourceValues(sites, noValues{})
	ctx.Variables["local"] = cty.ObjectVal(deps)
	v, hds := loc.attr.Expr.Value(ctx)
	l.add(hds)
	if !hds.HasErrors() {
		loc.value = v
	}
	if loc.sites = sites; len(sites) > 0 {
		l.dynamic = append(l.dynamic, name)
	}
}
