package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/runtime"
)

// job is something to carry out: sizes to reach, or just what has drifted.
type job struct {
	sizes   map[engine.Address]int
	desired engine.Desired
	options runtime.Options
}

// result is what became of a job.
type result struct {
	out     runtime.Outcome
	digest  string     // of the plan, "" if there was nothing to do
	took    []measured // how long things took to be made
	err     error      // why it failed, or could not begin
	blocked bool       // somebody else changes the flow: try again soon
	sizes   map[engine.Address]int
}

// measured is how long one object took to be made.
type measured struct {
	group engine.Address
	took  time.Duration
}

// next returns what is to be carried out now. A run that is under way, or one that
// failed just now, holds it up.
func (c *Controller) next(now time.Time) *job {
	if c.running != nil || now.Before(c.failed.until) || now.Before(c.wait) || c.spec == "" {
		return nil
	}
	if len(c.orders) == 0 && now.Before(c.repair) {
		return nil
	}
	c.repair = now.Add(cmp.Or(c.Repair, DefaultRepair))
	j := &job{sizes: c.orders, desired: c.desired, options: runtime.Options{Command: "serve", Spec: c.spec, Path: c.snap.SpecPath, Bundle: c.bundle}}
	c.orders = map[engine.Address]int{}
	limits := c.desired.Limits
	j.options.Limits = exec.Limits{Total: c.parallelism(), Phases: limits.Phases(), Providers: limits.Providers}
	return j
}

func (c *Controller) parallelism() int {
	if n := c.desired.Parallelism; n > 0 {
		return n
	}
	return runtime.DefaultParallelism
}

// carryOut plans and applies. Without orders it first looks, without the lock,
// whether there is anything to do.
func (c *Controller) carryOut(ctx, hard context.Context, j *job) (r result) {
	r.sizes = j.sizes
	defer func() {
		if p := recover(); p != nil {
			r.err = fmt.Errorf("bug: %v", p)
		}
	}()
	request := runtime.Request{Desired: j.desired, Sizes: j.sizes}
	if len(j.sizes) == 0 {
		p, diags, err := c.Flow.Plan(ctx, request)
		if r.err = errors.Join(err, diags.Err()); r.err != nil || p.Plan.Empty() {
			return r
		}
	}
	l, err := c.Flow.Lock(ctx, runtime.Owner(runtime.ControllerCommand, c.Now()), 0, nil)
	if runtime.IsLocked(err) {
		r.blocked = true
		return r
	}
	if err != nil {
		r.err = err
		return r
	}
	defer l.Release(context.WithoutCancel(ctx))
	p, diags, err := c.Flow.Plan(ctx, request)
	if r.err = errors.Join(err, diags.Err()); r.err != nil || p.Plan.Empty() {
		return r
	}
	r.digest = runtime.Digest(p.Plan)
	var mu sync.Mutex
	j.options.Observe = func(e engine.Event) {
		if e.State == engine.Done && e.Step.Op == engine.OpCreate {
			mu.Lock()
			defer mu.Unlock()
			r.took = append(r.took, measured{e.Step.Address.Group(), e.Elapsed})
		}
	}
	r.out, r.err = c.Flow.Apply(ctx, hard, l, p, j.options)
	if n := len(r.out.Report.Failed); r.err == nil && n > 0 {
		r.err = fmt.Errorf("run %d: %d tasks failed, the first: %w", r.out.Run.ID, n, &r.out.Report.Failed[0])
	}
	return r
}

// blockedWait is the time between two tries at the lock that somebody else has.
const blockedWait = time.Second

// settle takes up what became of a job.
func (c *Controller) settle(ctx context.Context, r result, now time.Time) {
	c.running = nil
	for _, m := range r.took {
		c.times.add(m)
	}
	switch {
	case r.blocked:
		c.wait = now.Add(blockedWait)
		for a, n := range r.sizes { // newer orders win
			if _, again := c.orders[a]; !again {
				c.orders[a] = n
			}
		}
	case r.err != nil:
		c.failed.again(r.err.Error(), now)
		c.Log.Error("what was decided could not be done", "err", r.err, "again", c.failed.until)
	case r.digest != "" && len(r.sizes) == 0:
		c.failed.repeated(r.digest, now)
		c.Log.Info("repaired", "run", r.out.Run.ID)
	default:
		c.failed = failures{last: c.failed.last}
	}
	if r.out.Run.ID != 0 {
		c.attribute(ctx, r, now)
	}
	c.show(now)
}

// failures space out what does not succeed.
type failures struct {
	n     int
	until time.Time
	why   string
	last  string // digest of the last repair
}

// The wait after a failure doubles from the first to the last.
const (
	firstWait = 5 * time.Second
	lastWait  = 5 * time.Minute
)

func (f *failures) again(why string, now time.Time) {
	f.why = why
	f.until = now.Add(min(lastWait, firstWait<<min(f.n, 10)))
	f.n++
}

// repeated notes a repair. The same one twice in a row repairs nothing: it is a
// difference that its provider always sees.
func (f *failures) repeated(digest string, now time.Time) {
	if digest != f.last {
		*f = failures{last: digest}
		return
	}
	f.again("the same repair again and again: its provider sees a difference that no apply ends", now)
}

// durations remember how long things took to be made.
type durations struct {
	by map[engine.Address][]time.Duration
}

// remembered is how many of each group count.
const remembered = 20

func (d *durations) add(m measured) {
	if d.by == nil {
		d.by = map[engine.Address][]time.Duration{}
	}
	all := append(d.by[m.group], m.took)
	d.by[m.group] = all[max(0, len(all)-remembered):]
}

// of is the 90th percentile.
func (d *durations) of(group engine.Address) time.Duration {
	all := slices.Sorted(slices.Values(d.by[group]))
	if len(all) == 0 {
		return 0
	}
	return all[(len(all)-1)*9/10]
}
