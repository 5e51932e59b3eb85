package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/engine/plan"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
)

// run is a part of a plan that is carried out: of orders, or a repair.
type run struct {
	id     atomic.Int64 // 0 until it is recorded
	plan   runtime.Planned
	part   plan.Part
	orders map[engine.Address]int // sizes that were ordered; nil for a repair
	spec   string
	path   string
	digest string
}

// result is what became of a run.
type result struct {
	out     runtime.Outcome
	took    []measured // how long things took to come, or to leave
	err     error      // why it failed, or could not begin
	blocked bool       // somebody else changes the flow, or has changed it: try again soon
	stale   bool       // what it rests on has changed since it was planned: plan again
}

// measured is how long one object took.
type measured struct {
	way
	took time.Duration
}

// way is what takes time: the instances of a group come, or leave.
type way struct {
	group  engine.Address
	leaves bool
}

// shared is the flow's lock: held while any run is under way.
type shared struct {
	take func(context.Context) (*state.Lease, error)

	mu    sync.Mutex
	lease *state.Lease
	users int
}

// hold returns the lease, taking the lock for the first.
func (s *shared) hold(ctx context.Context) (*state.Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		l, err := s.take(ctx)
		if err != nil {
			return nil, err
		}
		s.lease = l
	}
	s.users++
	return s.lease, nil
}

// leave gives the lock back after the last.
func (s *shared) leave(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	return s.lease.Release(context.WithoutCancel(ctx))
}

// start begins a run.
func (c *Controller) start(ctx, hard context.Context, r *run) {
	c.runs = append(c.runs, r)
	c.stamp++
	for _, ch := range r.part.Plan.Changes {
		if r.part.Changes[ch.Address] {
			c.under[ch.Address] = ch
		}
	}
	limits := c.desired.Limits
	o := runtime.Options{
		Command: "serve", Spec: r.spec, Path: r.path,
		Limits: exec.Limits{Total: c.parallelism(), Phases: limits.Phases(), Providers: limits.Providers, Pool: c.pool},
	}
	c.aside(func() func(time.Time) {
		res := c.carryOut(ctx, hard, r, o)
		return func(now time.Time) { c.settle(context.WithoutCancel(ctx), r, res, now) }
	})
}

// carryOut applies a part of a plan, if it may still be.
func (c *Controller) carryOut(ctx, hard context.Context, r *run, o runtime.Options) (res result) {
	defer func() {
		if p := recover(); p != nil {
			res.err = fmt.Errorf("bug: %v", p)
		}
	}()
	l, err := c.flow.hold(ctx)
	if runtime.IsLocked(err) {
		res.blocked = true
		return res
	}
	if err != nil {
		res.err = err
		return res
	}
	defer c.flow.leave(ctx)
	if v, err := c.Store.Version(ctx); err != nil || v.Spec != r.spec || v.Held != "" {
		res.err, res.blocked = err, err == nil // decided from another spec than the one in force
		return res
	}
	r.digest = runtime.Digest(r.part.Plan)
	var mu sync.Mutex
	o.Begin = func(id int64, _ []engine.Step) { r.id.Store(id) }
	o.Observe = func(e engine.Event) {
		if leaves := e.Step.Op == engine.OpDelete; e.State == engine.Done && (leaves || e.Step.Op == engine.OpCreate) {
			mu.Lock()
			defer mu.Unlock()
			res.took = append(res.took, measured{way{e.Step.Address.Group(), leaves}, e.Elapsed})
		}
	}
	res.out, res.err = c.Flow.ApplyPart(ctx, hard, l, r.plan, r.part, o)
	if errors.Is(res.err, runtime.ErrStale) {
		res.err, res.stale = nil, true
		return res
	}
	if n := len(res.out.Report.Failed); res.err == nil && n > 0 {
		res.err = fmt.Errorf("run %d: %d tasks failed, the first: %w", res.out.Run.ID, n, &res.out.Report.Failed[0])
	}
	return res
}

// blockedWait is the time between two tries at the lock that somebody else has.
const blockedWait = time.Second

// settle takes up what became of a run.
func (c *Controller) settle(ctx context.Context, r *run, res result, now time.Time) {
	c.runs = slices.DeleteFunc(c.runs, func(x *run) bool { return x == r })
	maps.DeleteFunc(c.under, func(a engine.Address, _ engine.Change) bool { return r.part.Changes[a] })
	c.stamp++
	c.serial = -1 // the end of an operation that changed nothing makes no new one
	for _, m := range res.took {
		c.times.add(m)
	}
	switch {
	case res.blocked || res.stale:
		if res.blocked {
			c.wait = now.Add(blockedWait)
		}
		for a, n := range r.orders { // newer orders win, and what can be emptied is found out anew
			if _, again := c.orders[a]; !again && a.Kind == engine.KindFunction {
				c.orders[a] = order{to: n}
			}
		}
		c.eyes.mend = c.eyes.mend || r.orders == nil
	case res.err != nil:
		c.postpone(r, res, now)
		c.eyes.due = time.Time{} // it may have failed of what nobody has seen yet
		c.Log.Error("what was decided could not be done", "run", res.out.Run.ID, "err", res.err)
	case r.orders == nil:
		c.repaired(r, now)
		c.Log.Info("repaired", "run", res.out.Run.ID)
	default:
		for a := range r.orders {
			delete(c.late, a)
		}
	}
	if c.eyes.again || r.takes() {
		c.eyes.again, c.eyes.mend = false, true
	}
	if res.out.Run.ID != 0 {
		c.attribute(ctx, r, res.out.Run.ID, now)
	}
	c.show(now)
}

// takes reports whether a run makes machines of warm ones: others are to be kept ready
// then.
func (r *run) takes() bool {
	return slices.ContainsFunc(r.part.Plan.Changes, func(ch engine.Change) bool { return ch.From != nil && r.part.Changes[ch.Address] })
}

// postpone notes what failed: what the failed steps were about, or all that the
// run was to change.
func (c *Controller) postpone(r *run, res result, now time.Time) {
	guilty := map[engine.Address]bool{}
	for _, f := range res.out.Report.Failed {
		guilty[keyOf(f.Step.Address)] = true
	}
	if len(guilty) == 0 {
		for a := range r.part.Changes {
			guilty[keyOf(a)] = true
		}
	}
	for group := range r.orders {
		if slices.ContainsFunc(slices.Collect(maps.Keys(guilty)), func(a engine.Address) bool { return a.Group() == group }) {
			guilty[group] = true
		}
	}
	for a := range guilty {
		c.lateOf(a).again(res.err.Error(), now)
	}
}

// repaired notes that something was put right. The same repair twice in a row
// repairs nothing: it is a difference that its provider always sees. And a machine
// that was made again is not again for a while, ever longer.
func (c *Controller) repaired(r *run, now time.Time) {
	for a := range r.part.Changes {
		ch := r.part.Plan.Find(a)
		if a.Kind == engine.KindWarm && ch.Action == engine.Create && ch.Why == "" {
			delete(c.late, a) // another has become a machine: nothing had failed
			continue
		}
		f := c.lateOf(keyOf(a))
		f.repeated(r.digest, now)
		if a.Kind == engine.KindVM && ch.Action != engine.Delete {
			if c.rebuilt[a] == nil || now.Sub(c.rebuilt[a].at) > 2*lastWait {
				c.rebuilt[a] = &failures{}
			}
			c.rebuilt[a].again("it was made again lately", now)
		}
	}
}

// failures space out what does not succeed.
type failures struct {
	n     int
	at    time.Time // of the last
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
	f.why, f.at = why, now
	f.until = now.Add(min(lastWait, firstWait<<min(f.n, 10)))
	f.n++
}

// repeated notes a repair, unless this one was noted at this instant already.
func (f *failures) repeated(digest string, now time.Time) {
	switch {
	case digest != f.last || now.Sub(f.at) > 2*lastWait:
		*f = failures{last: digest, at: now}
	case now.After(f.at):
		f.again("the same repair again and again: its provider sees a difference that no apply ends", now)
	}
}

// durations remember how long things took.
type durations struct {
	by map[way][]time.Duration
}

// remembered is how many of each group count.
const remembered = 20

func (d *durations) add(m measured) {
	if d.by == nil {
		d.by = map[way][]time.Duration{}
	}
	all := append(d.by[m.way], m.took)
	d.by[m.way] = all[max(0, len(all)-remembered):]
}

// of is the 90th percentile.
func (d *durations) of(w way) time.Duration {
	all := slices.Sorted(slices.Values(d.by[w]))
	if len(all) == 0 {
		return 0
	}
	return all[(len(all)-1)*9/10]
}
