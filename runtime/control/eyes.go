package control

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
)

// eyes are what is known of the world: by looking at all of it now and then, and at
// what the providers tell of.
type eyes struct {
	opened   bool                    // all was looked at once
	seen     map[engine.Key]sighting // that is not as it is recorded
	due      time.Time               // when to look at everything next
	looking  bool                    // at everything
	glancing bool                    // at what was told
	settling bool                    // what was found is being recorded
	mend     bool                    // a repair is to be planned
	again    bool                    // and once more when a run has ended
	dirty    map[engine.Address]bool // what was told of and not looked at yet
	told     time.Time               // when the first of it was
	watched  map[string]watched      // by provider
	watch    func(func(context.Context)) context.CancelFunc
}

// sighting is what was found of an object, and what was recorded of it then.
type sighting struct {
	was *engine.Object // nil if it was not recorded
	obs engine.Observation
}

// debounce is how long what is told is gathered: what fails together is seen
// together.
const debounce = 200 * time.Millisecond

// lookTime is how long looking may take: a provider that hangs is not waited for.
const lookTime = 2 * time.Minute

// look begins to look at everything, when it is time, and at what was told of.
func (c *Controller) look(ctx context.Context, now time.Time) {
	e := &c.eyes
	if !e.looking && !now.Before(e.due) {
		e.looking, e.due = true, now.Add(cmp.Or(c.Repair, DefaultRepair))
		clear(e.dirty)
		c.lookAt(ctx, func(engine.Object) bool { return true }, func(s seen, err error, now time.Time) {
			e.looking, e.opened = false, true
			if err != nil {
				c.blind.again(err.Error(), now)
				return
			}
			odd := len(e.seen) > 0
			e.seen = map[engine.Key]sighting{}
			if c.remember(s); odd || len(s.odd) > 0 || len(c.rebuilt)+len(c.late) > 0 { // those are odd for a time
				c.stamp++
			}
			e.mend = e.mend || c.stamp != c.calm
		})
	}
	if e.glancing || len(e.dirty) == 0 || now.Sub(e.told) < debounce {
		return
	}
	told := maps.Clone(e.dirty)
	clear(e.dirty)
	e.glancing = true
	concerns := func(o engine.Object) bool {
		m, err := engine.ParseAddress(o.Attr("machine"))
		return told[o.Address] || err == nil && told[m]
	}
	c.lookAt(ctx, concerns, func(s seen, err error, now time.Time) {
		if e.glancing = false; err == nil {
			c.remember(s)
			e.mend = e.mend || len(s.odd) > 0
			c.stamp++
		}
	})
}

// lookAt looks at some objects beside the loop. What runs change is left out.
func (c *Controller) lookAt(ctx context.Context, of func(engine.Object) bool, rest func(seen, error, time.Time)) {
	under := maps.Clone(c.under)
	mine := map[int64]bool{}
	for _, r := range c.runs {
		mine[r.id.Load()] = true
	}
	v := runtime.View{
		Snapshot: c.snap, Desired: c.desired, Under: func(id int64) bool { return mine[id] },
		Of: func(o engine.Object) bool { _, busy := under[o.Address]; return !busy && of(o) },
	}
	c.aside(func() func(time.Time) {
		limited, stop := context.WithTimeout(ctx, lookTime)
		defer stop()
		s, err := c.Flow.Look(limited, v)
		sight := seenIn(s)
		return func(now time.Time) {
			rest(sight, err, now)
			if err == nil && ctx.Err() == nil && len(s.Found.Adopted)+len(s.Found.Resolved) > 0 {
				c.settleFound(ctx, s)
			}
			c.show(now)
		}
	})
}

// settleFound records what interrupted runs have left.
func (c *Controller) settleFound(ctx context.Context, s runtime.Sight) {
	c.eyes.settling = true
	c.aside(func() func(time.Time) {
		err := c.underLock(context.WithoutCancel(ctx), func(l *state.Lease) error {
			return c.Flow.Settle(context.WithoutCancel(ctx), l, s)
		})
		return func(now time.Time) {
			if c.eyes.settling = false; err != nil && !runtime.IsLocked(err) {
				c.blind.again(err.Error(), now)
			}
			if err == nil {
				c.eyes.due = now // with what is recorded now
			}
		}
	})
}

// seen is what came of a look.
type seen struct {
	all map[engine.Key]engine.Observation
	odd map[engine.Key]sighting // what is not as it is recorded
}

// seenIn compares what was found with what is recorded.
func seenIn(s runtime.Sight) seen {
	odd := map[engine.Key]sighting{}
	for k, obs := range s.Found.Observed {
		x := sighting{obs: obs}
		if i, ok := slices.BinarySearchFunc(s.Snapshot.Objects, k, func(o engine.Object, k engine.Key) int { return o.Key().Compare(k) }); ok {
			x.was = &s.Snapshot.Objects[i]
			if obs.Presence == engine.Present && obs.Detour == "" && obs.Object.Value.RawEquals(x.was.Value) {
				continue
			}
		}
		odd[k] = x
	}
	return seen{s.Found.Observed, odd}
}

// remember takes up what was seen.
func (c *Controller) remember(s seen) {
	maps.DeleteFunc(c.eyes.seen, func(k engine.Key, _ sighting) bool { _, again := s.all[k]; return again })
	maps.Copy(c.eyes.seen, s.odd)
}

// odd is what was seen of objects that are recorded now as they were then.
func (c *Controller) odd() map[engine.Key]engine.Observation {
	all := map[engine.Key]engine.Observation{}
	for k, x := range c.eyes.seen {
		if _, busy := c.under[k.Address]; busy {
			continue
		}
		i, there := slices.BinarySearchFunc(c.snap.Objects, k, func(o engine.Object, k engine.Key) int { return o.Key().Compare(k) })
		if there == (x.was != nil) && (!there || runtime.Unchanged(x.was, &c.snap.Objects[i])) {
			all[k] = x.obs
		}
	}
	return all
}

// heard is what a provider told.
type heard struct {
	event  providers.Event
	missed bool // perhaps, of any object
}

// heard takes up what a provider told. What runs do themselves is told, too.
func (c *Controller) heard(h heard) {
	switch _, busy := c.under[h.event.Address]; {
	case h.missed:
		c.eyes.due = time.Time{}
	case !busy && !h.event.Address.IsZero():
		if len(c.eyes.dirty) == 0 {
			c.eyes.told = c.Now()
		}
		c.eyes.dirty[h.event.Address] = true
	}
}

// watched is a provider that is listened to.
type watched struct {
	stop context.CancelFunc
	of   []engine.Key // the machines that it had
	spec string
}

// follow listens to the providers of what there is. One whose machines change, or
// that was set up anew, is listened to anew.
func (c *Controller) follow() {
	machines := map[string][]engine.Key{}
	for i := range c.snap.Objects {
		o := &c.snap.Objects[i]
		m := machines[o.Provider]
		if o.Address.Kind == engine.KindVM || o.Address.Kind == engine.KindHost {
			m = append(m, o.Key())
		}
		machines[o.Provider] = m
	}
	for name, w := range c.eyes.watched {
		if m, ok := machines[name]; !ok || !slices.Equal(m, w.of) || w.spec != c.spec {
			w.stop()
			delete(c.eyes.watched, name)
			c.eyes.due = time.Time{} // for what happens meanwhile
		}
	}
	if c.followed = c.spec; c.spec == "" {
		return // nobody knows the providers yet
	}
	for name, m := range machines {
		if _, ok := c.eyes.watched[name]; !ok {
			stop := c.eyes.watch(func(ctx context.Context) { c.listen(ctx, name) })
			c.eyes.watched[name] = watched{stop, m, c.spec}
		}
	}
}

// The wait before a provider is listened to again doubles from the first to the
// last.
const (
	firstDeaf = time.Second
	lastDeaf  = time.Minute
)

// listen passes on what a provider tells, until ctx ends.
func (c *Controller) listen(ctx context.Context, name string) {
	tell := func(h heard) {
		select {
		case c.news <- h:
		case <-ctx.Done():
		}
	}
	for wait := firstDeaf; ; wait = min(lastDeaf, 2*wait) {
		began := c.Now()
		err := c.hear(ctx, name, tell)
		if ctx.Err() != nil || errors.Is(err, errors.ErrUnsupported) {
			return
		}
		c.Log.Warn("a provider tells nothing any more", "provider", name, "err", err)
		if c.Now().Sub(began) > lastDeaf {
			wait = firstDeaf
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		tell(heard{missed: true})
	}
}

func (c *Controller) hear(ctx context.Context, name string, tell func(heard)) error {
	p, err := c.Flow.Providers.Get(ctx, name)
	if err != nil {
		return err
	}
	w, ok := providers.As[providers.Watcher](p)
	if !ok {
		return errors.ErrUnsupported
	}
	for e, err := range w.Watch(ctx) {
		if err != nil {
			return err
		}
		tell(heard{event: e})
	}
	return errors.New("it ended")
}
