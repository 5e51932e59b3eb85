package control

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime/fleet"
)

// health is what was seen not to work, in some state of affairs.
type health struct {
	stamp  int
	seen   map[engine.Key]engine.Observation // that is not as it is recorded
	ill    map[engine.Address]int            // instances that do not work, by group, of those that counted counts
	closed map[engine.Address]string         // machines on which nothing more is placed: why
	broken map[engine.Address]int            // machines that do not work, by group
	halted map[engine.Address]string         // groups of which so many do not work that nothing is done about it: why
}

// health looks over what was seen.
func (c *Controller) health() health {
	if c.last.stamp == c.stamp && c.last.seen != nil {
		return c.last
	}
	s := health{c.stamp, c.odd(), map[engine.Address]int{}, map[engine.Address]string{}, map[engine.Address]int{}, map[engine.Address]string{}}
	for k, obs := range s.seen {
		o := obs.Object
		if (obs.Presence == engine.Gone || obs.Presence == engine.Down) && o.Lifecycle != engine.Tainted && o.Lifecycle != engine.Suspended && o.Kept.IsZero() {
			s.ill[k.Address.Group()]++
		}
	}
	now := c.Now()
	total := map[engine.Address]int{}
	for i := range c.snap.Objects {
		o := &c.snap.Objects[i]
		if o.Address.Kind != engine.KindVM && o.Address.Kind != engine.KindHost {
			continue
		}
		total[o.Address.Group()]++
		obs := s.seen[o.Key()]
		if obs.Presence != engine.Present {
			s.closed[o.Address] = obs.Why
			s.broken[o.Address.Group()]++
		}
		if f := c.rebuilt[o.Address]; f != nil && f.n > 1 && now.Before(f.until) {
			s.closed[o.Address] = fmt.Sprintf("it had to be made again %d times", f.n)
		}
	}
	for _, r := range c.runs { // what is being made again does not work yet
		for a := range r.part.Changes {
			if r.orders == nil && a.Kind == engine.KindVM && r.part.Plan.Find(a).Action != engine.Delete {
				s.broken[a.Group()]++
			}
		}
	}
	for group, n := range s.broken {
		if fleet.Halted(total[group], n) {
			s.halted[group] = fmt.Sprintf("%d of its %d machines do not work: something else must be wrong, so none is repaired or emptied", n, total[group])
		}
	}
	c.last = s
	return s
}

// heeded is what was seen without what is of halted groups, and on their machines.
func (s health) heeded(snap engine.Snapshot) map[engine.Key]engine.Observation {
	seen := maps.Clone(s.seen)
	if len(s.halted) == 0 {
		return seen
	}
	standing := map[string]engine.Address{} // machines, by their ids
	for _, o := range snap.Objects {
		if s.closed[o.Address] != "" {
			standing[o.ID()] = o.Address
		}
	}
	for _, o := range snap.Objects {
		m, err := engine.ParseAddress(o.Attr("machine"))
		if host, ok := standing[o.HostID()]; ok && o.HostID() != "" { // an image's, or a network's
			m, err = host, nil
		}
		if s.halted[o.Address.Group()] != "" || err == nil && s.halted[m.Group()] != "" && s.closed[m] != "" {
			delete(seen, o.Key())
		}
	}
	return seen
}

// told lists groups that are halted, for an operator.
func (s health) told() []string {
	var all []string
	for _, g := range slices.SortedFunc(maps.Keys(s.halted), engine.Address.Compare) {
		all = append(all, fmt.Sprintf("%s: %s", g, s.halted[g]))
	}
	return all
}
