package tasks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// shift gives the new replicas of a function their share of the requests of a
// frontend.
func (r *Runner) shift(ctx context.Context, s engine.Step) error {
	p, err := r.providers.Get(ctx, s.Provider)
	if err != nil {
		return err
	}
	frontend, function := s.Address.Membership()
	ro := r.plan.Rollout(function)
	for _, f := range ro.Fronts {
		if f.Frontend == frontend {
			return r.share(ctx, p, f, r.shares(*ro, f, s.Gen))
		}
	}
	panic("bug: no rollout for step " + s.Name())
}

func (r *Runner) share(ctx context.Context, p providers.Provider, f engine.Front, shares map[engine.Key]int) error {
	sh, ok := providers.As[providers.Shifter](p)
	if !ok {
		return providers.Permanent(fmt.Errorf("the provider %s of %s cannot move requests between backends", f.Provider, f.Frontend))
	}
	if err := sh.Shift(ctx, f.Frontend, shares); err != nil {
		return fmt.Errorf("move requests of %s: %w", f.Frontend, err)
	}
	return nil
}

// shares are what the backends of a rollout get at a step of it. New ones of a
// canary that has come further before get none.
func (r *Runner) shares(ro engine.Rollout, f engine.Front, percent int) map[engine.Key]int {
	fresh, old := r.sides(ro, f, percent)
	shares := map[engine.Key]int{}
	for _, k := range r.fresh(f, ro.Replicas) {
		shares[k] = 0
	}
	for _, k := range fresh {
		shares[k] = percent
	}
	for _, k := range old {
		if shares[k] = 100; percent == 100 && ro.Strategy == engine.BlueGreen {
			shares[k] = 0
		}
	}
	return shares
}

// sides are the backends of a rollout in one frontend at a step of it: those of the
// new replicas that share percent of the requests, and those of the old ones.
func (r *Runner) sides(ro engine.Rollout, f engine.Front, percent int) (fresh, old []engine.Key) {
	part := ro.Replicas
	for _, s := range ro.Stages {
		if s.Percent == percent {
			part = ro.Replicas[:s.Replicas]
		}
	}
	fresh = r.fresh(f, part)
	old = slices.DeleteFunc(slices.Clone(f.Old), func(k engine.Key) bool { return slices.Contains(fresh, k) })
	return fresh, old
}

// fresh are the backends of new replicas that are there. An old one is among them
// when it turned out that it need not be replaced.
func (r *Runner) fresh(f engine.Front, replicas []engine.Address) []engine.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []engine.Key
	for _, a := range f.New {
		_, replica := a.Membership()
		o, ok := r.objects[a]
		if ok && slices.Contains(replicas, replica) && (r.kept[a] || !slices.Contains(f.Old, o.Key())) {
			all = append(all, o.Key())
		}
	}
	return all
}

// goBack gives all requests back to the old replicas of a rollout.
func (r *Runner) goBack(ctx context.Context, ro engine.Rollout) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	for _, f := range ro.Fronts {
		p, err := r.providers.Get(ctx, f.Provider)
		if err != nil {
			return err
		}
		shares := map[engine.Key]int{}
		for _, k := range r.fresh(f, ro.Replicas) {
			shares[k] = 0
		}
		for _, k := range f.Old {
			shares[k] = 100
		}
		if err := r.share(ctx, p, f, shares); err != nil {
			return err
		}
	}
	return nil
}

// tallies counts what became of the requests to the new and the old replicas of a
// rollout, by frontend.
func (r *Runner) tallies(ctx context.Context, ro engine.Rollout, percent int) (map[engine.Address]sides, error) {
	all := map[engine.Address]sides{}
	for _, f := range ro.Fronts {
		p, err := r.providers.Get(ctx, f.Provider)
		if err != nil {
			return nil, err
		}
		sh, ok := providers.As[providers.Shifter](p)
		if !ok {
			return nil, providers.Permanent(fmt.Errorf("the provider %s of %s does not count requests by backend", f.Provider, f.Frontend))
		}
		fresh, old := r.sides(ro, f, percent)
		var s sides
		if s.fresh, err = sh.Tally(ctx, f.Frontend, fresh); err == nil {
			s.old, err = sh.Tally(ctx, f.Frontend, old)
		}
		if err != nil {
			return nil, fmt.Errorf("read the counts of %s: %w", f.Frontend, err)
		}
		all[f.Frontend] = s
	}
	return all, nil
}

// sides are the counts of new and old replicas.
type sides struct{ fresh, old providers.Tally }

// between sums up what was counted from one reading to another.
func between(before, after map[engine.Address]sides) (sum sides) {
	for _, f := range slices.SortedFunc(maps.Keys(after), engine.Address.Compare) {
		sum.fresh.Add(after[f].fresh.Since(before[f].fresh))
		sum.old.Add(after[f].old.Since(before[f].old))
	}
	return sum
}

// keepOld records that an old replica is kept for a rollback.
func (r *Runner) keepOld(c *engine.Change, gen int) engine.Result {
	o := *old(c, gen)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept[c.Address] {
		return engine.Result{Object: &o, Unchanged: true}
	}
	keep := r.plan.Rollout(c.Address.Group()).Policy.Keep.Std()
	o.Kept = r.now().Add(keep).Truncate(time.Microsecond).UTC()
	return engine.Result{Object: &o, Note: "for a rollback, until " + o.Kept.Local().Format("15:04:05")}
}
