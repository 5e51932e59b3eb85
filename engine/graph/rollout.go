package graph

import (
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
)

// moves are the steps with which a rollout moves requests.
type moves struct {
	stages []stage // of a canary
	last   []int   // shifts after which the new replicas have what they are to have
}

// stage is one step of a canary: shifts, then a judgement.
type stage struct {
	shifts []int
	judge  int
}

// rolloutVertices makes the steps of a rollout that are no changes of resources.
func (b *builder) rolloutVertices(r *engine.Rollout) {
	m := &moves{}
	for _, s := range r.Stages {
		st := stage{shifts: b.shifts(r, s.Percent)}
		st.judge = b.move(engine.OpJudge, r.Function, s.Percent, "", 0, 1)
		m.stages = append(m.stages, st)
	}
	m.last = b.shifts(r, 100)
	for i, f := range r.Fronts {
		b.switched[f.Frontend] = append(b.switched[f.Frontend], m.last[i])
	}
	b.moves[r.Function] = m
	for _, k := range r.Kept {
		b.kept[k] = -1
	}
}

func (b *builder) shifts(r *engine.Rollout, percent int) []int {
	var ids []int
	for _, f := range r.Fronts {
		ids = append(ids, b.move(engine.OpShift, engine.BackendOf(f.Frontend, r.Function), percent, f.Provider, DefaultTimeout, DefaultAttempts))
	}
	return ids
}

func (b *builder) move(op engine.Op, a engine.Address, percent int, provider string, timeout time.Duration, attempts int) int {
	id := len(b.steps)
	b.steps = append(b.steps, engine.Step{ID: id, Op: op, Address: a, Gen: percent, Phase: engine.Stitch, Provider: provider, Timeout: timeout, Attempts: attempts})
	return id
}

// rollouts orders what rollouts do.
func (b *builder) rollouts() {
	for i := range b.plan.Rollouts {
		r := &b.plan.Rollouts[i]
		if r.Strategy == engine.Canary {
			b.leave(r, b.canary(r))
		} else {
			b.leave(r, b.blueGreen(r))
		}
	}
}

// blueGreen lets the frontends switch when the whole second set is healthy and
// waits in all of them, and returns the step after which the old set may leave.
func (b *builder) blueGreen(r *engine.Rollout) int {
	ready := b.meet(r.Function, b.joined(r, r.Replicas))
	last := b.moves[r.Function].last
	if len(last) == 0 {
		return ready
	}
	for _, s := range last {
		b.edge(s, ready)
	}
	return b.meet(r.Function, slices.Clone(last))
}

// canary gives the new replicas one share after the other, each when the one
// before was judged good, and returns the step after which all others may be
// replaced.
func (b *builder) canary(r *engine.Rollout) int {
	m := b.moves[r.Function]
	before, n := -1, 0
	for i, s := range r.Stages {
		more := r.Replicas[n:max(n, s.Replicas)]
		n = max(n, s.Replicas)
		b.begin(more, before)
		ready := b.meet(r.Function, append(b.joined(r, more), before))
		for _, id := range m.stages[i].shifts {
			b.edge(id, ready)
		}
		b.edge(m.stages[i].judge, m.stages[i].shifts...)
		if r.Tight {
			b.edge(m.stages[i].judge, b.giveWay(r, more, b.meet(r.Function, slices.Clone(m.stages[i].shifts)))...)
		}
		before = m.stages[i].judge
	}
	for _, id := range m.last {
		b.edge(id, before)
	}
	return b.meet(r.Function, slices.Clone(m.last))
}

// begin lets canaries come in after a step: those for which their old ones leave first
// not more at once than may be missing.
func (b *builder) begin(canaries []engine.Address, after int) {
	var instead []*engine.Change
	for _, a := range canaries {
		made, ok := b.made[a]
		if !ok {
			continue
		}
		b.edge(made, after)
		if c := b.plan.Find(a); c.Action == engine.Replace && !c.CreateFirst {
			instead = append(instead, c)
			for _, first := range b.firstOf(c) {
				b.edge(first, after)
			}
		}
	}
	b.spaced(instead)
}

// giveWay lets what canaries take over from leave after a step, if it has not left before
// them, and returns the steps that end it.
func (b *builder) giveWay(r *engine.Rollout, canaries []engine.Address, after int) []int {
	stays := func(replica engine.Address) bool {
		c := b.plan.Find(replica)
		return !slices.Contains(canaries, replica) || c.Action == engine.Replace && !c.CreateFirst
	}
	var gone []int
	for _, k := range r.Old {
		if !stays(k.Address) {
			gone = append(gone, b.leaves(k, after)...)
		}
	}
	for _, f := range r.Fronts {
		for _, k := range f.Old {
			if _, replica := k.Address.Membership(); !stays(replica) {
				gone = append(gone, b.leaves(k, after)...)
			}
		}
	}
	return gone
}

// joined lists the steps that make replicas and let them wait in the frontends of
// a rollout.
func (b *builder) joined(r *engine.Rollout, replicas []engine.Address) []int {
	var ids []int
	add := func(a engine.Address) {
		if id, ok := b.made[a]; ok {
			ids = append(ids, id)
		}
	}
	for _, a := range replicas {
		add(a)
		for _, f := range r.Fronts {
			if member := engine.BackendOf(f.Frontend, a); slices.Contains(f.New, member) {
				add(member)
			}
		}
	}
	return ids
}

// leave lets the old replicas of a rollout, and their backends, leave or be kept
// when the requests have moved. What a canary has not replaced follows when they
// have left.
func (b *builder) leave(r *engine.Rollout, after int) {
	var gone []int
	for _, k := range r.Old {
		if !r.Tight {
			gone = append(gone, b.leaves(k, after)...)
		}
	}
	for _, f := range r.Fronts {
		for _, k := range f.Old {
			_, replica := k.Address.Membership()
			canary := slices.Contains(r.Replicas, replica)
			if canary && r.Tight {
				continue // it has left already
			}
			if ids := b.leaves(k, after); canary {
				gone = append(gone, ids...)
			}
		}
	}
	if r.Strategy != engine.Canary {
		return
	}
	empty := b.meet(r.Function, append(gone, after))
	for _, i := range b.groups[r.Function] {
		c := &b.plan.Changes[i]
		if slices.Contains(r.Replicas, c.Address) || c.Action != engine.Create && c.Action != engine.Replace {
			continue
		}
		for _, first := range b.firstOf(c) {
			b.edge(first, empty)
		}
		b.edge(b.made[c.Address], after)
	}
}

// leaves orders the end of an object, or its being kept, after a step.
func (b *builder) leaves(k engine.Key, after int) []int {
	if id, keep := b.kept[k]; keep {
		if id >= 0 {
			b.edge(id, after)
		}
		return nil
	}
	var ids []int
	for _, i := range b.oldBy[k.Address] {
		if b.old[i].object.Gen == k.Gen {
			b.edge(b.old[i].step, after)
			ids = append(ids, b.old[i].step)
		}
	}
	return ids
}
