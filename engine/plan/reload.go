package plan

import (
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// reload settles how a replica takes over files that change. A restart takes it
// away for a while; where that must not be, it is replaced.
func reload(ch *engine.Change, roll engine.UpdatePolicy) {
	if ch.Action != engine.Update || ch.Address.Kind != engine.KindFunction || !slices.Contains(ch.Changed, "file") {
		return
	}
	r, _ := engine.PlannedReload(ch.Prior.Value, ch.Planned)
	if ch.Reload = &r; r.Restart && roll.MaxUnavailable == 0 {
		ch.Action, ch.Reload, ch.Why = engine.Replace, nil, "its files change, and max_unavailable = 0 forbids to restart it"
	}
}

// pauses lets the replicas of a function that restart for their files leave their
// frontends meanwhile, so many at once as may be unavailable.
func (c *computer) pauses(d *engine.Decl, backends map[engine.Address][]*engine.Change) {
	for _, a := range c.members[d.Address] {
		ch := c.changeOf(a)
		if ch == nil || !ch.Pauses() {
			continue
		}
		ch.Window = max(1, d.Roll.MaxUnavailable)
		for _, b := range backends[a] {
			if b.Prior == nil || b.Hold != "" || b.Action != engine.NoOp && b.Action != engine.Update {
				continue
			}
			front, _ := b.Address.Membership()
			c.rejoin(b, c.changeOf(front), ch)
		}
	}
}

// rejoin lets a backend leave and join again.
func (c *computer) rejoin(b, front, replica *engine.Change) {
	want := c.backend(*front, *replica)
	want.want = engine.With(want.want, map[string]cty.Value{"target": cty.UnknownVal(cty.String)}) // it may come back elsewhere
	b.Action, b.Gen, b.Planned = engine.Replace, c.last[b.Address]+1, c.fresh(want).Want
	b.Why, b.CreateFirst, b.Changed, b.ReplacePaths = "its replica restarts", false, nil, nil
}
