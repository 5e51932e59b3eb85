package lb

import (
	"cmp"
	"context"
	"reflect"
	"time"
)

// apply brings the pool to cfg. With restored set, the backends were in service
// before this process was, and are trusted and warm.
func (p *pool) apply(cfg *config, restored bool) {
	keep := map[string]bool{}
	for _, rt := range cfg.routes {
		keep[rt.key()] = true
		rt.line = p.queue.line(rt.key())
	}
	p.mu.Lock()
	before := p.cfg
	p.cfg = cfg
	wanted := map[string]Backend{}
	for _, w := range cfg.Backends {
		wanted[w.ID] = w
	}
	for id, b := range p.backends {
		if w, ok := wanted[id]; !ok || !b.is(w) {
			p.remove(b)
		}
	}
	for _, w := range cfg.Backends {
		b := p.backends[w.ID]
		if b == nil {
			b = p.join(w)
			b.standing.warm = restored
		} else {
			p.retune(b, before)
		}
		b.weight, b.share, b.standby = max(1, w.Weight), w.Share, w.Standby
		b.checkBy(cmp.Or(w.Health, cfg.Health))
		if b.health == nil || w.Ready || restored {
			p.trust(b)
		}
		p.setDraining(b, w.Draining || w.Standby)
	}
	p.watch()
	p.rebuild()
	p.mu.Unlock()
	p.queue.prune(keep)
	p.queue.dispatch()
	p.emptied.send()
}

// checkBy sets how b is checked, and ends the checks of another kind; watch
// starts them.
func (b *backend) checkBy(h *Health) {
	if b.stopCheck != nil && !reflect.DeepEqual(h, b.health) {
		b.stopCheck()
		b.stopCheck = nil
	}
	b.health = h
}

// is reports whether w is still this backend, if with other settings.
func (b *backend) is(w Backend) bool {
	return b.addr == w.Address && b.group == w.Group && b.h2c == w.H2C
}

func (p *pool) join(w Backend) *backend {
	b := &backend{id: w.ID, group: w.Group, addr: w.Address, h2c: w.H2C, hash: hash64(w.ID), cookie: p.cookie(w.ID)}
	b.up.Store(newUpstream(b, p.cfg))
	p.backends[b.id] = b
	return b
}

// trust puts b into service unless its own checks say otherwise.
func (p *pool) trust(b *backend) {
	if !b.standing.admitted || b.health == nil {
		b.standing.trust(p.clock.now())
	}
}

// retune gives b's connections new limits; those in use keep theirs.
func (p *pool) retune(b *backend, before *config) {
	if before.Timeouts.Connect != p.cfg.Timeouts.Connect || before.Timeouts.Header != p.cfg.Timeouts.Header {
		b.up.Swap(newUpstream(b, p.cfg)).close()
	}
}

func (p *pool) setDraining(b *backend, on bool) {
	if b.draining.Swap(on) == on {
		return
	}
	if b.drainCut != nil {
		b.drainCut.Stop()
	}
	if !on {
		b.streams.revive()
	} else if d := p.cfg.Timeouts.DrainStream.limit(); d > 0 {
		b.drainCut = time.AfterFunc(d, b.streams.cutAll)
	}
}

// remove takes b out for good: nothing new, streams are cut, requests in flight
// go on, idle connections are closed.
func (p *pool) remove(b *backend) {
	p.setDraining(b, true)
	b.removed = true
	delete(p.backends, b.id)
	if b.stopCheck != nil {
		b.stopCheck()
	}
	if b.drainCut != nil {
		b.drainCut.Stop()
	}
	b.streams.cutAll()
	b.up.Load().close()
	if b.inFlight.Load() > 0 {
		p.leaving[b] = struct{}{} // until settle, which waits for mu
	}
}

// close removes all backends and fails who waits for one.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, b := range p.backends {
		p.remove(b)
	}
	p.rebuild()
	p.mu.Unlock()
	p.queue.close(errClosing)
	p.emptied.send()
	p.checks.Wait()
}

// unsettled is what is in flight on the draining or removed backends named id.
func (p *pool) unsettled(id string) (inFlight int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.backends[id]; b != nil {
		if !b.draining.Load() {
			return b.inFlight.Load(), ErrNotDraining
		}
		inFlight = b.inFlight.Load()
	}
	for b := range p.leaving {
		if b.id == id {
			inFlight += b.inFlight.Load()
		}
	}
	return inFlight, nil
}

// waitDrained returns nil when id is chosen no more and has nothing in flight.
func (p *pool) waitDrained(ctx context.Context, frontend, id string) error {
	for {
		emptied := p.emptied.wait()
		n, err := p.unsettled(id)
		if err != nil || n == 0 {
			return err
		}
		select {
		case <-emptied:
		case <-ctx.Done():
			return &NotDrainedError{Frontend: frontend, Backend: id, InFlight: n}
		}
	}
}
