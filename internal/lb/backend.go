package lb

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// backend is one server behind one frontend, from its joining until it has left
// and nothing is in flight.
type backend struct {
	id, group, addr string
	h2c             bool
	hash            uint64 // of id, for rendezvous
	cookie          string // the value of a sticky cookie that means this backend

	_ [64]byte // keeps what every request writes off the cache line of what it reads

	inFlight atomic.Int64
	latency  peakEWMA
	strikes  atomic.Int32 // failures in a row
	counters backendCounters

	_ [64]byte

	draining atomic.Bool // set before inFlight is read, see doc.go
	up       atomic.Pointer[upstream]
	streams  streams

	// Guarded by the pool's mutex.
	weight    int
	share     int // percent; 0 for none of its own
	standby   bool
	health    *Health // how it is checked, with defaults; nil for not at all
	standing  standing
	removed   bool
	stopCheck context.CancelFunc
	drainCut  *time.Timer
}

// acquire counts a request in, unless the backend is at its limit (0 is none) or
// draining. Only who got true may send, and must release.
func (b *backend) acquire(limit int64) bool {
	if limit == 0 {
		b.inFlight.Add(1)
	} else {
		for {
			n := b.inFlight.Load()
			if n >= limit {
				return false
			}
			if b.inFlight.CompareAndSwap(n, n+1) {
				break
			}
		}
	}
	return true
}

// streams are the long-lived exchanges of a backend, to be cut when it goes.
type streams struct {
	mu   sync.Mutex
	cuts map[*stream]struct{}
	gone bool // what comes now is cut at once
}

// stream is one of them; cut ends it.
type stream struct{ cut func() }

// add registers s until the function returned is called.
func (ss *streams) add(s *stream) (remove func()) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.gone {
		s.cut()
		return func() {}
	}
	if ss.cuts == nil {
		ss.cuts = map[*stream]struct{}{}
	}
	ss.cuts[s] = struct{}{}
	return func() {
		ss.mu.Lock()
		defer ss.mu.Unlock()
		delete(ss.cuts, s)
	}
}

// cutAll ends all streams, and those to come until revive.
func (ss *streams) cutAll() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.gone = true
	for s := range ss.cuts {
		s.cut()
	}
	clear(ss.cuts)
}

func (ss *streams) revive() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.gone = false
}
