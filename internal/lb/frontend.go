package lb

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"
)

// frontend is one listener, from its first snapshot until it has left and its
// last connection is closed. Its apply and stop are called by one at a time.
type frontend struct {
	name     string
	protocol string
	log      *slog.Logger
	clock    *clock
	pool     *pool
	proxy    *httputil.ReverseProxy
	gate     *gate
	ctx      context.Context // of all its requests
	cancel   context.CancelCauseFunc
	work     sync.WaitGroup // servers and TCP connections

	counters   frontendCounters
	conns      atomic.Int64
	writeLimit atomic.Int64 // ns; a write to a client may block as long; 0 is no limit
	server     atomic.Pointer[server]
	emptied    broadcast // nothing is in flight; given only while stopping
	stopping   atomic.Bool
	logged     logLimit

	want    Frontend // as in the snapshot
	bind    string   // the address to open in place of want.Listen, or ""
	on      *listening
	asked   string // the Listen that on stands for
	failed  error  // why it does not listen as wanted
	servers []*server
}

// server is an http.Server with the settings that it cannot change while it
// runs. When they change, the frontend makes another for new connections.
type server struct {
	http  *http.Server
	feed  *feed
	conns atomic.Int64
	limits
}

// limits are the settings that a server is made with.
type limits struct {
	readHeader, idle time.Duration
	headerBytes      int
}

func newFrontend(f Frontend, c *clock, key []byte, log *slog.Logger) *frontend {
	fe := &frontend{name: f.Name, protocol: f.withDefaults().Protocol, log: log.With("frontend", f.Name), clock: c, gate: newGate()}
	fe.ctx, fe.cancel = context.WithCancelCause(context.Background())
	fe.emptied.init()
	fe.proxy = newProxy(forwarder{fe})
	fe.pool = newPool(c, func(id string) string { return stickyValue(key, f.Name, id) }, func(b *backend, state, why string) {
		fe.log.Info("backend changed", "backend", b.id, "state", state, "why", why)
	})
	return fe
}

// apply brings the frontend to f. bind, if not "", is the address to open in
// place of f.Listen: the one that a port 0 has become.
func (f *frontend) apply(want Frontend, bind string, restored bool) {
	cfg := compile(want)
	f.pool.apply(cfg, restored)
	f.gate.setMax(cfg.MaxConns)
	f.writeLimit.Store(int64(cfg.Timeouts.Idle.limit()))
	if f.protocol == HTTP {
		f.serve(limits{cfg.Timeouts.ReadHeader.limit(), cfg.Timeouts.Idle.limit(), max(0, cfg.MaxHeaderBytes)})
	}
	if bind != "" || want.Listen != f.want.Listen {
		f.bind = bind
	}
	f.want = want
	f.relisten()
}

// relisten opens the wanted address if it is not open. The old one is closed
// only when the new one is there.
func (f *frontend) relisten() {
	if f.on != nil && f.asked == f.want.Listen {
		f.failed = nil
		return
	}
	old := f.on
	if f.failed = f.listen(f.want.Listen, f.bind); f.failed == nil && old != nil {
		old.close()
	}
}

// address is where the frontend listens, or "".
func (f *frontend) address() string {
	if f.on == nil {
		return ""
	}
	return f.on.l.Addr().String()
}

// serve makes sure that new connections are served within l.
func (f *frontend) serve(l limits) {
	if s := f.server.Load(); s != nil && s.limits == l {
		return
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &server{limits: l, feed: newFeed(), http: &http.Server{
		Handler:                      f,
		ReadHeaderTimeout:            l.readHeader,
		IdleTimeout:                  l.idle,
		MaxHeaderBytes:               l.headerBytes,
		Protocols:                    &protocols,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: 250, WriteByteTimeout: l.idle},
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
		BaseContext:                  func(net.Listener) context.Context { return f.ctx },
	}}
	f.work.Go(func() { s.http.Serve(s.feed) })
	f.servers = append(f.servers, s)
	if old := f.server.Swap(s); old != nil {
		old.feed.Close() // its connections stay
	}
	f.servers = liveServers(f.servers, s)
}

// liveServers forgets the servers that have no connection left.
func liveServers(all []*server, current *server) (live []*server) {
	for _, s := range all {
		if s == current || s.conns.Load() > 0 {
			live = append(live, s)
		}
	}
	return live
}

// take serves an accepted connection, which the gate has counted.
func (f *frontend) take(c *net.TCPConn) {
	f.conns.Add(1)
	left := func() { f.conns.Add(-1); f.gate.leave() }
	if f.protocol == TCP {
		f.work.Go(func() {
			defer left()
			f.serveTCP(c)
		})
		return
	}
	for {
		s := f.server.Load()
		s.conns.Add(1)
		cc := &clientConn{Conn: c, f: f, done: func() { s.conns.Add(-1); left() }}
		if s.feed.put(cc) {
			return
		}
		s.conns.Add(-1)
		if s == f.server.Load() { // stopped, not replaced
			c.Close()
			left()
			return
		}
	}
}

// closeListener accepts no more; the address is free when it returns.
func (f *frontend) closeListener() {
	f.stopping.Store(true)
	if f.on != nil {
		f.on.close()
	}
	f.gate.close()
}

// stop, after closeListener, lets what is in flight go on until ctx ends; then
// it is cut.
func (f *frontend) stop(ctx context.Context) {
	var down sync.WaitGroup
	for _, s := range f.servers {
		down.Go(func() { s.http.Shutdown(ctx) })
	}
	down.Wait()
	f.waitEmpty(ctx)
	f.pool.close()
	f.cancel(errClosing)
	for _, s := range f.servers {
		s.feed.Close()
		s.http.Close()
	}
	f.work.Wait()
}

// waitEmpty waits until nothing is in flight, or ctx ends.
func (f *frontend) waitEmpty(ctx context.Context) {
	for {
		emptied := f.emptied.wait()
		if f.counters.inFlight.Load() == 0 {
			return
		}
		select {
		case <-emptied:
		case <-ctx.Done():
			return
		}
	}
}

// done counts a request out.
func (f *frontend) done() {
	if f.counters.inFlight.Add(-1) == 0 && f.stopping.Load() {
		f.emptied.send()
	}
}

// stats reads the frontend's counters.
func (f *frontend) stats(answers bool) FrontendStats {
	now, c := f.clock.now(), &f.counters
	s := FrontendStats{
		Name: f.name, Listen: f.address(), Conns: f.conns.Load(),
		Requests: c.requests.total.Load(), RPS1: float64(c.requests.last(now, 1, false)), RPS10: float64(c.requests.last(now, 10, false)) / 10,
		InFlight: c.inFlight.Load(), Queued: f.pool.queue.total.Load(), Latency: c.latency.latency(now),
		Status: statusClasses(&c.status), Errors: c.proxyErrors(), Retries: c.retries.total.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(), Backends: f.pool.stats(answers),
	}
	if f.failed != nil {
		s.Error = f.failed.Error()
	}
	return s
}

// logLimit keeps a flood of failures from becoming a flood of lines.
type logLimit struct{ second, n atomic.Int64 }

// linesPerSecond that a frontend writes about failed requests.
const linesPerSecond = 20

func (l *logLimit) allow(now int64) bool {
	second := now / 1e9
	if was := l.second.Load(); was != second && l.second.CompareAndSwap(was, second) {
		l.n.Store(0)
	}
	return l.n.Add(1) <= linesPerSecond
}

func (f *frontend) mayLog() bool { return f.logged.allow(f.clock.now()) }
