package lb

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// gate bounds the open connections of a frontend. Its accept loop waits at it
// before each accept.
type gate struct {
	mu     sync.Mutex
	free   sync.Cond // n went below max, max rose, or closed
	n, max int
	closed bool
}

func newGate() *gate {
	g := &gate{}
	g.free.L = &g.mu
	return g
}

// enter counts a connection in; it waits while there are too many, and returns
// false once the gate is closed.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.max > 0 && g.n >= g.max && !g.closed {
		g.free.Wait()
	}
	if !g.closed {
		g.n++
	}
	return !g.closed
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n--
	g.free.Broadcast()
}

func (g *gate) setMax(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.max = n
	g.free.Broadcast()
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.free.Broadcast()
}

// clientConn is a client's connection to an HTTP frontend. It counts bytes, and
// a write to a client that takes nothing fails after a while.
type clientConn struct {
	net.Conn // not a *net.TCPConn, whose ReadFrom would go past Write
	f        *frontend
	done     func() // called once, at the first Close
	closed   atomic.Bool
	writeBy  lazyDeadline
}

// lazyDeadline spares most calls that move a deadline on: it is kept between one
// and nine eighths of the time asked for ahead.
type lazyDeadline struct{ at time.Time }

// extend makes sure that the deadline is d ahead, or up to an eighth more.
func (l *lazyDeadline) extend(d time.Duration, set func(time.Time) error) {
	now := time.Now()
	if left := l.at.Sub(now); left < d || left > d+d/8 {
		l.at = now.Add(d + d/8)
		set(l.at)
	}
}

// clear takes the deadline off.
func (l *lazyDeadline) clear(set func(time.Time) error) {
	if !l.at.IsZero() {
		l.at = time.Time{}
		set(l.at)
	}
}

func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.f.counters.bytesIn.Add(uint64(n))
	return n, err
}

func (c *clientConn) Write(p []byte) (int, error) {
	if d := c.f.writeLimit.Load(); d > 0 {
		c.writeBy.extend(time.Duration(d), c.Conn.SetWriteDeadline)
	}
	n, err := c.Conn.Write(p)
	c.f.counters.bytesOut.Add(uint64(n))
	return n, err
}

// SetWriteDeadline and SetDeadline leave the deadline for writes to Write;
// net/http would take it off after each request.
func (c *clientConn) SetWriteDeadline(time.Time) error  { return nil }
func (c *clientConn) SetDeadline(t time.Time) error     { return c.Conn.SetReadDeadline(t) }
func (c *clientConn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(t) }

// CloseWrite passes a backend's half-close on, for upgraded connections.
func (c *clientConn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

func (c *clientConn) Close() error {
	if !c.closed.Swap(true) {
		defer c.done()
	}
	return c.Conn.Close()
}

// feed is a net.Listener of connections that were accepted elsewhere, so that a
// frontend can change its http.Server and keep its socket.
type feed struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newFeed() *feed {
	return &feed{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *feed) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// put hands over a connection, or reports that nobody takes it any more.
func (l *feed) put(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.done:
		return false
	}
}

func (l *feed) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *feed) Addr() net.Addr { return &net.TCPAddr{} } // asked for by nobody
