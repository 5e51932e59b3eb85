package main

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
)

// Limits of a collector's deliveries.
const (
	batchSize  = 256
	retryEvery = 500 * time.Millisecond
)

// publisher hands readings to the broker, and returns how many of them, from the
// first on, the broker has for certain.
type publisher interface {
	publish(ctx context.Context, rs []reading) (int, error)
}

// collector takes a site's readings and delivers them.
type collector struct {
	site   string
	meters []string
	every  time.Duration
	spool  *spool
	broker publisher
	log    *slog.Logger
}

// collect runs a collector until ctx ends.
func collect(ctx context.Context, o options, log *slog.Logger) error {
	s, err := openSpool(o.spool, o.sites[0], o.keep)
	if err != nil {
		return err
	}
	defer s.close()
	b, err := dial(o.broker, "collector "+o.sites[0], log)
	if err != nil {
		return err
	}
	defer b.close()
	c := &collector{o.sites[0], o.meters, o.every, s, b, log.With("site", o.sites[0])}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.sample(ctx) })
	g.Go(func() error { return c.deliver(ctx) })
	g.Go(func() error { return serve(ctx, o, newMux(func() any { return s.status() }), log) })
	return g.Wait()
}

// sample reads the meters again and again. A disk that takes no more ends it: what
// cannot be kept must not be promised.
func (c *collector) sample(ctx context.Context) error {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			last = later(now, last)
			if err := c.spool.add(c.read(last)...); err != nil {
				return err
			}
		}
	}
}

// later is a time to the millisecond that no reading had before, even if the clock
// was set back: the time is a part of a reading's name.
func later(now, last time.Time) time.Time {
	now = now.UTC().Truncate(time.Millisecond)
	if !now.After(last) {
		return last.Add(time.Millisecond)
	}
	return now
}

func (c *collector) read(now time.Time) []reading {
	var rs []reading
	for _, m := range c.meters {
		rs = append(rs, reading{Site: c.site, Meter: m, At: now, Watts: load(c.site, m, now)})
	}
	return rs
}

// deliver hands what waits to the broker. What it has once, or twice, after a time
// without an answer, is the same to those behind it.
func (c *collector) deliver(ctx context.Context) error {
	for {
		rs := c.spool.next(batchSize)
		if len(rs) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-c.spool.more:
				continue
			}
		}
		n, err := c.broker.publish(ctx, rs)
		if n > 0 {
			if err := c.spool.delivered(rs[n-1].Seq); err != nil {
				return err
			}
		}
		if err != nil {
			c.log.Warn("the broker did not take all", "waiting", c.spool.status().Waiting, "err", err)
			if !pause(ctx, retryEvery) {
				return nil
			}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
