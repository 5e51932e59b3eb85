package lb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
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

// checkLoop checks b until ctx ends, at intervals that vary by a tenth, so that
// many backends are not checked at one moment.
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
		interval := float64(h.Interval)
		timer.Reset(time.Duration(interval * (0.9 + 0.2*rand.Float64())))
	}
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
	return httpProbe(b, h, timeout)
}

// httpProbe fetches the health path on a connection of its own each time, as a
// new client would.
func httpProbe(b *backend, h *Health, timeout time.Duration) func(context.Context) error {
	low, high, _ := parseStatuses(h.Status)
	var protocols http.Protocols
	protocols.SetHTTP1(!b.h2c)
	protocols.SetUnencryptedHTTP2(b.h2c)
	client := &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true, Protocols: &protocols},
	}
	return func(ctx context.Context) error {
		var connected atomic.Bool
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.addr+h.Path, nil)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "flowctl-health")
		res, err := client.Do(req)
		if err != nil && !connected.Load() {
			return &dialError{err}
		}
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode < low || res.StatusCode > high {
			return fmt.Errorf("status %d, want %d to %d", res.StatusCode, low, high)
		}
		return nil
	}
}
