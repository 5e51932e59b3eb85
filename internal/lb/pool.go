package lb

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pool is the membership of one frontend: which backends there are, which of
// them are in service, and who waits for one. The request path reads state and
// the atomics of a backend; everything else goes through mu.
type pool struct {
	clock  *clock
	rnd    func() uint64
	cookie func(backendID string) string
	report func(b *backend, state, why string)          // a change of state, for the log
	probe  func(ctx context.Context, addr string) error // in place of real checks, for tests without I/O; else nil

	queue   queue
	state   atomic.Pointer[state]
	emptied broadcast // some draining backend has nothing in flight any more

	mu       sync.Mutex // guards what follows, and every change of state
	cfg      *config
	backends map[string]*backend
	leaving  map[*backend]struct{} // removed, with something in flight
	turns    map[string]*atomic.Uint32
	timer    *time.Timer // when the next backend warms up or comes back
	closed   bool
	checks   sync.WaitGroup
}

// state is what a request sees of a pool: one consistent cut. Immutable.
type state struct {
	cfg     *config
	groups  map[string]*view // those with a backend in service
	all     *view            // nil if there is none
	cookies map[string]*backend
}

func newPool(c *clock, cookie func(string) string, report func(b *backend, state, why string)) *pool {
	p := &pool{
		clock: c, rnd: rand.Uint64, cookie: cookie, report: report,
		backends: map[string]*backend{}, leaving: map[*backend]struct{}{}, turns: map[string]*atomic.Uint32{},
	}
	p.emptied.init()
	return p
}

// want is one request looking for a backend.
type want struct {
	query
	req    *http.Request // nil for TCP
	sticky string        // value of its session cookie
	path   string        // of req, before anything was stripped
	route  *route        // the one it was given a backend by
}

func (w *want) match(st *state) *route {
	if w.req == nil {
		return st.cfg.routes[0]
	}
	return st.cfg.routes.match(w.req.Host, w.path, w.req.Header)
}

// acquire finds a backend for w and counts the request in; it waits in the queue
// if it must. The caller releases the backend.
func (p *pool) acquire(ctx context.Context, w *want) (*backend, error) {
	st := p.state.Load()
	rt := w.match(st)
	if rt == nil {
		return nil, errNoRoute
	}
	if rt.line.waiting.Load() == 0 {
		if b := p.try(st, rt, w); b != nil {
			return b, nil
		}
	}
	return p.queue.wait(ctx, rt.line, st.cfg.Queue, &waiter{picky: len(w.tried) > 0, try: func() (*backend, error) {
		st := p.state.Load()
		rt := w.match(st)
		if rt == nil {
			return nil, errNoRoute
		}
		return p.try(st, rt, w), nil
	}})
}

// try chooses and acquires, or returns nil. It may be called under the queue's
// mutex.
func (p *pool) try(st *state, rt *route, w *want) *backend {
	w.limit, w.now, w.rnd = int64(st.cfg.MaxInFlight), p.clock.now(), p.rnd
	for range 8 { // each further turn lost a race for its choice
		b := st.pick(rt, w)
		if b == nil {
			return nil
		}
		if b.acquire(w.limit) {
			if !b.draining.Load() {
				w.route = rt
				return b
			}
			p.uncount(b)
		}
	}
	return nil
}

// release counts a request out.
func (p *pool) release(b *backend) {
	p.uncount(b)
	p.queue.dispatch()
}

func (p *pool) uncount(b *backend) {
	if b.inFlight.Add(-1) == 0 && b.draining.Load() {
		p.settle(b)
	}
}

// settle notes that b, which is draining or removed, has nothing in flight.
func (p *pool) settle(b *backend) {
	p.mu.Lock()
	if b.removed {
		delete(p.leaving, b)
		b.up.Load().close()
	}
	p.mu.Unlock()
	p.emptied.send()
}

// pick chooses a backend on rt for w, or returns nil.
func (st *state) pick(rt *route, w *want) *backend {
	if b := st.session(rt, w); b != nil {
		return b
	}
	b, tried := st.pickFresh(rt, w)
	if b == nil && tried { // none but those tried is in service: one of them, then
		again := w.tried
		w.tried = nil
		b, _ = st.pickFresh(rt, w)
		w.tried = again
	}
	return b
}

// session is the backend of w's sticky cookie, if it may have w.
func (st *state) session(rt *route, w *want) *backend {
	if w.sticky == "" {
		return nil
	}
	b := st.cookies[w.sticky]
	if b == nil || !w.takes(b) || len(rt.groups) > 0 && !slices.Contains(rt.groups, b.group) {
		return nil
	}
	return b
}

// pickFresh goes through rt's groups by their shares, and says when nothing is
// in service that w has not tried.
func (st *state) pickFresh(rt *route, w *want) (b *backend, onlyTried bool) {
	if len(rt.groups) == 0 {
		if st.all == nil {
			return nil, false
		}
		return st.all.choose(st.cfg.balance, &w.query), st.all.only(w.tried)
	}
	start := int(rt.next.Add(1) - 1)
	if w.hasKey && st.cfg.Balance == Hash {
		start = int(mix(w.key+1) % uint64(len(rt.share)))
	}
	onlyTried = len(w.tried) > 0
	for i := range rt.share {
		v := st.groups[rt.groups[rt.share[(start+i)%len(rt.share)]]]
		if v == nil || v.only(w.tried) {
			continue
		}
		return v.choose(st.cfg.balance, &w.query), false
	}
	return nil, onlyTried
}

// only reports whether all of v's candidates are in tried.
func (v *view) only(tried []*backend) bool {
	return len(tried) >= len(v.candidates) &&
		!slices.ContainsFunc(v.candidates, func(c candidate) bool { return !slices.Contains(tried, c.b) })
}

// rebuild makes a new state of what is in service now, and sets the alarm for
// the next change that time alone brings. The caller holds mu, and dispatches
// the queue when it no longer does.
func (p *pool) rebuild() {
	now := p.clock.now()
	byGroup := map[string][]*backend{}
	var all []*backend
	for _, b := range p.backends {
		byGroup[b.group] = append(byGroup[b.group], b)
		all = append(all, b)
	}
	st := &state{cfg: p.cfg, groups: map[string]*view{}, cookies: map[string]*backend{}}
	var due int64
	for group, bs := range byGroup {
		cs, next := p.inService(bs, now)
		due = earlier(due, next)
		if len(cs) > 0 {
			st.groups[group] = p.split(newView(cs, p.turn("group "+group)), "group "+group)
		}
		for _, c := range cs {
			if p.cfg.Sticky != nil {
				st.cookies[c.b.cookie] = c.b
			}
		}
	}
	if cs, _ := p.inService(all, now); len(cs) > 0 {
		st.all = p.split(newView(cs, p.turn("all")), "all")
	}
	p.state.Store(st)
	p.alarm(now, due)
}

// inService are the candidates among bs, and when the next change is due.
func (p *pool) inService(bs []*backend, now int64) (cs []candidate, due int64) {
	slices.SortFunc(bs, func(a, b *backend) int { return cmp.Compare(a.id, b.id) })
	var ready, admitted []*backend
	for _, b := range bs {
		if b.draining.Load() || !b.standing.admitted {
			continue
		}
		admitted = append(admitted, b)
		if b.standing.state(now) == Ready {
			ready = append(ready, b)
		}
		if b.standing.ejectedUntil > now {
			due = earlier(due, b.standing.ejectedUntil)
		}
	}
	if inPanic(len(admitted), len(ready), p.cfg.Eject.PanicPercent) {
		ready = admitted
	}
	for _, b := range ready {
		part, next := b.standing.warmth(now, p.cfg.SlowStart.limit())
		due = earlier(due, next)
		cs = append(cs, candidate{b, part * float64(b.weight)})
	}
	return cs, due
}

// earlier is the lesser of two times, 0 being none.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (p *pool) turn(of string) *atomic.Uint32 {
	if p.turns[of] == nil {
		p.turns[of] = new(atomic.Uint32)
	}
	return p.turns[of]
}

func (p *pool) alarm(now, due int64) {
	if p.timer != nil {
		p.timer.Stop()
	}
	if due == 0 || p.closed {
		return
	}
	p.timer = time.AfterFunc(time.Duration(max(due-now, int64(time.Millisecond))), func() {
		p.mu.Lock()
		if !p.closed {
			p.rebuild()
		}
		p.mu.Unlock()
		p.queue.dispatch()
	})
}
