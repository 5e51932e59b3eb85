package runtime

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/graph"
	"github.com/flowctl/flowctl/engine/plan"
	"github.com/flowctl/flowctl/state"
	"github.com/flowctl/flowctl/tasks"
)

// Sight is what was found of the world when somebody looked.
type Sight struct {
	Snapshot engine.Snapshot // that was gone by
	Found    tasks.Found
}

// View says what to look at.
type View struct {
	Snapshot    engine.Snapshot
	Desired     engine.Desired
	Under       func(run int64) bool     // runs that are under way: what they do is theirs
	Of          func(engine.Object) bool // which of the recorded objects
	Parallelism int                      // 0 means DefaultParallelism
}

// Look reads what there is, and what interrupted runs have left, for plans of the
// loop.
func (f *Flow) Look(ctx context.Context, v View) (Sight, error) {
	v.Snapshot.Open = slices.DeleteFunc(slices.Clone(v.Snapshot.Open), func(in engine.Intent) bool { return v.Under(in.Run) })
	s := Sight{Snapshot: v.Snapshot}
	n := v.Parallelism
	if n == 0 {
		n = DefaultParallelism
	}
	var err error
	if s.Found, err = tasks.Recover(ctx, f.Providers, v.Snapshot, n); err != nil {
		return s, err
	}
	rest := slices.DeleteFunc(slices.Clone(v.Snapshot.Objects), func(o engine.Object) bool {
		_, seen := s.Found.Observed[o.Key()]
		return seen || !v.Of(o)
	})
	seen, err := tasks.Observe(ctx, f.Providers, rest, n)
	if err != nil {
		return s, err
	}
	maps.Copy(seen.Observed, s.Found.Observed) // the few to the many
	s.Found.Observed = seen.Observed
	maps.Copy(s.Found.Observed, tasks.Capacities(ctx, f.Providers, v.Desired, v.Snapshot.Objects))
	return s, ctx.Err()
}

// Settle writes down what interrupted runs have left, as far as it was found out.
func (f *Flow) Settle(ctx context.Context, l *state.Lease, s Sight) error {
	return f.Store.Adjust(ctx, l, state.Adjust{Put: s.Found.Adopted, Resolve: s.Found.Resolved})
}

// Foresee computes a plan for the loop from a state and from what was seen, as far
// as that is still of the objects that there are. It asks no provider anything.
func (f *Flow) Foresee(ctx context.Context, r Request, snap engine.Snapshot, seen map[engine.Key]engine.Observation) (Planned, engine.Diagnostics) {
	if r.Now.IsZero() {
		r.Now = f.Now()
	}
	p := Planned{Request: r, Snapshot: snap, Found: tasks.Found{Observed: seen}}
	return p, f.recompute(ctx, &p)
}

func byKey(objects []engine.Object) map[engine.Key]*engine.Object {
	all := make(map[engine.Key]*engine.Object, len(objects))
	for i := range objects {
		all[objects[i].Key()] = &objects[i]
	}
	return all
}

// Unchanged reports whether nothing was recorded of an object between two states.
func Unchanged(was, is *engine.Object) bool {
	return was.Operation == is.Operation && was.Lifecycle == is.Lifecycle && was.Kept.Equal(is.Kept) && was.Value.RawEquals(is.Value)
}

// ApplyPart carries out a part of a plan under a lease that other parts may share.
// It wraps ErrStale if something that the part changes or needs has changed since
// the plan was made. New revisions that turn out not to be good are noted; going
// back from them is left to the next plan.
func (f *Flow) ApplyPart(ctx, hard context.Context, l *state.Lease, p Planned, part plan.Part, o Options) (Outcome, error) {
	out := Outcome{}
	now, err := f.Store.Snapshot(hard)
	if err != nil {
		return out, err
	}
	if why := moved(p.Snapshot, now, part); why != "" {
		return out, fmt.Errorf("%w: %s", ErrStale, why)
	}
	whole := p.Plan.Outputs
	p.Plan = part.Plan
	if diags := tasks.Check(ctx, f.Providers, p.Plan); diags.HasErrors() {
		return out, diags.Err()
	}
	steps, err := graph.Build(p.Plan)
	if err != nil {
		return out, fmt.Errorf("bug: %w", err)
	}
	if a := partAdjustment(p, part); !empty(a) {
		if err := f.Store.Adjust(hard, l, a); err != nil {
			return out, err
		}
	}
	runner := tasks.NewRunner(p.Plan, f.Providers, f.Now)
	if err := f.run(ctx, hard, l, p, o, runner, steps, &out); err != nil {
		return out, err
	}
	f.settling.Lock()
	defer f.settling.Unlock()
	if p.Snapshot, err = f.Store.Snapshot(context.WithoutCancel(hard)); err != nil {
		return out, err
	}
	if err := f.revise(hard, l, p, runner, out, false); err != nil {
		return out, err
	}
	p.Plan.Outputs = whole
	return out, f.publish(hard, l, p, o)
}

// ApplyOutputs records the outputs of a plan of which nothing else is to be done.
func (f *Flow) ApplyOutputs(ctx context.Context, l *state.Lease, p Planned, o Options) error {
	f.settling.Lock()
	defer f.settling.Unlock()
	var err error
	if p.Snapshot, err = f.Store.Snapshot(ctx); err != nil {
		return err
	}
	return f.publish(ctx, l, p, o)
}

// publish records the outputs as they come to be by what exists now.
func (f *Flow) publish(hard context.Context, l *state.Lease, p Planned, o Options) error {
	if len(p.Plan.Outputs) == 0 {
		return nil
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(hard), 10*time.Second)
	defer cancel()
	return f.Store.Conclude(end, l, state.Concluded{
		Outputs:   outputs(p.Plan, f.Recorded(p.Snapshot.Objects), p.Snapshot.Outputs),
		Providers: p.Request.Desired.Providers, SpecPath: o.Path,
	})
}

// Recorded are the values of what exists.
func (f *Flow) Recorded(objects []engine.Object) engine.Values {
	var p engine.Plan
	for o := range Standing(objects) {
		p.Changes = append(p.Changes, engine.Change{Address: o.Address, Action: engine.NoOp, Prior: o})
	}
	return tasks.NewRunner(p, f.Providers, f.Now)
}

// Standing goes through what there is, sorted: of several generations of one
// resource, the one that stands for it.
func Standing(objects []engine.Object) iter.Seq[*engine.Object] {
	return func(yield func(*engine.Object) bool) {
		for i := 0; i < len(objects); {
			j := i + 1
			for j < len(objects) && objects[j].Address == objects[i].Address {
				j++
			}
			if o, _ := engine.Current(objects[i:j]); !yield(o) {
				return
			}
			i = j
		}
	}
}

// moved says what a part rests on has changed between two states, "" if nothing.
func moved(then, now engine.Snapshot, part plan.Part) string {
	if then.Lineage != now.Lineage {
		return "it was made from another state"
	}
	if then.Serial == now.Serial {
		return ""
	}
	concerns := func(a engine.Address) bool { return part.Changes[a] || part.Needs[a] || part.Needs[a.Group()] }
	was, is := byKey(then.Objects), byKey(now.Objects)
	for k, o := range is {
		if old := was[k]; concerns(k.Address) && (old == nil || !Unchanged(old, o)) {
			return fmt.Sprintf("%s has changed since it was made", k.Address)
		}
	}
	for k := range was {
		if concerns(k.Address) && is[k] == nil {
			return fmt.Sprintf("%s has gone since it was made", k.Address)
		}
	}
	return ""
}

// partAdjustment is what the state must learn before a part of a plan is carried
// out: what was found of the objects that it changes.
func partAdjustment(p Planned, part plan.Part) state.Adjust {
	var a state.Adjust
	for _, o := range p.Snapshot.Objects {
		obs, seen := p.Found.Observed[o.Key()]
		switch {
		case !seen || !part.Changes[o.Address]:
		case obs.Presence == engine.Gone:
			a.Drop = append(a.Drop, o.Key())
		case obs.Presence != engine.Unreachable && !obs.Object.Value.RawEquals(o.Value):
			a.Put = append(a.Put, obs.Object)
		}
	}
	return a
}
