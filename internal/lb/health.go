package lb

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"reflect"
	"time"
)

// watch starts the active checks of backends that have none, and starts all anew
// when their settings changed. The caller holds mu.
func (p *pool) watch(before *config) {
	changed := before != nil && !reflect.DeepEqual(before.Health, p.cfg.Health)
	for _, b := range p.backends {
		if changed && b.stopCheck != nil {
			b.stopCheck()
			b.stopCheck = nil
		}
		if p.cfg.Health == nil || b.stopCheck != nil || p.closed {
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		b.stopCheck = cancel
		cfg := p.cfg
		p.checks.Go(func() { p.checkLoop(ctx, b, cfg) })
	}
}

// checkLoop checks b until ctx ends, at intervals that vary by a tenth, so that
// many backends are not checked at one moment.
func (p *pool) checkLoop(ctx context.Context, b *backend, cfg *config) {
	probe := p.prober(b, cfg)
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
		interval := float64(cfg.Health.Interval)
		timer.Reset(time.Duration(interval * (0.9 + 0.2*rand.Float64())))
	}
}

// checked takes in the outcome of a check.
func (p *pool) checked(b *backend, err error) {
	p.mu.Lock()
	changed := !b.removed && p.cfg.Health != nil && b.standing.check(err == nil, p.cfg.Health, p.clock.now())
	if changed {
		p.rebuild()
	}
	p.mu.Unlock()
	if !changed {
		return
	}
	if err != nil {
		p.report(b, Unhealthy, err.Error())
	} else {
		p.report(b, Ready, "passes its checks")
	}
	p.queue.dispatch()
}

// prober returns the check of cfg for b.
func (p *pool) prober(b *backend, cfg *config) func(context.Context) error {
	if p.probe != nil {
		return func(ctx context.Context) error { return p.probe(ctx, b.addr) }
	}
	timeout := cfg.Health.Timeout.limit()
	if cfg.Health.Path == "" {
		d := &net.Dialer{Timeout: timeout}
		return func(ctx context.Context) error {
			c, err := d.DialContext(ctx, "tcp", b.addr)
			if err == nil {
				c.Close()
			}
			return err
		}
	}
	return httpProbe(b, cfg, timeout)
}

// httpProbe fetches the health path on a connection of its own each time, as a
// new client would.
func httpProbe(b *backend, cfg *config, timeout time.Duration) func(context.Context) error {
	var protocols http.Protocols
	protocols.SetHTTP1(!b.h2c)
	protocols.SetUnencryptedHTTP2(b.h2c)
	client := &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true, Protocols: &protocols},
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.addr+cfg.Health.Path, nil)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "flowctl-health")
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode < cfg.statusLow || res.StatusCode > cfg.statusHigh {
			return fmt.Errorf("status %d, want %d to %d", res.StatusCode, cfg.statusLow, cfg.statusHigh)
		}
		return nil
	}
}
