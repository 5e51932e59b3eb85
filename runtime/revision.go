package runtime

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/tasks"
)

// keepRevisions is how many revisions of a function are remembered.
const keepRevisions = 10

// revisions is what is remembered of the functions' revisions, while a run is
// looked over.
type revisions struct {
	all []engine.Revision
	run int64
	now time.Time
}

// newRevisions begins with what the state remembers. Times are as precise as
// there.
func newRevisions(before []engine.Revision, run int64, now time.Time) *revisions {
	return &revisions{slices.Clone(before), run, now.Truncate(time.Microsecond).UTC()}
}

// changed reports whether there is something to write.
func (rs *revisions) changed(before []engine.Revision) bool {
	return len(rs.all) != len(before) || len(before) > 0 && !reflect.DeepEqual(rs.all, before)
}

// of returns the revision of a replica's value, which is new if it is not
// remembered; nil if the value is not known.
func (rs *revisions) of(function engine.Address, value engine.Object) *engine.Revision {
	digest := engine.DigestOf(value.Value)
	if digest == "" {
		return nil
	}
	number := 0
	for i := range rs.all {
		r := &rs.all[i]
		if r.Function != function {
			continue
		}
		if r.Digest == digest {
			return r
		}
		number = max(number, r.Number)
	}
	rs.all = append(rs.all, engine.Revision{
		Function: function, Number: number + 1, Digest: digest, Value: engine.Declared(value.Value), Sensitive: value.Sensitive,
	})
	return &rs.all[len(rs.all)-1]
}

// settle notes that all replicas of a function are of one revision and work.
// byHand tells that the operator asked for it in place of another.
func (rs *revisions) settle(function engine.Address, value engine.Object, byHand bool) {
	r := rs.of(function, value)
	if r == nil || r.Current && r.Verdict == engine.Good {
		return
	}
	for i := range rs.all {
		other := &rs.all[i]
		if other.Function != function || !other.Current || other == r {
			continue
		}
		if other.Current = false; byHand {
			other.Verdict, other.Why, other.Run = engine.RolledBack, fmt.Sprintf("rolled back to revision %d", r.Number), rs.run
		}
	}
	r.Current, r.Verdict, r.Why, r.Since, r.Run = true, engine.Good, "", rs.now, rs.run
}

// condemn notes that a revision is not good. The one that the function runs is: its
// replicas fail for another reason.
func (rs *revisions) condemn(function engine.Address, value engine.Object, why string) {
	r := rs.of(function, value)
	if r == nil || r.Current && r.Verdict == engine.Good {
		return
	}
	why, _, _ = strings.Cut(why, "\n")
	r.Verdict, r.Why, r.Since, r.Run = engine.Bad, strings.TrimSuffix(why, tasks.LogFollows), rs.now, rs.run
}

// prune forgets the oldest revisions, and those of functions that are no more.
func (rs *revisions) prune(gone func(engine.Address) bool) {
	rs.all = slices.DeleteFunc(rs.all, func(r engine.Revision) bool { return gone(r.Function) })
	slices.SortFunc(rs.all, func(a, b engine.Revision) int {
		return cmp.Or(a.Function.Compare(b.Function), cmp.Compare(a.Number, b.Number))
	})
	byFunction := map[engine.Address][]engine.Revision{}
	for _, r := range rs.all {
		byFunction[r.Function] = append(byFunction[r.Function], r)
	}
	drop := map[engine.Address][]int{}
	for f, list := range byFunction {
		good := engine.LastGood(list, f, "")
		slices.SortStableFunc(list, func(a, b engine.Revision) int { return b.Since.Compare(a.Since) })
		for i, r := range list {
			if i >= keepRevisions && !r.Current && (good == nil || good.Number != r.Number) {
				drop[f] = append(drop[f], r.Number)
			}
		}
	}
	rs.all = slices.DeleteFunc(rs.all, func(r engine.Revision) bool { return slices.Contains(drop[r.Function], r.Number) })
}

// review looks over what a run has made of the functions.
func (rs *revisions) review(p engine.Plan, out Outcome, objects func(engine.Address) (engine.Object, bool), byHand bool) {
	undone := undoneFunctions(out.Steps, out.Report)
	left := map[engine.Address]bool{}
	for i, c := range p.Changes {
		if c.Address.Kind != engine.KindFunction || c.Action == engine.Delete && !undone[c.Address.Group()] {
			continue
		}
		group := c.Address.Group()
		first := !left[group]
		left[group] = true
		if first && !undone[group] {
			rs.reviewFunction(p, i, objects, byHand)
		}
	}
	known := map[engine.Address]bool{}
	for _, c := range p.Changes {
		known[c.Address.Group()] = known[c.Address.Group()] || c.Address.Kind == engine.KindFunction
	}
	rs.prune(func(f engine.Address) bool { return known[f] && !left[f] })
}

// reviewFunction looks over one function, whose changes begin at from.
func (rs *revisions) reviewFunction(p engine.Plan, from int, objects func(engine.Address) (engine.Object, bool), byHand bool) {
	group := p.Changes[from].Address.Group()
	var value engine.Object
	digest := ""
	for _, c := range p.Changes[from:] {
		if c.Address.Group() != group {
			break
		}
		if c.Action == engine.Delete {
			continue
		}
		o, ok := objects(c.Address)
		if !ok || c.Hold != "" || o.Lifecycle != engine.Ready {
			return
		}
		d := engine.DigestOf(o.Value)
		if digest != "" && d != digest {
			return
		}
		digest, value = d, o
	}
	if digest != "" {
		rs.settle(group, value, byHand)
	}
}

// recall settles functions of which all replicas are of one revision that nothing is
// known of, and work. What was found not to be good stays so.
func (rs *revisions) recall(p Planned) {
	whole := map[engine.Address]*engine.Object{} // nil if it is not
	for i, o := range p.Snapshot.Objects {
		group := o.Address.Group()
		if o.Address.Kind != engine.KindFunction || !o.Kept.IsZero() {
			continue
		}
		first, seen := whole[group]
		switch {
		case o.Lifecycle != engine.Ready || p.Found.Observed[o.Key()].Presence != engine.Present:
			whole[group] = nil
		case !seen:
			whole[group] = &p.Snapshot.Objects[i]
		case first != nil && engine.DigestOf(first.Value) != engine.DigestOf(o.Value):
			whole[group] = nil
		}
	}
	for _, in := range p.Snapshot.Open {
		whole[in.Address.Group()] = nil
	}
	for group, o := range whole {
		if o == nil {
			continue
		}
		digest := engine.DigestOf(o.Value)
		known := slices.ContainsFunc(rs.all, func(r engine.Revision) bool { return r.Function == group && r.Digest == digest })
		if digest != "" && !known {
			rs.settle(group, *o, false)
		}
	}
}

// undoneFunctions are those of which a step was not done.
func undoneFunctions(steps []engine.Step, report exec.Report) map[engine.Address]bool {
	undone := map[engine.Address]bool{}
	for i, s := range steps {
		if i < len(report.States) && report.States[i] == engine.Done {
			continue
		}
		switch s.Address.Kind {
		case engine.KindFunction:
			undone[s.Address.Group()] = true
		case engine.KindBackend:
			_, replica := s.Address.Membership()
			undone[replica.Group()] = true
		}
	}
	return undone
}
