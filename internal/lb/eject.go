package lb

import (
	"net/http"
	"time"
)

// failedLatency is what a failed try counts as in a backend's latency.
const failedLatency = time.Second

// judge takes in the status of an answer: a gateway error counts against the
// backend, anything else clears it.
func (p *pool) judge(b *backend, status int) {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		b.counters.gateway.Add(1)
		p.strike(b)
	default:
		if b.strikes.Load() != 0 {
			b.strikes.Store(0)
		}
	}
}

// punish takes in a failed try. To those who choose by latency, a backend that
// fails fast must not look fast.
func (p *pool) punish(b *backend, f failure) {
	switch f {
	case failedOurs:
		return
	case failedConnect:
		b.counters.connect.Add(1)
	case failedTimeout:
		b.counters.timeout.Add(1)
	case failedReset, failedBroken:
		b.counters.reset.Add(1)
	}
	b.latency.observe(p.clock.now(), failedLatency)
	p.strike(b)
}

// strike counts one more failure in a row, and ejects the backend when there are
// enough.
func (p *pool) strike(b *backend) {
	limit := p.state.Load().cfg.Eject.ConsecutiveErrors
	if n := b.strikes.Add(1); limit > 0 && int(n) >= limit {
		p.eject(b)
	}
}

func (p *pool) eject(b *backend) {
	if p.ejectLocked(b) {
		b.counters.ejected.Add(1)
		p.report(b, Ejected, "errors in a row")
		p.queue.dispatch()
	}
}

// ejectLocked takes b out of choice for a while, if not too many are out already.
func (p *pool) ejectLocked(b *backend) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, n, ejected := p.clock.now(), 0, 0
	if b.removed || b.draining.Load() || b.standing.state(now) != Ready {
		return false
	}
	for _, other := range p.backends {
		if other.group == b.group && !other.draining.Load() {
			n++
			if other.standing.ejectedUntil > now {
				ejected++
			}
		}
	}
	if !mayEject(n, ejected, p.cfg.Eject.MaxPercent) {
		return false
	}
	b.strikes.Store(0)
	b.standing.eject(now, p.cfg.Eject.BaseTime.limit())
	p.rebuild()
	return true
}
