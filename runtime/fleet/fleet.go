// Package fleet says how many machines the wanted replicas need, which of them
// could be emptied, and how many may be at once. It is pure.
//
// The demand follows from placement, with headroom, and from nothing else. To
// shrink, machines are taken away one after the other, each time placing anew
// what was on them; what one has been promised is full for the next. Start with
// Of.
package fleet

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
	"github.com/flowctl/flowctl/engine/rule"
)

// Fleet is what one group of machines should be.
type Fleet struct {
	Have     int
	Need     int     // machines, within the group's bounds
	Spare    []Spare // Have - Need of them, in the order in which they should go, if fewer are needed
	Unplaced []place.Unplaced
}

// Spare is a machine that can be emptied.
type Spare struct {
	Machine engine.Address
	Moves   []engine.Placing // where its replicas go, after those of the spares before it have gone
}

// Of works out one group of machines: in.Have are those that there are, in.Was
// tells where replicas are, in.Replicas which ones are wanted.
func Of(in place.Input, group engine.Address) Fleet {
	whole := place.Compute(in)
	f := Fleet{Have: len(in.Have[group]), Need: len(whole.Machines[group]), Unplaced: whole.Unplaced}
	if f.Need > f.Have || len(whole.Unplaced) > 0 || len(whole.Short) > 0 {
		return f
	}
	g := groupOf(in, group)
	now := after(in, whole)
	for _, m := range candidates(now, group) {
		if len(now.Have[group]) <= g.Count.Min {
			break
		}
		next, moves, ok := without(now, group, m)
		if !ok || !worth(now, group, len(moves)) {
			continue
		}
		f.Spare = append(f.Spare, Spare{group.At(m), moves})
		now = next
	}
	f.Need = len(now.Have[group])
	return f
}

func groupOf(in place.Input, group engine.Address) *engine.MachineGroup {
	i := slices.IndexFunc(in.Machines, func(m engine.MachineGroup) bool { return m.Address == group })
	return &in.Machines[i]
}

// after is the input once everything is where a result puts it.
func after(in place.Input, r place.Result) place.Input {
	in.Have = r.Machines
	in.Was = make(map[engine.Address]engine.Address, len(r.Placings))
	for _, p := range r.Placings {
		in.Was[p.Replica] = p.Machine
	}
	return in
}

// candidates lists the machines that keep nothing for a rollback, the one with the
// fewest replicas first, of equals the newest.
func candidates(in place.Input, group engine.Address) []int {
	count := map[engine.Address]int{}
	for _, m := range in.Was {
		count[m]++
	}
	keeps := map[engine.Address]bool{}
	for _, m := range in.Kept {
		keeps[m] = true
	}
	all := slices.DeleteFunc(slices.Clone(in.Have[group]), func(n int) bool { return keeps[group.At(n)] })
	slices.SortFunc(all, func(a, b int) int {
		return cmp.Or(cmp.Compare(count[group.At(a)], count[group.At(b)]), cmp.Compare(b, a))
	})
	return all
}

// without places what is on machine m on the others, and keeps the headroom.
func without(in place.Input, group engine.Address, m int) (place.Input, []engine.Placing, bool) {
	in.Machines = slices.Clone(in.Machines)
	g := groupOf(in, group)
	in.Have = maps.Clone(in.Have)
	in.Have[group] = slices.DeleteFunc(slices.Clone(in.Have[group]), func(n int) bool { return n == m })
	bounds := g.Count
	g.Count.Min, g.Count.Max = len(in.Have[group]), len(in.Have[group])
	in.Old = in.Kept // nothing is emptied into the room of those
	r := place.Compute(in)
	in.Old = nil
	if len(r.Unplaced) > 0 || len(r.Short) > 0 {
		return in, nil, false
	}
	var moves []engine.Placing
	for _, p := range r.Placings {
		if in.Was[p.Replica] == group.At(m) {
			moves = append(moves, p)
		}
	}
	g.Count = bounds
	return after(in, r), moves, true
}

// leastScore is the least Score for which a machine is emptied: one that saves
// half of what its share of the disruption would be, as in Karpenter's balanced
// consolidation (k = 2).
const leastScore = 0.5

// Score weighs what a change saves of a pool against what it disturbs of it:
// each as a share of the whole.
func Score(saved, pool, disruption, poolDisruption float64) float64 {
	if pool == 0 || disruption == 0 {
		return 0
	}
	return saved / pool * poolDisruption / disruption
}

// worth reports whether emptying one machine, with so many moves, is.
func worth(in place.Input, group engine.Address, moves int) bool {
	machines := float64(len(in.Have[group]))
	replicas := 0
	for _, m := range in.Was {
		if m.Group() == group {
			replicas++
		}
	}
	return Score(1, machines, float64(1+moves), machines+float64(replicas)) >= leastScore
}

// OverBudget is why machines that could go do not.
const OverBudget = "the budget lets no more of them leave at once"

// Allowed is how many machines more may be emptied now, of so many, when some
// are leaving and some are broken already.
func Allowed(budgets []rule.Budget, now time.Time, total, leaving, broken int) int {
	allowed := total
	for _, b := range budgets {
		if !b.InForce(now) {
			continue
		}
		n := int(math.Ceil(float64(total)*b.Percent/100 - 1e-9))
		if b.Machines > 0 {
			n = b.Machines
		}
		allowed = min(allowed, n)
	}
	return max(0, allowed-leaving-broken)
}

// Halted reports whether so many machines are broken that something else must be
// wrong, and nothing should be repaired or emptied: more than three, and 45 %.
func Halted(total, broken int) bool { return broken > 3 && float64(broken) > 0.45*float64(total) }

// Room is how many replicas of a function there is room for on the machines at
// their largest, of as many as in.Replicas has of it.
func Room(in place.Input, function engine.Address) int {
	n := 0
	for _, p := range place.Compute(in).Placings {
		if p.Replica.Group() == function {
			n++
		}
	}
	return n
}
