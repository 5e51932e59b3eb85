package lb

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"syscall"
	"time"
)

// watch starts the active checks of backends that are to have some and have
// none. The caller holds mu.
func (p *pool) watch() {
	for _, b := range p.backends {
		if b.health == nil || b.stopCheck != nil || p.closed {
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		b.stopCheck = cancel
		h := b.health
		p.checks.Go(func() { p.checkLoop(ctx, b, h) })
	}
}

// checkLoop checks b until ctx ends.
func (p *pool) checkLoop(ctx context.Context, b *backend, h *Health) {
	probe := p.prober(b, h)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := probe(ctx)
		if ctx.Err() != nil {
			return
		}
		p.checked(b, err)
		timer.Reset(time.Until(nextCheck(time.Now(), time.Duration(h.Interval), p.size())))
	}
}

// nextCheck is when to check one of so many backends again: after an interval that
// varies by a tenth, so that not all are checked at one moment; but some are, so that a
// process at rest is not woken for each of them.
func nextCheck(now time.Time, interval time.Duration, backends int) time.Time {
	due := now.Add(time.Duration(float64(interval) * (0.9 + 0.2*rand.Float64())))
	return due.Round(interval / time.Duration(max(10, backends/5)))
}

// size is how many backends there are.
func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.backends)
}

// checked takes in the outcome of a check.
func (p *pool) checked(b *backend, err error) {
	p.mu.Lock()
	changed := !b.removed && b.health != nil && b.standing.check(err == nil, b.health, p.clock.now())
	if changed {
		p.rebuild()
	}
	p.mu.Unlock()
	if !changed {
		return
	}
	if err != nil {
		p.report(b, Unhealthy, err.Error())
		if silent(err) {
			b.up.Load().abandon()
		}
	} else {
		p.report(b, Ready, "passes its checks")
	}
	p.queue.dispatch()
}

// silent reports whether a check failed because nothing answers at its address: the
// machine there is gone, or cut off. One that refuses connections lives, and may yet
// answer what it has begun.
func silent(err error) bool {
	var dial *dialError
	return errors.As(err, &dial) && !errors.Is(err, syscall.ECONNREFUSED)
}

// prober returns the check of b that h asks for.
func (p *pool) prober(b *backend, h *Health) func(context.Context) error {
	if p.probe != nil {
		return func(ctx context.Context) error { return p.probe(ctx, b.addr) }
	}
	timeout := h.Timeout.limit()
	if h.Path == "" {
		d := &net.Dialer{Timeout: timeout}
		return func(ctx context.Context) error {
			c, err := d.DialContext(ctx, "tcp", b.addr)
			if err != nil {
				return &dialError{err}
			}
			return c.Close()
		}
	}
	if b.h2c {
		return http2Probe(b, h, timeout)
	}
	return http1Probe(b, h, timeout)
}
