package plan

import (
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
)

// second is a replica of a rollout whose place is found anew, beside the one that it
// takes over from.
type second struct {
	strategy string         // of the rollout
	there    bool           // it exists already, and stays where it is
	old      engine.Address // the machine of the one that it takes over from
}

// reserve takes room for the replicas that run beside those that they replace: on the
// same machines, if there is room. Else it notes all of them, so that the next attempt
// at the plan finds a place for each, and reports false. What they take over from can be
// kept where there is room for it.
func (c *computer) reserve(d *engine.Decl, r *engine.Rollout, pairs []pair) bool {
	all, full := map[engine.Address]second{}, false
	for _, p := range pairs {
		if _, placed := c.seconds[p.ch.Address]; placed || p.old == nil {
			continue
		}
		s := second{strategy: r.Strategy, there: p.ch.Action != engine.Replace}
		s.old, _ = engine.ParseAddress(p.old.Attr("machine")) // that of a replica is one
		at := c.machine[p.ch.Address]
		moves := !s.there && at.Machine != at.Was // it has its new place already
		room := c.placement.Reserve(d.Address, s.old)
		switch {
		case room:
		case s.there || moves:
			c.cramped[p.old.ID()] = true
		default:
			full = true
		}
		if !moves {
			all[p.ch.Address] = s
		}
	}
	if full {
		c.crowded = all
	}
	return !full
}

// besides tells placement which replicas are made beside others.
func (c *computer) besides(in *place.Input) {
	in.Second, in.Old = map[engine.Address]bool{}, map[engine.Address]engine.Address{}
	for a, s := range c.seconds {
		if s.there {
			in.Old[a] = s.old
		} else {
			in.Second[a] = true
		}
	}
}

// noSecond says that a rollout finds no room.
func (c *computer) noSecond(function engine.Address, s second, us []place.Unplaced) {
	summary, what := "No room for a second set", "the second set of replicas that strategy = \"blue_green\" starts"
	if s.strategy == engine.Canary {
		summary, what = "No room for a canary", "the new replicas that strategy = \"canary\" starts beside the old ones"
	}
	c.fault(function, c.sourceOf(function), summary, fmt.Sprintf(
		"%d of %s have no place: %s. Raise the number, the slots or the size of the machines, or write strategy = \"rolling\".", len(us), what, us[0].Why))
}

// keepers tells where the replicas are that are kept for a rollback.
func (c *computer) keepers() map[engine.Address]engine.Address {
	all := map[engine.Address]engine.Address{}
	for _, o := range c.in.Recorded.Objects {
		if o.Address.Kind == engine.KindFunction && o.Kept.After(c.in.Now) {
			if m, err := engine.ParseAddress(o.Attr("machine")); err == nil {
				all[o.Address] = m
			}
		}
	}
	return all
}

// home lets a replica be where one of it is already that is as wanted: that of a
// rollout that is taken back may be on another machine than the one that took over.
func (c *computer) home(s subject) {
	at := c.machine[s.addr]
	if len(c.objects[s.addr]) < 2 || c.asWanted(s, at.Machine) {
		return
	}
	for _, o := range slices.Backward(c.objects[s.addr]) {
		m, err := engine.ParseAddress(o.Attr("machine"))
		if err == nil && m != at.Machine && c.asWanted(s, m) && c.placement.Move(s.addr.Group(), at.Machine, m) {
			at = engine.Placing{Replica: s.addr, Machine: m, Was: m}
			break
		}
	}
	c.machine[s.addr] = at
	if i, ok := slices.BinarySearchFunc(c.placement.Placings, at, func(a, b engine.Placing) int { return a.Replica.Compare(b.Replica) }); ok {
		c.placement.Placings[i] = at
	}
}

// asWanted reports whether one of a replica's objects is what is wanted, if it is
// wanted on a machine.
func (c *computer) asWanted(s subject, machine engine.Address) bool {
	host := c.changeOf(machine)
	if host == nil || host.Hold != "" || host.Action == engine.Replace || host.Action == engine.Delete || host.Action == engine.Create {
		return false
	}
	c.onMachine(&s, machine)
	return slices.ContainsFunc(c.objects[s.addr], func(o engine.Object) bool { return c.suits(s, o) })
}

// retain keeps what is delivered to the machines of replicas that are kept for a
// rollback, or that are going to be.
func (c *computer) retain(s *subject) {
	rolls, moving := c.seconds[s.addr]
	moving = moving && rolls.strategy == engine.BlueGreen && s.roll.Keep > 0
	for _, o := range c.objects[s.addr] {
		m, err := engine.ParseAddress(o.Attr("machine"))
		if host := c.changeOf(m); err == nil && host != nil && host.Action != engine.Delete && (moving || o.Kept.After(c.in.Now)) {
			c.deliver(slices.DeleteFunc(slices.Clone(s.needs), func(n engine.Need) bool {
				return n.Target.Kind != engine.KindImage || !slices.Contains(o.Needs, engine.DeliveryOf(n.Target, m))
			}), *host)
		}
	}
}
