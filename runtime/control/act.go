package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
	pins    []engine.Pin
	desired engine.Desired
	options runtime.Options
}

// result is what became of a job.
type result struct {
	out     runtime.Outcome
	sizes   map[engine.Address]int
	digest  string     // of the plan, "" if there was nothing to do
	took    []measured // how long things took to be made
	err     error      // why it failed, or could not begin
	blocked bool       // somebody else changes the flow, or has changed it: try again soon
}

// measured is how long one object took to be made.
type measured struct {
	group engine.Address
	took  time.Duration
}

// next returns what is to be carried out now. A run that is under way holds it up,
// and so do, for its part of it, earlier failures.
func (c *Controller) next(now time.Time) *job {
	if c.running != nil || now.Before(c.wait) || c.spec == "" {
		return nil
	}
	sizes := map[engine.Address]int{}
	for _, group := range slices.SortedFunc(maps.Keys(c.orders), engine.Address.Compare) {
		f := c.late[group]
		switch {
		case f == nil:
			sizes[group] = c.orders[group]
		case len(sizes) == 0 && !now.Before(f.until): // by itself, since it may fail again
			sizes = map[engine.Address]int{group: c.orders[group]}
			return c.job(sizes, now)
		}
	}
	if len(sizes) == 0 && (now.Before(c.repair) || now.Before(c.failed.until)) {
		return nil
	}
	return c.job(sizes, now)
}

func (c *Controller) job(sizes map[engine.Address]int, now time.Time) *job {
	c.repair = now.Add(cmp.Or(c.Repair, DefaultRepair))
	for group := range sizes {
		delete(c.orders, group)
	}
	limits := c.desired.Limits
	return &job{sizes: sizes, pins: c.pins(), desired: c.desired, options: runtime.Options{
		Command: "serve", Spec: c.spec, Path: c.snap.SpecPath, Limits: exec.Limits{Total: c.parallelism(), Phases: limits.Phases(), Providers: limits.Providers},
	}}
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
	request := runtime.Request{Desired: j.desired, Sizes: j.sizes, Pins: j.pins}
	if len(j.sizes) == 0 {
		p, diags, err := c.plan(ctx, request)
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
	if v, err := c.Store.Version(ctx); err != nil || v.Spec != j.options.Spec || v.Held != "" {
		r.err, r.blocked = err, err == nil // decided from another spec than the one in force
		return r
	}
	p, diags, err := c.plan(ctx, request)
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

// planTime is how long a plan may take: a provider that hangs is not waited for.
const planTime = 2 * time.Minute

func (c *Controller) plan(ctx context.Context, r runtime.Request) (runtime.Planned, engine.Diagnostics, error) {
	ctx, stop := context.WithTimeout(ctx, planTime)
	defer stop()
	return c.Flow.Plan(ctx, r)
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
		c.postpone(r, now)
		c.Log.Error("what was decided could not be done", "err", r.err)
	case r.digest != "" && len(r.sizes) == 0:
		c.failed.repeated(r.digest, now)
		c.Log.Info("repaired", "run", r.out.Run.ID)
	default:
		c.failed = failures{last: c.failed.last}
	}
	if r.err == nil && !r.blocked {
		for a := range r.sizes {
			delete(c.late, a)
		}
	}
	if r.out.Run.ID != 0 {
		c.attribute(ctx, r, now)
	}
	c.show(now)
}

// postpone notes what failed: the orders whose own steps did, or that could not be
// planned, and else the repairs that came with them.
func (c *Controller) postpone(r result, now time.Time) {
	guilty := map[engine.Address]bool{}
	for _, f := range r.out.Report.Failed {
		guilty[groupOf(f.Step.Address)] = true
	}
	some := false
	for a := range r.sizes {
		if len(guilty) > 0 && !guilty[a] {
			delete(c.late, a)
			continue
		}
		some = true
		if c.late[a] == nil {
			c.late[a] = &failures{}
		}
		c.late[a].again(r.err.Error(), now)
	}
	if !some {
		c.failed.again(r.err.Error(), now)
	}
}

// groupOf is the group that a step is about: of a backend, that of its replica.
func groupOf(a engine.Address) engine.Address {
	if a.Kind == engine.KindBackend {
		_, replica := a.Membership()
		return replica.Group()
	}
	return a.Group()
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
