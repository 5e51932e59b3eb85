package graph

import (
	"github.com/flowctl/flowctl/engine"
)

// deleteEdges orders the end of objects: after what stood on them or referred to
// them has ended or changed, and after or before their successors.
func (b *builder) deleteEdges() {
	for i := range b.old {
		x := &b.old[i]
		made, lives := b.made[x.object.Address]
		switch {
		case !lives:
		case x.surplus && (x.object.Lifecycle == engine.Tainted || b.givesWay(x)):
			b.edge(made, x.step)
		case x.surplus || x.change.CreateFirst:
			b.edge(x.step, made)
		default:
			b.edge(made, x.step)
			b.edge(x.step, b.needsBeforeDelete(x.change)...)
			if x.object.Address.Kind == engine.KindBackend {
				_, replica := x.object.Address.Membership()
				b.edge(x.step, b.needsBeforeDelete(b.plan.Find(replica))...)
			}
		}
		if x.object.Address.Kind == engine.KindBackend && x.change.Action == engine.Delete {
			if f, _ := x.object.Address.Membership(); b.updates(f) {
				b.prefer(x.step, b.made[f])
			}
		}
	}
	for i := range b.plan.Changes {
		b.dependents(&b.plan.Changes[i])
	}
	for i := range b.old {
		if b.old[i].surplus {
			b.dependent(b.old[i].object, b.old[i].step, true, nil)
		}
	}
}

// givesWay reports whether a leftover stands on something that itself leaves
// before its successor comes: it cannot wait for its own.
func (b *builder) givesWay(x *oldObject) bool {
	for _, need := range x.object.Needs {
		for _, i := range b.oldTargets(need) {
			y := &b.old[i]
			if !x.object.Address.Kind.StandsOn(y.object.Address.Kind) || elsewhere(x.object, y.object) {
				continue
			}
			if y.surplus && b.givesWay(y) || !y.surplus && y.change.Action == engine.Replace && !y.change.CreateFirst {
				return true
			}
		}
	}
	return false
}

// partings lets those who use a frontend that is deleted go before its backends
// leave it.
func (b *builder) partings() {
	users := map[engine.Address][]int{}
	for _, o := range b.old {
		for _, n := range o.object.Needs {
			if n.Kind == engine.KindFrontend && o.object.Address.Kind != engine.KindBackend {
				users[n] = append(users[n], o.step)
			}
		}
	}
	for _, o := range b.old {
		if o.object.Address.Kind != engine.KindBackend {
			continue
		}
		f, _ := o.object.Address.Membership()
		if c := b.plan.Find(f); c == nil || c.Action != engine.Delete {
			continue
		}
		for _, u := range users[f] {
			b.prefer(o.step, u)
		}
	}
}

func (b *builder) updates(a engine.Address) bool {
	c := b.plan.Find(a)
	return c != nil && c.Action == engine.Update
}

// needsBeforeDelete lists what a replacement that deletes first waits for
// before it deletes, so that the gap is short: all that the new object needs,
// but for what can only be made when the old one is gone.
func (b *builder) needsBeforeDelete(c *engine.Change) []int {
	if c == nil || c.Action != engine.Replace && !c.Pauses() {
		return nil
	}
	early := *c
	early.Needs = nil
	for _, n := range c.Needs {
		on := b.plan.Find(n.Target)
		if on != nil && on.Action == engine.Replace && !on.CreateFirst {
			continue
		}
		if c.Address.Kind == engine.KindBackend && n.Target.Kind == engine.KindFunction {
			continue // its replica is replaced in the same order
		}
		early.Needs = append(early.Needs, n)
	}
	return b.needs(&early)
}

// dependents makes what c's prior object stood on or referred to wait until
// that object has ended or changed.
func (b *builder) dependents(c *engine.Change) {
	if c.Prior == nil {
		return
	}
	switch c.Action {
	case engine.Delete, engine.Replace:
		for _, i := range b.oldBy[c.Address] {
			if o := b.old[i]; !o.surplus {
				b.dependent(o.object, o.step, true, c)
			}
		}
	case engine.Update:
		b.dependent(*c.Prior, b.made[c.Address], false, c)
	}
}

// dependent orders step, which ends (or changes) object o, before the end of
// everything that o needs.
func (b *builder) dependent(o engine.Object, step int, ends bool, c *engine.Change) {
	for _, need := range o.Needs {
		for _, i := range b.oldTargets(need) {
			x := &b.old[i]
			if elsewhere(o, x.object) {
				continue
			}
			stands := o.Address.Kind.StandsOn(x.object.Address.Kind)
			replacedInPlace := x.change.Action == engine.Replace && !x.change.CreateFirst && !x.surplus
			if replacedInPlace && (!ends || !stands) {
				continue // it comes back under the same name; who referred to it follows
			}
			if x.change.Action == engine.Replace && !stands {
				b.prefer(x.step, step) // its successor is there already
				continue
			}
			b.edge(x.step, step)
		}
	}
}

// elsewhere reports whether o stands on another generation of on's resource. A
// backend of the first generation of a replica has nothing to do with the end of
// its third, nor with one that was never finished and so has no id.
func elsewhere(o, on engine.Object) bool {
	id := ""
	switch {
	case o.Address.Kind == engine.KindBackend && on.Address.Kind == engine.KindFunction:
		id = o.Attr("replica_id")
	case (o.Address.Kind == engine.KindFunction || o.Address.Kind == engine.KindDelivery) && on.Address.Kind.Carries():
		id = o.Attr("machine_id")
	}
	return id != "" && id != on.ID() && (on.ID() != "" || on.Lifecycle == engine.Tainted)
}

// oldTargets lists the old objects of a resource or of all of a group.
func (b *builder) oldTargets(a engine.Address) []int {
	if _, group := b.groups[a]; !group {
		return b.oldBy[a]
	}
	var all []int
	for _, i := range b.groups[a] {
		all = append(all, b.oldBy[b.plan.Changes[i].Address]...)
	}
	return all
}
