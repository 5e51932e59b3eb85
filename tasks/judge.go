package tasks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

// UnfitError says that a new revision of a function is not good, or that nobody
// could say whether it is.
type UnfitError struct {
	Function  engine.Address
	Value     cty.Value // of a replica of that revision
	Sensitive []string
	Unjudged  bool // nobody could say
	Err       error
}

func (e *UnfitError) Error() string { return e.Err.Error() }
func (e *UnfitError) Unwrap() error { return e.Err }

// looks is how often a canary is looked at during its pause, so that one whose
// requests all fail does not do so to the end.
const looks = 20

// judge watches the new replicas of a rollout for its pause and judges them by what
// the frontends count. It ends at once when ctx does.
func (r *Runner) judge(ctx context.Context, s engine.Step) (engine.Result, error) {
	ro := *r.plan.Rollout(s.Address)
	sum, err := r.watch(ctx, ro, s.Gen)
	if ctx.Err() != nil {
		return engine.Result{}, context.Cause(ctx)
	}
	if err != nil {
		return engine.Result{}, r.unfit(ctx, ro, true, fmt.Errorf("%s could not be judged at %d %% of the requests: %w", ro.Function, s.Gen, err))
	}
	fault, note := assess(ro.Policy, sum.fresh, sum.old)
	if fault != "" {
		return engine.Result{}, r.unfit(ctx, ro, false, fmt.Errorf("the new revision of %s is not good at %d %% of the requests: %s", ro.Function, s.Gen, fault))
	}
	return engine.Result{Note: note}, nil
}

// watch counts what happens during the pause of a rollout. It ends early when so
// many requests fail that the verdict is clear.
func (r *Runner) watch(ctx context.Context, ro engine.Rollout, percent int) (sides, error) {
	before, err := r.read(ctx, ro, percent)
	if err != nil {
		return sides{}, err
	}
	left := ro.Policy.Pause.Std()
	for every := left / looks; left > 0; left -= every {
		if !pause(ctx, min(every, left)) {
			return sides{}, context.Cause(ctx)
		}
		if every <= 0 || left <= every {
			break
		}
		now, err := r.tallies(ctx, ro, percent)
		if err != nil {
			continue // the last reading counts
		}
		if sum := between(before, now); failing(ro.Policy, sum.fresh, sum.old) != "" {
			return sum, nil
		}
	}
	after, err := r.read(ctx, ro, percent)
	return between(before, after), err
}

// tries is how often a reading that fails in passing is tried.
const tries = 6

// read is tallies, again and again while it fails in passing.
func (r *Runner) read(ctx context.Context, ro engine.Rollout, percent int) (map[engine.Address]sides, error) {
	wait := 100 * time.Millisecond
	for try := 1; ; try++ {
		t, err := r.tallies(ctx, ro, percent)
		if err == nil || try == tries || !providers.Retryable(err) || !pause(ctx, wait) {
			return t, err
		}
		wait *= 2
	}
}

// unfit gives all requests back to the old replicas and says why.
func (r *Runner) unfit(ctx context.Context, ro engine.Rollout, unjudged bool, why error) error {
	if err := r.goBack(ctx, ro); err != nil {
		why = fmt.Errorf("%w; and giving the requests back to the old replicas failed, too: %w", why, err)
	} else {
		why = fmt.Errorf("%w; the old replicas have all requests again", why)
	}
	e := &UnfitError{Function: ro.Function, Value: cty.NilVal, Unjudged: unjudged, Err: providers.Permanent(why)}
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.objects[ro.Replicas[0]]
	e.Value, e.Sensitive = o.Value, o.Sensitive
	return e
}

// leastSlower is a difference in latency that never counts.
const leastSlower = 10 * time.Millisecond

// assess judges new replicas by what they and the old ones did in the same time:
// fault says why they are not good, note what the verdict rests on.
func assess(p engine.UpdatePolicy, fresh, old providers.Tally) (fault, note string) {
	if fault := failing(p, fresh, old); fault != "" {
		return fault, ""
	}
	if fresh.Answered < uint64(p.MinRequests) {
		return "", fmt.Sprintf("%d requests only, fewer than min_requests = %d: taken as good", fresh.Answered, p.MinRequests)
	}
	was, is := old.P95(), fresh.P95()
	if p.MaxSlower > 0 && old.Answered >= uint64(p.MinRequests) && is > was+leastSlower && float64(is) > p.MaxSlower*float64(was) {
		return fmt.Sprintf("95 %% of its %d requests took up to %s, those of the old replicas up to %s, and max_slower = %g allows up to %s",
			fresh.Answered, short(is), short(was), p.MaxSlower, short(time.Duration(p.MaxSlower*float64(was)))), ""
	}
	return "", fmt.Sprintf("%s failed, p95 %s; old: %s, %s", ratio(fresh), short(is), ratio(old), short(was))
}

// failing says that more of the requests to new replicas failed than may, or that
// one of them was taken out. So many may fail as of the least number of requests
// that a verdict takes: few requests must not hide that most of them fail.
func failing(p engine.UpdatePolicy, fresh, old providers.Tally) string {
	for _, k := range slices.SortedFunc(maps.Keys(fresh.Out), engine.Key.Compare) {
		return fmt.Sprintf("of %s, %s; %s failed", k.Address, fresh.Out[k], ratio(fresh))
	}
	allowed := p.MaxErrorRate / 100
	if old.Answered > 0 {
		allowed += float64(old.Failed) / float64(old.Answered)
	}
	if float64(fresh.Failed) <= allowed*float64(max(fresh.Answered, uint64(p.MinRequests))) {
		return ""
	}
	return fmt.Sprintf("%s to it failed, and %s to the old replicas; max_error_rate allows %g %% more", ratio(fresh), ratio(old), p.MaxErrorRate)
}

// ratio writes how many requests failed: "3 of 120 requests (2.5 %)".
func ratio(t providers.Tally) string {
	return fmt.Sprintf("%d of %d requests (%.3g %%)", t.Failed, t.Answered, 100*float64(t.Failed)/float64(max(1, t.Answered)))
}

func short(d time.Duration) string {
	if d < time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}
