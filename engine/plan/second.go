package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
)

// second is a replica of a rollout whose place is found anew, beside the one that it
// takes over from.
type second struct {
	strategy string         // of the rollout
	there    bool           // it exists already, and stays where it is
	old      engine.Address // the machine of the one that it takes over from
	turn     int            // after it the old one leaves, and later ones have its room; 0 if it stays to the end
}

// tightness is how canaries come in that find no room beside all old replicas.
type tightness int

const (
	stageByStage tightness = 1 + iota // the old ones leave at each stage, and their room is free for the next
	oldFirst                          // the old ones leave first
)

// takeTurns has a plan made again in which replicas take over one batch after the other,
// each wherever there is room, that which earlier batches have left included.
func (c *computer) takeTurns(strategy string, batches ...[]*engine.Change) {
	if len(c.crowded) > 0 {
		return // it is made again anyhow
	}
	c.crowded = map[engine.Address]second{}
	for i, batch := range batches {
		for _, ch := range batch {
			s, placed := c.seconds[ch.Address]
			at, old := c.machine[ch.Address], outgoing(ch)
			if s.turn = i + 1; !placed {
				s.strategy, s.there = strategy, ch.Action != engine.Replace
				if old == nil || !s.there && at.Machine != at.Was { // it comes in its own place, or has its new one already
					continue
				}
				s.old, _ = engine.ParseAddress(old.Attr("machine"))
			}
			c.crowded[ch.Address] = s
		}
	}
}

// inTurn reports whether the replicas of a function take over in turns.
func (c *computer) inTurn(function engine.Address) bool {
	for a, s := range c.seconds {
		if s.turn > 0 && a.Group() == function {
			return true
		}
	}
	return false
}

// single makes each of some replicas a batch of its own.
func single(moving []*engine.Change) [][]*engine.Change {
	var all [][]*engine.Change
	for i := range moving {
		all = append(all, moving[i:i+1])
	}
	return all
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
		s := second{strategy: d.Roll.Strategy, there: p.ch.Action != engine.Replace}
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
	in.Second, in.Old, in.Turn = map[engine.Address]bool{}, map[engine.Address]engine.Address{}, map[engine.Address]int{}
	for a, s := range c.seconds {
		if in.Turn[a] = s.turn; s.there {
			in.Old[a] = s.old
		} else {
			in.Second[a] = true
		}
	}
}

// noSecond says that a rollout finds no room, or has its canaries come in another way.
func (c *computer) noSecond(function engine.Address, s second, us []place.Unplaced) {
	switch {
	case s.strategy == engine.Canary && c.tighten(function):
	case s.strategy == engine.BlueGreen:
		c.fault(function, c.sourceOf(function), "No room for a second set", fmt.Sprintf(
			"%d of the second set of replicas that strategy = \"blue_green\" starts have no place: %s. %s, or write strategy = \"rolling\".", len(us), us[0].Why, c.moreRoom(function)))
	case s.strategy == engine.Canary:
		c.fault(function, c.sourceOf(function), "No room for a canary", c.noneMissing(function, us[0]))
	default:
		c.fault(function, c.sourceOf(function), "No room to replace replicas", c.noneMissing(function, us[0]))
	}
}

// tighten has a plan made again in which the canaries of a function take less room, and
// reports whether they may.
func (c *computer) tighten(function engine.Address) bool {
	i := slices.IndexFunc(c.in.Desired.Decls, func(d engine.Decl) bool { return d.Address == function })
	policy, next := c.in.Desired.Decls[i].Roll, c.tight[function]+1
	if next == stageByStage && policy.MaxSurge == 0 {
		next = oldFirst
	}
	if next == oldFirst && policy.MaxUnavailable == 0 {
		return false
	}
	if c.tighter == nil {
		c.tighter = map[engine.Address]tightness{}
	}
	c.tighter[function] = next
	return true
}

// noneMissing says why replicas cannot be replaced if none may be missing meanwhile.
func (c *computer) noneMissing(function engine.Address, u place.Unplaced) string {
	return fmt.Sprintf("%s is never to have fewer replicas than wanted (max_unavailable = 0): a new one starts before an old one leaves, and %s finds no room: %s. "+
		"%s, or let one be missing meanwhile: max_unavailable = 1.", function, u.Replica, u.Why, c.moreRoom(function))
}

// moreRoom says how a function gets more room.
func (c *computer) moreRoom(function engine.Address) string {
	groups := []string{"it"}
	for _, f := range c.in.Desired.Functions {
		if f.Address == function {
			groups = nil
			for _, on := range f.On {
				groups = append(groups, on.String()+c.atItsMost(on))
			}
		}
	}
	return fmt.Sprintf("Free a slot, or give %s more machines, larger ones, or more slots on each", strings.Join(groups, " or "))
}

// atItsMost says how many machines a group has at the most, "" if it is not scaled.
func (c *computer) atItsMost(group engine.Address) string {
	for _, m := range c.in.Desired.Machines {
		if m.Address == group && m.Count.Autoscaled {
			return fmt.Sprintf(" (max = %d)", m.Count.Max)
		}
	}
	return ""
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
