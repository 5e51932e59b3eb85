package spec

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// needsOf lists what a block instance depends on: what its values refer to, also
// by way of locals, and its depends_on. Each target is listed once, with the
// first place in the source that says so.
func (l *loader) needsOf(inst *instance) []engine.Need {
	b := inst.block
	var needs []engine.Need
	for _, s := range inst.sites {
		needs = l.addNeeds(needs, inst, s, s.use.rng)
	}
	for _, loc := range b.inputs.dynamic {
		for _, s := range loc.sites {
			needs = l.addNeeds(needs, inst, s, b.usesLocal(loc))
		}
	}
	for _, n := range l.dependsOn(inst) {
		needs = l.addNeed(needs, inst, n.to, n.rng)
	}
	if len(needs) < 2 {
		return needs
	}
	slices.SortStableFunc(needs, func(x, y engine.Need) int {
		return cmp.Or(x.Target.Compare(y.Target), cmp.Compare(x.Source.Start.Byte, y.Source.Start.Byte))
	})
	return slices.CompactFunc(needs, func(x, y engine.Need) bool { return x.Target == y.Target })
}

// usesLocal returns the place in a block that leads to a local.
func (b *block) usesLocal(loc *local) hcl.Range {
	rng := loc.attr.Expr.Range()
	eachExpression(b.body, engine.BlockSchema(b.kind), false, func(expr hclsyntax.Expression, _ *engine.Attribute, _ bool) {
		if e := b.loader.exprs[expr]; e != nil {
			for _, u := range e.locals {
				if u.local == loc {
					rng = u.rng
				}
			}
		}
	})
	return rng
}

func (l *loader) addNeeds(needs []engine.Need, inst *instance, s site, rng hcl.Range) []engine.Need {
	for _, a := range s.targets() {
		needs = l.addNeed(needs, inst, a, rng)
	}
	return needs
}

func (l *loader) addNeed(needs []engine.Need, inst *instance, a engine.Address, rng hcl.Range) []engine.Need {
	if a.Group() == inst.addr {
		l.faultOf(inst, rng, "Reference to itself", fmt.Sprintf("%s refers to itself, which is not known before it is made. Its own address is in FLOWCTL_ADDRESS, its port in PORT, when a function runs.", inst.addr))
		return needs
	}
	return append(needs, engine.Need{Target: a, Source: rangeOf(rng)})
}

// dependsOn evaluates depends_on, element by element if it is a list that is
// written out.
func (l *loader) dependsOn(inst *instance) []target {
	a := inst.block.body.Attributes["depends_on"]
	if a == nil || l.exprs[a.Expr].broken {
		return nil
	}
	d := &decoder{loader: l, instance: inst}
	parts := []hclsyntax.Expression{a.Expr}
	if list, ok := a.Expr.(*hclsyntax.TupleConsExpr); ok {
		parts = list.Exprs
	}
	var all []target
	for _, part := range parts {
		v := d.reference(part, engine.SchemaOf[Common]().Attribute("depends_on"))
		if v.IsNull() || !v.IsKnown() {
			continue
		}
		for _, e := range v.AsValueSlice() {
			all = append(all, target{mustParse(e.AsString()), part.Range()})
		}
	}
	l.reportOf(inst, d.diags)
	return all
}

func mustParse(s string) engine.Address {
	a, err := engine.ParseAddress(s)
	if err != nil {
		panic("bug: " + err.Error())
	}
	return a
}
