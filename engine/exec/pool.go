package exec

import (
	"sync"

	"github.com/flowctl/flowctl/engine"
)

// Pool counts what the runs that share it have under way. It is safe for concurrent
// use.
type Pool struct {
	mu      sync.Mutex
	running map[class]int
	freed   map[chan struct{}]bool // of runs, that are told when a place becomes free
}

// NewPool returns a pool of which nothing is in use.
func NewPool() *Pool { return &Pool{running: map[class]int{}, freed: map[chan struct{}]bool{}} }

// join lets a run be told of places that become free, until it leaves.
func (p *Pool) join() (freed chan struct{}, leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	freed = make(chan struct{}, 1)
	p.freed[freed] = true
	return freed, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.freed, freed)
	}
}

// room reports whether the limits leave a place for one more task of a class. The
// caller holds mu.
func (p *Pool) room(c class, l Limits) bool {
	phase, provider := 0, 0
	for other, n := range p.running {
		if other.phase == c.phase {
			phase += n
		}
		if other.provider == c.provider {
			provider += n
		}
	}
	mostPhase, mostProvider := l.Phases[c.phase], l.Providers[c.provider]
	return (mostPhase == 0 || phase < mostPhase) && (mostProvider == 0 || provider < mostProvider)
}

// give gives a place back.
func (p *Pool) give(c class) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[c]--
	for freed := range p.freed {
		select {
		case freed <- struct{}{}:
		default: // it is told already
		}
	}
}

func classOf(s engine.Step) class { return class{s.Phase, s.Provider} }
