package plan

import (
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
)

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
			c.warnOfRevision(d)
		}
	}
}

func (c *computer) rollFunction(d *engine.Decl, backends map[engine.Address][]*engine.Change) {
	if r := c.rollout(d, backends); r != nil {
		c.rolls = append(c.rolls, *r)
		return
	}
	moving := c.moving(d)
	if len(moving) == 0 {
		c.keepOld(d, backends)
	}
	if !c.rollPlainly(d, moving, backends) {
		c.takeTurns(engine.Rolling, single(moving)...)
	}
}

// moving lists the replicas of a function that are replaced.
func (c *computer) moving(d *engine.Decl) []*engine.Change {
	var moving []*engine.Change
	for _, a := range c.members[d.Address] {
		if ch := c.changeOf(a); ch != nil && ch.Action == engine.Replace {
			moving = append(moving, ch)
		}
	}
	return moving
}

// rollPlainly decides how replicas are replaced that are replaced one after the
// other. It reports false if none may be missing meanwhile and a machine has no room for
// one more: then they can but take turns.
func (c *computer) rollPlainly(d *engine.Decl, moving []*engine.Change, backends map[engine.Address][]*engine.Change) bool {
	if len(moving) == 0 {
		return true
	}
	surge := d.Roll.MaxSurge > 0 && !slices.ContainsFunc(moving, func(ch *engine.Change) bool {
		return !ch.CreateFirst && ch.Prior.Lifecycle != engine.Tainted
	})
	window := d.Roll.MaxUnavailable
	switch {
	case surge && c.inTurn(d.Address):
		window = 1
	case surge && c.reserveSurge(d, moving):
		window = c.surgeWindow(d, moving)
	case surge && window == 0:
		return false
	case window == 0:
		c.fault(d.Address, &d.Source, "No room to replace replicas", fmt.Sprintf(
			"%s is never to have fewer replicas than wanted (max_unavailable = 0), but its old replicas must leave before the new ones come: they are on a machine that is itself replaced that way, or max_surge is 0. Let one be missing meanwhile: max_unavailable = 1.", d.Address))
	default:
		surge = false
	}
	for _, ch := range moving {
		ch.CreateFirst = surge && ch.Prior.Lifecycle != engine.Tainted
		ch.Window = max(1, window)
		for _, b := range backends[ch.Address] { // they change places in the same order
			b.CreateFirst = b.Action == engine.Replace && ch.CreateFirst && b.Prior.Lifecycle != engine.Tainted
		}
	}
	return true
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
	window := 1 // which has its room
	for most := min(d.Roll.MaxSurge, len(moving)); window < most && c.reserveSurge(d, moving); {
		window++
	}
	return window
}
