package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/runtime/observe"
	"github.com/flowctl/flowctl/state"
)

// Store is what the loop needs of a state.
type Store interface {
	runtime.Store
	Version(ctx context.Context) (state.Version, error)
	Bundle(ctx context.Context) ([]byte, error)
	Memory(ctx context.Context) (map[string][]byte, error)
	Deliberate(ctx context.Context, l *state.Lease, d state.Deliberated) error
	Sample(ctx context.Context, l *state.Lease, readings []state.Reading, now time.Time) error
	Samples(ctx context.Context, q state.Span) ([]state.Rollup, error)
	Holder(ctx context.Context, name string) (*state.Holder, error)
}

var _ Store = (*state.Store)(nil)

// Controller keeps one flow at the sizes that its rules ask for. Set the exported
// fields, then call Run once.
type Controller struct {
	Flow      *runtime.Flow
	Store     Store
	Load      func(bundle []byte) (engine.Desired, error) // of the spec that was applied last
	Collector *observe.Collector
	Log       *slog.Logger
	Now       func() time.Time
	Repair    time.Duration // between two looks for drift; 0 means DefaultRepair
	Beat      time.Duration // between two ticks; 0 means DefaultBeat

	lease *state.Lease // of state.ControllerLock
	flow  shared       // the flow's lock, for the runs
	pool  *exec.Pool   // what they have under way
	news  chan heard

	// Run's goroutine alone touches these.
	spec     string // digest of the one whose rules these are
	refused  string // digest of one that could not be read
	held     string // why nothing may be done; "" if it may
	serial   int64
	snap     engine.Snapshot
	counts   map[engine.Address]int // of snap
	unknown  []string               // scaling blocks that cannot be evaluated
	desired  engine.Desired
	rules    []*ruled
	told     bool                             // something was measured just now
	orders   map[engine.Address]order         // decided, and not yet carried out
	runs     []*run                           // under way, in the order in which they began
	under    map[engine.Address]engine.Change // what they do
	done     chan func(time.Time)             // what was done beside the loop: the rest of it
	beside   int                              // how much is
	planning bool
	stamp    int                          // grows with orders, runs and what is seen
	calm     int                          // the stamp at which nothing was found to be put right, whenever that is; 0 for none
	tried    map[engine.Address]trial     // orders of which nothing could be begun
	wait     time.Time                    // when to try again, after somebody else had the lock
	late     map[engine.Address]*failures // what did not succeed, by what was to change
	blind    failures                     // of plans
	rebuilt  map[engine.Address]*failures // machines that were made again
	fleets   map[engine.Address]fleetAt
	premises placement
	times    durations
	eyes     eyes
	relook   time.Time // when to look again whether a flow that is held need be
	followed string    // the spec whose providers are listened to
	last     health

	mu     sync.Mutex
	status Status
	work   Work
}

// ruled is a rule with what is remembered of it.
type ruled struct {
	rule  rule.Rule
	drain time.Duration
	past  decide.History
	due   time.Time
	last  decide.Decision
	saved decide.Decision // as it was recorded last
	acted decide.Decision // that ordered something last
}

// DefaultRepair is the time between two looks for drift.
const DefaultRepair = 10 * time.Second

// DefaultBeat is the time between two ticks. Rules are evaluated as often as they
// say, at the first tick after that.
const DefaultBeat = 250 * time.Millisecond

// Run controls the flow until ctx ends; then what runs is awaited, unless hard
// ends, too. It takes the controller's lock, waiting for whoever has it.
func (c *Controller) Run(ctx, hard context.Context) error {
	if err := c.lead(ctx); err != nil {
		return err
	}
	defer c.lease.Release(context.WithoutCancel(ctx))
	past, err := c.Store.Memory(ctx)
	if err != nil {
		return err
	}
	c.begin()
	var wg sync.WaitGroup
	defer wg.Wait()
	measuring, stop := context.WithCancel(ctx)
	defer stop()
	measured := &ledger{}
	c.Collector.Took = measured.took
	wg.Go(func() { c.Collector.Run(measuring) })
	wg.Go(func() { c.keepSamples(measuring, measured) })
	watching, blind := context.WithCancel(ctx)
	defer blind()
	c.eyes.watch = func(f func(context.Context)) context.CancelFunc {
		one, stop := context.WithCancel(watching)
		wg.Go(func() { f(one) })
		return stop
	}
	return c.loop(ctx, hard, past)
}

func (c *Controller) begin() {
	c.pool = exec.NewPool()
	c.done, c.news = make(chan func(time.Time)), make(chan heard)
	c.orders, c.tried = map[engine.Address]order{}, map[engine.Address]trial{}
	c.late, c.rebuilt = map[engine.Address]*failures{}, map[engine.Address]*failures{}
	c.fleets, c.under = map[engine.Address]fleetAt{}, map[engine.Address]engine.Change{}
	c.flow = shared{take: func(ctx context.Context) (*state.Lease, error) {
		return c.Flow.Lock(ctx, runtime.Owner(runtime.ControllerCommand, c.Now()), 0, nil)
	}}
	c.eyes = eyes{seen: map[engine.Key]sighting{}, dirty: map[engine.Address]bool{}, watched: map[string]watched{}}
}

// leaderPoll is the time between two tries at the lock of another controller.
const leaderPoll = 2 * time.Second

// lead waits until no other controller has the flow.
func (c *Controller) lead(ctx context.Context) error {
	for told := false; ; told = true {
		l, err := c.Store.Acquire(ctx, state.ControllerLock, runtime.Owner("flowctl serve", c.Now()), runtime.Alive)
		if err == nil {
			c.lease = l
			return nil
		}
		if !runtime.IsLocked(err) {
			return err
		}
		if !told {
			c.Log.Info("waiting: another controller leads", "err", err)
			c.publish(func(s *Status) { s.Waiting = err.Error() })
		}
		select {
		case <-time.After(leaderPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *Controller) loop(ctx, hard context.Context, past map[string][]byte) error {
	tick := time.NewTicker(cmp.Or(c.Beat, DefaultBeat))
	defer tick.Stop()
	for {
		err := c.tick(ctx, hard, past, c.Now())
		c.told = false
		if errors.Is(err, state.ErrFenced) {
			c.finish()
			return err
		}
		if err != nil {
			c.Log.Error("the flow cannot be looked at", "err", err)
			c.publish(func(s *Status) { s.Trouble = err.Error() })
		}
		select {
		case <-tick.C:
		case <-c.Collector.Fresh():
			c.told = true
		case rest := <-c.done:
			c.took(rest)
		case h := <-c.news:
			c.heard(h)
		case <-ctx.Done():
			c.finish()
			return nil
		}
	}
}

// finish waits for all that is done beside the loop.
func (c *Controller) finish() {
	for c.beside > 0 {
		select {
		case rest := <-c.done:
			c.took(rest)
		case <-c.news:
		}
	}
}

// took takes up what was done beside the loop.
func (c *Controller) took(rest func(time.Time)) {
	c.beside--
	rest(c.Now())
}

// aside does something beside the loop, which takes up the rest of it.
func (c *Controller) aside(work func() (rest func(now time.Time))) {
	c.beside++
	go func() { c.done <- work() }() // awaited by loop or finish
}

// tick looks at what there is now, decides what is due, and begins what can be.
func (c *Controller) tick(ctx, hard context.Context, past map[string][]byte, now time.Time) error {
	if err := c.refresh(ctx, past); err != nil {
		return err
	}
	if c.held != "" { // deciding, too: what is not done is not to be remembered as done
		c.show(now)
		c.reconsider(ctx, now)
		return nil
	}
	var made []*ruled
	for _, r := range c.rules { // those of machines last: what is asked of them changes with the others
		if !c.isDue(r, now) {
			continue
		}
		r.due = c.nextDue(r, now)
		c.decide(r, now)
		made = append(made, r)
	}
	if len(made) > 0 {
		if err := c.record(ctx, made, now); err != nil {
			return err
		}
		c.show(now)
	}
	if now.Before(c.wait) || c.spec == "" {
		return nil
	}
	c.look(ctx, now)
	if next, err := c.plannable(ctx); !next || err != nil {
		return err
	}
	c.plan(ctx, hard, now)
	return nil
}

// plannable reports whether something may be begun. It may not while somebody
// waits for the lock that the runs under way hold.
func (c *Controller) plannable(ctx context.Context) (bool, error) {
	if c.planning || !c.eyes.opened || c.eyes.settling {
		return false, nil
	}
	if len(c.runs) == 0 {
		return true, nil
	}
	h, err := c.Store.Holder(ctx, state.NextLock)
	return err == nil && (h == nil || !runtime.Alive(*h)), err
}

// refresh takes up what has changed in the state: objects, and the spec.
func (c *Controller) refresh(ctx context.Context, past map[string][]byte) error {
	v, err := c.Store.Version(ctx)
	if err != nil {
		return err
	}
	c.held = v.Held
	changed := v.Serial != c.serial || c.snap.Lineage == ""
	if changed {
		if err := c.read(ctx, v.Serial); err != nil {
			return err
		}
	}
	if (v.Spec != c.spec || changed && len(c.unknown) > 0) && v.Spec != c.refused {
		if err := c.take(ctx, v.Spec, past); err != nil {
			c.refused = v.Spec
			c.Log.Error("the spec that was applied cannot be read, so the rules stay", "err", err)
		}
	}
	if changed || v.Spec != c.followed {
		c.follow()
	}
	return nil
}

// read takes up what is recorded.
func (c *Controller) read(ctx context.Context, serial int64) (err error) {
	if c.snap, err = c.Store.Snapshot(ctx); err != nil {
		return err
	}
	c.serial, c.counts = serial, counted(c.snap.Objects)
	c.stamp++
	c.Collector.Objects(c.snap.Objects)
	return nil
}

// take makes the rules of a spec that was applied. Those that were there before
// keep what they remember.
func (c *Controller) take(ctx context.Context, spec string, past map[string][]byte) error {
	bundle, err := c.Store.Bundle(ctx)
	if err != nil {
		return err
	}
	desired, err := c.Load(bundle)
	if err != nil {
		return err
	}
	rules, watched, unknown := rulesOf(desired, c.Flow.Recorded(c.snap.Objects))
	if spec == c.spec && len(unknown) == len(c.unknown) {
		return nil // what they need is still not known
	}
	for _, r := range rules {
		if i := slices.IndexFunc(c.rules, func(old *ruled) bool { return old.rule.Name == r.rule.Name }); i >= 0 {
			r.past, r.last, r.saved, r.acted = c.rules[i].past, c.rules[i].last, c.rules[i].saved, c.rules[i].acted
		} else if text, ok := past[r.rule.Name]; ok {
			if err := json.Unmarshal(text, &r.past); err != nil {
				c.Log.Warn("what a rule remembers cannot be read, so it begins anew", "rule", r.rule.Name, "err", err)
				r.past = decide.History{}
			}
			r.past = r.past.Resumed(c.Now())
		}
	}
	first := c.spec == ""
	c.spec, c.desired, c.rules, c.unknown = spec, desired, rules, unknown
	maps.DeleteFunc(c.orders, func(a engine.Address, _ order) bool {
		return !slices.ContainsFunc(rules, func(r *ruled) bool { return r.rule.Target == a })
	})
	c.blind, c.late, c.tried = failures{}, map[engine.Address]*failures{}, map[engine.Address]trial{}
	c.eyes.due, c.eyes.mend = time.Time{}, true
	c.stamp++
	c.Collector.Watch(watched)
	if first {
		if err := c.recall(ctx, watched); err != nil {
			c.Log.Warn("what was measured before cannot be read, so the rules look back to now", "err", err)
		}
	}
	c.Log.Info("the rules are those of the spec that was applied", "rules", len(rules))
	return nil
}
