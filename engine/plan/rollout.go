package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// pair is a replica as it is wanted, and the one of another revision that runs
// beside it until it has taken over.
type pair struct {
	ch  *engine.Change
	old *engine.Object // nil if there is none
}

// pairs lists the replicas of a function with those that they take over from:
// what they replace, or what a rollout that did not end has left.
func (c *computer) pairs(d *engine.Decl) []pair {
	var all []pair
	for _, a := range c.members[d.Address] {
		ch := c.changeOf(a)
		if ch == nil || ch.Hold != "" {
			continue
		}
		all = append(all, pair{ch, outgoing(ch)})
	}
	return all
}

// outgoing is the object that serves until the one that a change makes, or
// keeps, has taken over; nil if there is none.
func outgoing(ch *engine.Change) *engine.Object {
	if ch.Action == engine.Replace && ch.Prior.Lifecycle != engine.Tainted {
		return ch.Prior
	}
	for i := range slices.Backward(ch.Leftovers) {
		if o := &ch.Leftovers[i]; o.Lifecycle != engine.Tainted && o.Kept.IsZero() {
			return o
		}
	}
	return nil
}

// rollout plans how a new revision of a function comes in where that is more than
// one replica after the other; else it returns nil.
func (c *computer) rollout(d *engine.Decl, backends map[engine.Address][]*engine.Change) *engine.Rollout {
	pairs := c.pairs(d)
	r := &engine.Rollout{Function: d.Address, Policy: d.Roll}
	if r.Strategy = c.strategy(d, pairs, backends); r.Strategy == engine.Rolling {
		return nil
	}
	r.Back = slices.ContainsFunc(pairs, goesBack)
	if r.Tight = c.tight[d.Address] > 0; r.Tight && r.Back {
		return nil // no room for all at once
	}
	if r.Back {
		r.Strategy = engine.BlueGreen
	}
	if r.Strategy == engine.Canary {
		pairs = c.canaries(r, pairs, backends)
	}
	for _, p := range pairs {
		r.Replicas = append(r.Replicas, p.ch.Address)
		if p.old != nil {
			r.Old = append(r.Old, p.old.Key())
		}
	}
	if r.Fronts = c.fronts(r, pairs, backends); r.Strategy == engine.Canary && len(r.Fronts) == 0 {
		return nil // its frontends are made in this plan: nobody could judge
	}
	rest, again := c.rest(d, r), false
	switch {
	case c.tight[d.Address] == oldFirst:
		c.giveWay(d, pairs, backends)
	case r.Tight && !c.inTurn(d.Address):
		again = true
	case !c.reserve(d, r, pairs):
		return nil // it is planned again, with room for them elsewhere
	}
	if r.Strategy == engine.Canary {
		if again = again || !c.rollPlainly(d, rest, backends); again {
			c.takeTurns(engine.Canary, append(stages(r, pairs), single(rest)...)...)
		}
	} else {
		c.keepNew(d, r, pairs)
	}
	c.standBy(r, backends)
	return r
}

// strategy is how a function's new revision comes in: as its policy says, where
// there is a new revision and old and new can run side by side.
func (c *computer) strategy(d *engine.Decl, pairs []pair, backends map[engine.Address][]*engine.Change) string {
	revised, finished, watched := false, false, false
	for _, p := range pairs {
		if p.ch.Action == engine.Replace && !p.ch.CreateFirst && p.ch.Prior.Lifecycle != engine.Tainted {
			return engine.Rolling
		}
		finished = finished || alone(p, backends)
		revised = revised || p.old != nil && differs(p.old.Value, p.ch.Planned)
		watched = watched || c.onTrial(p, backends)
	}
	switch {
	case !revised:
		return engine.Rolling
	case d.Roll.Strategy == engine.Canary && !slices.ContainsFunc(pairs, goesBack) && (c.pin(d) != nil || finished && !watched):
		return engine.Rolling // known to be good, or judged already
	default:
		return d.Roll.Strategy
	}
}

// goesBack reports whether what is wanted is older than what it takes over from.
func goesBack(p pair) bool { return p.old != nil && p.old.Gen > p.ch.Gen }

// differs reports whether two values of replicas are of different revisions, as
// far as that takes a new replica.
func differs(a, b cty.Value) bool {
	for _, attr := range engine.ValueSchema(engine.KindFunction).Attributes {
		if attr.Replace && !attr.Computed && !a.GetAttr(attr.Name).RawEquals(b.GetAttr(attr.Name)) {
			return true
		}
	}
	return false
}

// canaries plans the stages of a canary and returns the replicas that take part:
// those that are there already first. Where there is little room they may have nothing
// to take over from any more; then it goes on with the stage that they came to.
func (c *computer) canaries(r *engine.Rollout, pairs []pair, backends map[engine.Address][]*engine.Change) []pair {
	pairs = slices.DeleteFunc(slices.Clone(pairs), func(p pair) bool {
		return p.old == nil && !c.onTrial(p, backends) && !(r.Tight && p.ch.Action == engine.Create)
	})
	slices.SortStableFunc(pairs, func(a, b pair) int {
		return cmp.Or(there(b)-there(a), c.missing(b, backends)-c.missing(a, backends))
	})
	n, done := 0, 0
	for _, p := range pairs {
		if alone(p, backends) {
			done++
		}
	}
	steps := r.Policy.Steps()
	for i, percent := range steps {
		more := max(1, (len(pairs)*percent+99)/100)
		if c.tight[r.Function] == oldFirst { // until their stage they get no requests: they count as missing
			more = min(more, max(n+r.Policy.MaxUnavailable, done))
		}
		if n = more; n >= done || i == len(steps)-1 {
			r.Stages = append(r.Stages, engine.Stage{Percent: percent, Replicas: n})
		}
	}
	if r.Tight && n == len(pairs) {
		c.fault(r.Function, c.sourceOf(r.Function), "No room for a canary", fmt.Sprintf(
			"There is no room for a canary of %s beside its old replicas, and as many canaries as there are replicas: if they took the room of the old ones, none would be left to judge them by. %s, or write strategy = \"rolling\".", r.Function, c.moreRoom(r.Function)))
	}
	return pairs[:n]
}

// alone reports whether a new replica is there and the old one serves nowhere any more.
func alone(p pair, backends map[engine.Address][]*engine.Change) bool {
	return there(p) > 0 && !slices.ContainsFunc(backends[p.ch.Address], func(b *engine.Change) bool { return outgoing(b) != nil })
}

// onTrial reports whether a new replica is there that gets other than its part of the
// requests.
func (c *computer) onTrial(p pair, backends map[engine.Address][]*engine.Change) bool {
	return there(p) > 0 && slices.ContainsFunc(backends[p.ch.Address], func(b *engine.Change) bool {
		return b.Prior != nil && c.in.Observed[b.Prior.Key()].Detour != ""
	})
}

// giveWay lets canaries take the room of the replicas that they take over from, which
// leave before.
func (c *computer) giveWay(d *engine.Decl, canaries []pair, backends map[engine.Address][]*engine.Change) {
	for _, p := range canaries {
		at := c.machine[p.ch.Address]
		if p.ch.Action != engine.Replace || at.Machine != at.Was {
			continue
		}
		p.ch.CreateFirst, p.ch.Window = false, d.Roll.MaxUnavailable
		for _, b := range backends[p.ch.Address] {
			b.CreateFirst = false
		}
	}
}

// stages are the batches in which canaries come in that take turns with the rest: each
// stage, if room is tight, else all together.
func stages(r *engine.Rollout, canaries []pair) [][]*engine.Change {
	var all [][]*engine.Change
	n := 0
	for _, s := range r.Stages {
		if r.Tight || s == r.Stages[len(r.Stages)-1] {
			var batch []*engine.Change
			for _, p := range canaries[n:max(n, s.Replicas)] {
				batch = append(batch, p.ch)
			}
			all, n = append(all, batch), max(n, s.Replicas)
		}
	}
	return all
}

// there is 1 if the new replica of a pair exists, else 0.
func there(p pair) int {
	if p.ch.Action == engine.Replace || p.ch.Action == engine.Create {
		return 0
	}
	return 1
}

// missing tells how far what the new replica of a pair takes over from is from serving: it
// is not there, or in no frontend, 2; it does not get its part of the requests, 1; else 0.
func (c *computer) missing(p pair, backends map[engine.Address][]*engine.Change) int {
	switch {
	case p.ch.Action == engine.Create || p.ch.Broken || slices.ContainsFunc(backends[p.ch.Address], func(b *engine.Change) bool { return b.Action == engine.Create }):
		return 2
	case slices.ContainsFunc(backends[p.ch.Address], func(b *engine.Change) bool { return b.Prior != nil && c.in.Observed[b.Prior.Key()].Detour != "" }):
		return 1
	default:
		return 0
	}
}

// rest lists the replicas that are replaced after a canary.
func (c *computer) rest(d *engine.Decl, r *engine.Rollout) []*engine.Change {
	return slices.DeleteFunc(c.moving(d), func(ch *engine.Change) bool { return slices.Contains(r.Replicas, ch.Address) })
}

// fronts lists the frontends in which a rollout moves requests: those that have
// backends of the old revision.
func (c *computer) fronts(r *engine.Rollout, pairs []pair, backends map[engine.Address][]*engine.Change) []engine.Front {
	at := map[engine.Address]int{}
	var all []engine.Front
	front := func(b *engine.Change) *engine.Front {
		f, _ := b.Address.Membership()
		on := c.changeOf(f)
		if on == nil || on.Hold != "" || b.Hold != "" || on.Action == engine.Create || on.Action == engine.Replace {
			return nil
		}
		i, ok := at[f]
		if !ok {
			i, at[f] = len(all), len(all)
			all = append(all, engine.Front{Frontend: f, Provider: on.Provider})
		}
		return &all[i]
	}
	for _, p := range pairs {
		for _, b := range backends[p.ch.Address] {
			if f := front(b); f != nil {
				f.New = append(f.New, b.Address)
			}
		}
	}
	for _, a := range c.members[r.Function] {
		for _, b := range backends[a] {
			if o := c.serving(b); o != nil {
				if f := front(b); f != nil {
					f.Old = append(f.Old, o.Key())
				}
			}
		}
	}
	all = slices.DeleteFunc(all, func(f engine.Front) bool { return len(f.Old) == 0 })
	slices.SortFunc(all, func(a, b engine.Front) int { return a.Frontend.Compare(b.Frontend) })
	return all
}

// serving is the backend that gets requests until the one that a change makes, or keeps,
// has taken over: one of before the last revision, if that never took over itself.
func (c *computer) serving(b *engine.Change) *engine.Object {
	last := outgoing(b)
	if last != b.Prior || last == nil || c.in.Observed[last.Key()].Detour == "" {
		return last
	}
	before := *b
	before.Action = engine.NoOp
	if o := outgoing(&before); o != nil && c.in.Observed[o.Key()].Detour == "" {
		return o
	}
	return last
}

// standBy lets the backends of a rollout wait for it.
func (c *computer) standBy(r *engine.Rollout, backends map[engine.Address][]*engine.Change) {
	for _, f := range r.Fronts {
		for _, a := range f.New {
			b := c.changeOf(a)
			if b.Action == engine.Update && len(b.Changed) == 0 && b.Prior.Lifecycle == engine.Ready && c.in.Observed[b.Prior.Key()].Presence == engine.Present {
				b.Action, b.Why = engine.NoOp, "" // it waits already
			}
			b.Standby = b.Action == engine.Create || b.Action == engine.Replace || b.Action == engine.Update
		}
	}
}
