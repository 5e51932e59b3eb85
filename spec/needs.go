package spec

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
)

// needsOf lists what a block instance depends on: what its values refer to, also
// by way of locals, and its depends_on. Each target is listed once, with the
// first place in the source that says so.
func (l *loader) needsOf(inst *instance) []engine.Need {
	b := inst.block
	var needs []engine.Need
	if len(inst.sites) > 0 {
		needs = make([]engine.Need, 0, len(inst.sites))
	}
	for _, s := range inst.sites {
		needs = l.addNeeds(needs, inst, s, s.use.rng)
	}
	for i, loc := range b.inputs.dynamic {
		for _, s := range loc.sites {
			needs = l.addNeeds(needs, inst, s, b.inputs.via[i])
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

func (l *loader) addNeeds(needs []engine.Need, inst *instance, s site, rng hcl.Range) []engine.Need {
	s.targets(func(a engine.Address) { needs = l.addNeed(needs, inst, a, rng) })
	return needs
}

func (l *loader) addNeed(needs []engine.Need, inst *instance, a engine.Address, rng hcl.Range) []engine.Need {
	if a.Group() == inst.addr {
		l.faultOf(inst, rng, "Reference to itself", fmt.Sprintf("%s refers to itself, which is not known before it is made. Its own address is in FLOWCTL_ADDRESS, its port in PORT, when a function runs.", inst.addr))
		return needs
	}
	return append(needs, engine.Need{Target: a, Source: rangeOf(rng)})
}

func (l *loader) dependsOn(inst *instance) []target {
	a := inst.block.body.Attributes["depends_on"]
	if a == nil || l.exprs[a.Expr].broken {
		return nil
	}
	d := &decoder{program: l.program, instance: inst}
	all, _ := d.references(a.Expr, engine.SchemaOf[Common]().Attribute("depends_on"))
	l.addOf(inst, d.diags)
	return all
}
