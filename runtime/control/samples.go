package control

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/runtime/observe"
	"github.com/flowctl/flowctl/state"
)

// sampling is the time between two writings of samples: what a kill -9 loses at
// most.
const sampling = 5 * time.Second

// mostSamples are kept in memory while the state cannot be written.
const mostSamples = 100_000

// ledger holds what was measured until it is written.
type ledger struct {
	mu      sync.Mutex
	waiting []state.Reading
}

// took notes one sample.
func (l *ledger) took(r observe.Reading) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) >= mostSamples {
		l.waiting = l.waiting[len(l.waiting)/2:]
	}
	l.waiting = append(l.waiting, state.Reading{Series: state.Series{Of: r.Function.String(), Metric: r.Metric}, At: r.At, Value: r.Value, Units: r.Units})
}

// empty returns what is to be written.
func (l *ledger) empty() []state.Reading {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.waiting
	l.waiting = nil
	return all
}

// back takes up again what could not be written.
func (l *ledger) back(all []state.Reading) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(all, l.waiting...)
}

// keepSamples writes what is measured until ctx ends, and then what is left.
func (c *Controller) keepSamples(ctx context.Context, l *ledger) {
	tick := time.NewTicker(sampling)
	defer tick.Stop()
	told := false
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		all := l.empty()
		if len(all) == 0 {
			continue
		}
		err := c.Store.Sample(context.WithoutCancel(ctx), c.lease, all, c.Now())
		if err == nil {
			told = false
			continue
		}
		l.back(all)
		if !told && !errors.Is(err, state.ErrFenced) { // the loop ends of that by itself
			c.Log.Warn("what was measured could not be kept", "err", err)
		}
		told = true
	}
}

// recall gives the rules what was measured before this controller began: by the
// second as long as that is kept, and by the minute from before.
func (c *Controller) recall(ctx context.Context, watched []observe.Watched) error {
	back := time.Duration(0)
	for _, w := range watched {
		back = max(back, w.Back())
	}
	now := c.Now()
	from := now.Add(-back)
	if back == 0 {
		return nil
	}
	seconds, err := c.Store.Samples(ctx, state.Span{Step: state.Second, From: from, Until: now})
	if err != nil {
		return err
	}
	begin := now
	if len(seconds) > 0 {
		begin = seconds[0].At
	}
	minutes, err := c.Store.Samples(ctx, state.Span{Step: state.Minute, From: from, Until: begin.Truncate(state.Minute)})
	if err != nil {
		return err
	}
	past := map[string][]observe.Reading{}
	for _, r := range append(minutes, seconds...) {
		past[r.Of] = append(past[r.Of], reading(r))
	}
	for _, w := range watched {
		c.Collector.Recall(w.Rule.Name, past[w.Rule.Target.String()])
	}
	return nil
}

// reading is a roll-up as what it stands for: the mean of it, at its middle if it is
// long.
func reading(r state.Rollup) observe.Reading {
	at := r.At
	if r.Step > state.Second {
		at = at.Add(r.Step / 2)
	}
	return observe.Reading{Metric: r.Metric, Sample: decide.Sample{At: at, Value: r.Mean, Units: r.Units}}
}
