package spec

import (
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

func (l *loader) declareCluster(inst *instance, decl *engine.Decl, value cty.Value) {
	c := metaOf[engine.ClusterBlock](l, inst)
	l.checkRoles(inst, c, value)
	for _, group := range slices.Concat(c.Head, c.Workers) {
		decl.Needs = append(decl.Needs, engine.Need{Target: group, Source: decl.Source})
	}
	slices.SortStableFunc(decl.Needs, func(a, b engine.Need) int { return a.Target.Compare(b.Target) })
	decl.Needs = slices.CompactFunc(decl.Needs, func(a, b engine.Need) bool { return a.Target == b.Target })
	l.desired.Clusters = append(l.desired.Clusters, engine.ClusterGroup{Address: inst.addr, Heads: c.Head, Workers: c.Workers})
}

// checkRoles finds machines that are to be two things at once, and clusters that
// do nothing.
func (l *loader) checkRoles(inst *instance, c engine.ClusterBlock, value cty.Value) {
	b := inst.block
	if !inst.sound() {
		return
	}
	if len(c.Head) == 0 {
		l.faultOf(inst, b.attribute("head"), "Cluster without a head", fmt.Sprintf("%s has no machine that users log in to. Write head = vm.NAME.", inst.addr))
	}
	for _, g := range c.Workers {
		if slices.Contains(c.Head, g) {
			l.faultOf(inst, b.attribute("workers"), "Machine in two roles", fmt.Sprintf("%s is both the head and a worker of %s. A head takes part in all that workers do: remove it from workers, or name another group.", g, inst.addr))
		}
	}
	off := func(name string) bool { return value.GetAttr(name).RawEquals(cty.False) }
	if off("hosts_file") && off("ssh_mesh") {
		l.warnOf(inst, b.def, "Cluster without ties", fmt.Sprintf("%s has neither hosts_file nor ssh_mesh, so its machines get no more than a list of each other.", inst.addr))
	}
}
