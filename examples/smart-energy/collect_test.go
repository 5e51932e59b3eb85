package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// outage is a broker that takes some readings, then fails, for as long as it is away.
type outage struct {
	mu    sync.Mutex
	away  bool
	takes int // while away, of each batch
	got   []reading
	tries int
}

func (o *outage) publish(_ context.Context, rs []reading) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tries++
	if o.away {
		n := min(o.takes, len(rs))
		o.got = append(o.got, rs[:n]...)
		return n, errors.New("away")
	}
	o.got = append(o.got, rs...)
	return len(rs), nil
}

func (o *outage) set(away bool, takes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away, o.takes = away, takes
}

func TestCollectorKeepsWhatTheBrokerDoesNotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := openSpool(t.TempDir(), "north", 1000)
		must(t, err)
		defer s.close()
		b := &outage{}
		c := &collector{"north", []string{"heating", "cooling"}, time.Second, s, b, slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- c.sample(ctx) }()
		go func() { ended <- c.deliver(ctx) }()

		pass := func(d time.Duration) { pause(ctx, d); synctest.Wait() }
		pass(5*time.Second + 1)
		if len(b.got) != 10 || s.status().Waiting != 0 {
			t.Errorf("in 5 seconds the broker got %d, and %d wait", len(b.got), s.status().Waiting)
		}
		b.set(true, 1)
		pass(10 * time.Second)
		if sum := len(b.got) + s.status().Waiting; sum != 30 || s.status().Waiting == 0 {
			t.Errorf("while it is away it got %d, and %d wait", len(b.got), s.status().Waiting)
		}
		if b.tries > 60 {
			t.Errorf("%d tries in 15 seconds", b.tries)
		}
		b.set(false, 0)
		pass(2 * time.Second)
		cancel()
		must(t, errors.Join(<-ended, <-ended))
		for i, r := range b.got {
			if r.Seq != uint64(i+1) || r.Site != "north" || r.At != r.At.Truncate(time.Millisecond) {
				t.Fatalf("reading %d is %+v", i, r)
			}
		}
		if st := s.status(); len(b.got) != 34 || st != (spoolStatus{34, 0, 0}) {
			t.Errorf("in the end it has %d: %+v", len(b.got), st)
		}
	})
}

func TestNoTwoReadingsHaveOneTime(t *testing.T) {
	last := later(noon, time.Time{})
	for _, now := range []time.Time{noon, noon.Add(900 * time.Microsecond), noon.Add(-time.Hour), noon.Add(time.Second)} {
		next := later(now, last)
		if !next.After(last) || next != next.Truncate(time.Millisecond) || next.After(noon.Add(time.Second)) {
			t.Errorf("at %v, after %v, comes %v", now, last, next)
		}
		last = next
	}
}
