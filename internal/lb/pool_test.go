package lb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// newTestPool is the pool of a frontend that is never listened for.
func newTestPool(t *testing.T, f Frontend) *pool {
	p := newPool(newClock(), func(id string) string { return "cookie-" + id }, func(b *backend, state, why string) {})
	p.rnd = rand.New(rand.NewPCG(1, 2)).Uint64
	p.probe = func(context.Context, string) error { return nil }
	p.apply(compile(f), false)
	t.Cleanup(p.close)
	return p
}

func someBackends(ids string) (bs []Backend) {
	for i, id := range strings.Fields(ids) {
		bs = append(bs, Backend{ID: id, Address: fmt.Sprintf("192.0.2.1:%d", 1000+i)})
	}
	return bs
}

// chosen says who n requests, each ended before the next, went to.
func chosen(t *testing.T, p *pool, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		b, err := p.acquire(t.Context(), &want{})
		if err != nil {
			got[err.Error()]++
			continue
		}
		got[b.id]++
		p.release(b)
	}
	return got
}

func states(p *pool) string {
	var s []string
	for _, b := range p.stats(false) {
		s = append(s, b.ID+" "+b.State)
	}
	return strings.Join(s, ", ")
}

func TestDrainIsConfirmedOnlyAtZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Frontend{Balance: RoundRobin, Backends: someBackends("a b")}
		p := newTestPool(t, f)
		a, err := p.acquire(t.Context(), &want{})
		if err != nil || a.id != "a" {
			t.Fatal(a, err)
		}
		if err := p.waitDrained(t.Context(), "www", "a"); !errors.Is(err, ErrNotDraining) {
			t.Errorf("in service: %v", err)
		}
		if err := p.waitDrained(t.Context(), "www", "never heard of"); err != nil {
			t.Errorf("unknown backend: %v", err)
		}
		f.Backends[0].Draining = true
		p.apply(compile(f), false)
		if got := chosen(t, p, 10); got["b"] != 10 {
			t.Errorf("while a drains: %v", got)
		}
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = p.waitDrained(brief, "www", "a")
		if nd, ok := errors.AsType[*NotDrainedError](err); !ok || nd.InFlight != 1 {
			t.Errorf("one in flight: %v", err)
		}
		f.Backends = f.Backends[1:] // removed with one in flight
		p.apply(compile(f), false)
		if got := states(p); got != "b ready, a draining" {
			t.Errorf("states = %s", got)
		}
		drained := make(chan error, 1)
		go func() { drained <- p.waitDrained(t.Context(), "www", "a") }()
		synctest.Wait()
		select {
		case err := <-drained:
			t.Fatalf("drained with one in flight: %v", err)
		default:
		}
		p.release(a)
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if got := states(p); got != "b ready" {
			t.Errorf("states = %s", got)
		}
	})
}

func TestWaitForADrainThatIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Frontend{Backends: someBackends("a")}
		p := newTestPool(t, f)
		a, err := p.acquire(t.Context(), &want{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.release(a)
		f.Backends[0].Draining = true
		p.apply(compile(f), false)
		got := make(chan error, 1)
		go func() { got <- p.waitDrained(t.Context(), "www", "a") }()
		synctest.Wait()
		f.Backends[0].Draining = false
		p.apply(compile(f), false)
		if err := <-got; !errors.Is(err, ErrNotDraining) {
			t.Errorf("err = %v", err)
		}
	})
}

// TestAChoiceThatADrainOvertakesIsMadeAgain: a request has chosen a backend and
// not yet counted itself in when the backend is drained.
func TestAChoiceThatADrainOvertakesIsMadeAgain(t *testing.T) {
	f := Frontend{Backends: someBackends("a b")}
	cfg := compile(f)
	chose, goOn := make(chan struct{}), make(chan struct{})
	cfg.balance = func(v *view, q *query) *backend {
		b := roundRobin(v, q)
		if b != nil && b.id == "a" {
			close(chose)
			<-goOn
		}
		return b
	}
	p := newTestPool(t, f)
	p.apply(cfg, false)
	got := make(chan *backend, 1)
	go func() {
		b, _ := p.acquire(context.Background(), &want{})
		got <- b
	}()
	<-chose
	f.Backends[0].Draining = true
	p.apply(compile(f), false)
	if err := p.waitDrained(t.Context(), "www", "a"); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if b := <-got; b.id != "b" {
		t.Errorf("%s was given out after it was drained", b.id)
	}
}

// TestNobodyGetsADrainedBackend races requests against drains: once waitDrained
// has returned, nobody has the backend and nobody gets it.
func TestNobodyGetsADrainedBackend(t *testing.T) {
	f := Frontend{Balance: Random, Backends: someBackends("a b")}
	p := newTestPool(t, f)
	p.rnd = rand.Uint64 // many ask at a time
	stop := make(chan struct{})
	var drained atomic.Bool
	var load sync.WaitGroup
	defer load.Wait()
	defer close(stop)
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				b, err := p.acquire(context.Background(), &want{})
				if err != nil {
					t.Error(err)
					return
				}
				if b.id == "a" && drained.Load() {
					t.Error("a was given out after it was drained")
				}
				p.release(b)
			}
		})
	}
	for i := range 500 {
		drained.Store(false)
		f.Backends[0].Draining = i%2 == 0
		p.apply(compile(f), false)
		if !f.Backends[0].Draining {
			continue
		}
		if err := p.waitDrained(t.Context(), "www", "a"); err != nil {
			t.Fatal(err)
		}
		drained.Store(true)
	}
}

func TestQueueHoldsUntilABackendComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Frontend{MaxInFlight: 1, Queue: Queue{Size: 2, Timeout: seconds(30)}}
		p := newTestPool(t, f)
		got := make(chan *backend, 2)
		for range 2 {
			go func() {
				b, err := p.acquire(t.Context(), &want{})
				if err != nil {
					t.Error(err)
				}
				got <- b
			}()
		}
		synctest.Wait()
		if _, err := p.acquire(t.Context(), &want{}); err != error(errQueueFull) {
			t.Errorf("a third request: %v", err)
		}
		time.Sleep(20 * time.Second) // scaled from zero
		f.Backends = someBackends("a")
		p.apply(compile(f), false)
		first := <-got
		synctest.Wait()
		if len(got) != 0 || p.queue.total.Load() != 1 {
			t.Error("both were let through to a backend that takes one")
		}
		p.release(first)
		p.release(<-got)
	})
}

func TestWaitingRequestsFollowTheRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Frontend{Routes: []Route{{Targets: []Target{{Group: "blue"}}}}, Backends: someBackends("a")}
		f.Backends[0].Group = "green"
		p := newTestPool(t, f)
		got := make(chan error, 1)
		go func() { _, err := p.acquire(t.Context(), &want{}); got <- err }()
		synctest.Wait()
		f.Routes[0].Targets[0].Group = "green"
		p.apply(compile(f), false)
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

func TestSplitByTargetWeight(t *testing.T) {
	f := Frontend{Balance: RoundRobin, Backends: someBackends("a b c")}
	f.Backends[0].Group, f.Backends[1].Group, f.Backends[2].Group = "stable", "stable", "canary"
	f.Routes = []Route{{Targets: []Target{{"stable", 90}, {"canary", 10}, {"old", 0}}}}
	p := newTestPool(t, f)
	if got := chosen(t, p, 100); got["a"] != 45 || got["b"] != 45 || got["c"] != 10 {
		t.Errorf("90 to 10: %v", got)
	}
	f.Backends[2].Draining = true
	p.apply(compile(f), false)
	if got := chosen(t, p, 100); got["a"] != 50 || got["b"] != 50 {
		t.Errorf("with the canary drained: %v", got)
	}
}

func TestARetryGoesElsewhereIfThereIsElsewhere(t *testing.T) {
	for balance := range balancers {
		p := newTestPool(t, Frontend{Balance: balance, Backends: someBackends("a b c")})
		w := &want{}
		w.hasKey = true
		seen := map[string]bool{}
		for range 3 {
			b, err := p.acquire(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			w.tried = append(w.tried, b)
			seen[b.id] = true
			p.release(b)
		}
		if len(seen) != 3 {
			t.Errorf("%s: three tries went to %v", balance, seen)
		}
		if b, err := p.acquire(t.Context(), w); err != nil {
			t.Errorf("%s: none left, none given: %v", balance, err)
		} else {
			p.release(b)
		}
	}
}

func TestStickySessionsStayUntilTheBackendLeaves(t *testing.T) {
	f := Frontend{Balance: RoundRobin, Sticky: &Sticky{}, MaxInFlight: 1, Backends: someBackends("a b")}
	p := newTestPool(t, f)
	at := func() string {
		b, err := p.acquire(t.Context(), &want{sticky: "cookie-b"})
		if err != nil {
			t.Fatal(err)
		}
		p.release(b)
		return b.id
	}
	if got := at() + at() + at(); got != "bbb" {
		t.Errorf("session of b went to %s", got)
	}
	p.backends["b"].inFlight.Store(1)
	if got := at(); got != "a" {
		t.Errorf("busy: %s", got)
	}
	p.backends["b"].inFlight.Store(0)
	f.Backends[1].Draining = true
	p.apply(compile(f), false)
	if got := at() + at(); got != "aa" {
		t.Errorf("draining: %s", got)
	}
}
