package lb

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// wires are the HTTP/1.1 connections to one backend for plain requests: those
// without a body, or with a small one that is in memory. One goroutine writes
// the request and reads the answer, which saves half of the CPU that
// http.Transport takes for it with three. Heads and bodies are written and read
// by net/http (Request.Write, ReadResponse).
//
// What is not plain goes through http.Transport: large or endless bodies,
// upgrades, Expect, request trailers, HTTP/2.
type wires struct {
	u *upstream
	b *backend

	mu     sync.Mutex // guards what follows
	open   map[*wire]struct{}
	idle   []*wire // of those, the one used last comes last
	sweep  *time.Timer
	closed bool
}

// wire is one connection. One goroutine uses it at a time.
type wire struct {
	net.Conn
	ws     *wires
	raw    syscall.RawConn
	r      *bufio.Reader
	w      *bufio.Writer
	left   int64     // bytes that may still be read
	heard  bool      // something of the present answer came
	reused bool      // it has carried a request before
	since  time.Time // when it became idle
	readBy lazyDeadline

	// waits is set while a request that may be sent twice waits for its answer's head.
	// Who resets it decides what becomes of the request.
	waits atomic.Bool
}

const (
	maxAnswerHead = 256 << 10 // bytes, interim answers included
	maxInterim    = 8         // 1xx answers before the final one
)

var (
	errAnswerHead = errors.New("head of answer is too large")
	errInterim    = errors.New("too many interim answers, or one that was not asked for")
	errSilent     = errors.New("nothing answers at the backend's address any more")
)

// brokenAnswer says that an answer began and its head did not end well.
type brokenAnswer struct{ err error }

func (e *brokenAnswer) Error() string { return "broken answer: " + e.err.Error() }
func (e *brokenAnswer) Unwrap() error { return e.err }

// isPlain reports whether a request may go over a wire.
func (x *exchange) isPlain(try *http.Request) bool {
	return (try.Body == nil || try.Body == http.NoBody || x.small != nil) && len(try.Trailer) == 0 &&
		try.Header["Upgrade"] == nil && try.Header["Expect"] == nil
}

// roundTrip sends one request. A connection that turns out to have been closed
// by the backend while idle is replaced, if the request may be sent twice.
func (ws *wires) roundTrip(x *exchange, req *http.Request) (*http.Response, error) {
	for {
		c, err := ws.get(x)
		if err != nil {
			return nil, err
		}
		res, err := c.exchange(x, req)
		if err == nil {
			return res, nil
		}
		c.Close()
		if c.heard {
			return nil, &brokenAnswer{err}
		}
		if !c.reused || x.Err() != nil || !idempotent(req.Method) || isTimeout(err) || errors.Is(err, errSilent) {
			return nil, err
		}
		x.rewind(req)
	}
}

// get takes an idle connection that still lives, or opens one.
func (ws *wires) get(ctx context.Context) (*wire, error) {
	for {
		c := ws.pop()
		if c == nil {
			break
		}
		if c.quiet() {
			return c, nil
		}
		c.Close()
	}
	nc, err := ws.u.dialer.DialContext(ctx, "tcp", ws.b.addr)
	if err != nil {
		return nil, &dialError{err}
	}
	c := &wire{Conn: nc, ws: ws}
	c.raw, _ = nc.(*net.TCPConn).SyscallConn()
	c.r, c.w = bufio.NewReader(c), bufio.NewWriter(c)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.open == nil {
		ws.open = map[*wire]struct{}{}
	}
	ws.open[c] = struct{}{}
	return c, nil
}

// Close closes the connection for good.
func (c *wire) Close() error {
	c.ws.mu.Lock()
	defer c.ws.mu.Unlock()
	return c.ws.drop(c)
}

// drop closes a connection. The caller holds mu.
func (ws *wires) drop(c *wire) error {
	delete(ws.open, c)
	return c.Conn.Close()
}

// abandon gives up the connections to a backend where nothing answers any more: those
// that are idle, and those of requests that may be sent to another. What may not waits
// on.
func (ws *wires) abandon() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, c := range ws.idle {
		ws.drop(c)
	}
	ws.idle = nil
	for c := range ws.open {
		if c.waits.CompareAndSwap(true, false) {
			ws.drop(c)
		}
	}
}

func (ws *wires) pop() *wire {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.idle) == 0 {
		return nil
	}
	c := ws.idle[len(ws.idle)-1]
	ws.idle = ws.idle[:len(ws.idle)-1]
	return c
}

// put keeps c for the next request.
func (ws *wires) put(c *wire) {
	c.since, c.reused = time.Now(), true
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed || len(ws.idle) >= upstreamIdleMax {
		ws.drop(c)
		return
	}
	ws.idle = append(ws.idle, c)
	if ws.sweep == nil {
		ws.sweep = time.AfterFunc(upstreamIdle, ws.expire)
	}
}

// expire closes the connections that have been idle for too long, and comes
// back while there are others.
func (ws *wires) expire() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	now := time.Now()
	n := 0
	for n < len(ws.idle) && now.Sub(ws.idle[n].since) >= upstreamIdle {
		ws.drop(ws.idle[n])
		n++
	}
	ws.idle = append(ws.idle[:0], ws.idle[n:]...)
	ws.sweep = nil
	if len(ws.idle) > 0 {
		ws.sweep = time.AfterFunc(max(upstreamIdle/8, upstreamIdle-now.Sub(ws.idle[0].since)), ws.expire)
	}
}

// close closes the idle connections, and those in use when they are done.
func (ws *wires) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	for _, c := range ws.idle {
		ws.drop(c)
	}
	ws.idle = nil
	if ws.sweep != nil {
		ws.sweep.Stop()
	}
}

// quiet reports whether an idle connection is open with nothing to read. What a
// backend sends unasked must not become the answer to somebody's request.
func (c *wire) quiet() bool {
	quiet := false
	err := c.raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN
	})
	return err == nil && quiet && c.r.Buffered() == 0
}

// Read reads from the connection within c.left.
func (c *wire) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errAnswerHead
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.Conn.Read(p)
	c.left -= int64(n)
	c.ws.b.counters.bytesIn.Add(uint64(n))
	return n, err
}

func (c *wire) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.ws.b.counters.bytesOut.Add(uint64(n))
	return n, err
}

// within gives reads d from now; 0 is no limit. Writes need none: a connection
// that is used again has an empty send buffer, larger than any plain request.
func (c *wire) within(d time.Duration) {
	if d > 0 {
		c.readBy.extend(d, c.Conn.SetReadDeadline)
	} else {
		c.readBy.clear(c.Conn.SetReadDeadline)
	}
}

// interrupt ends what c waits for.
func (c *wire) interrupt() { c.SetDeadline(time.Unix(1, 0)) }

// exchange sends req and reads the head of its answer.
func (c *wire) exchange(x *exchange, req *http.Request) (*http.Response, error) {
	c.within(x.cfg.Timeouts.Header.limit())
	stop := context.AfterFunc(x, c.interrupt)
	c.heard, c.left = false, maxAnswerHead
	again := idempotent(req.Method)
	c.waits.Store(again)
	err := req.Write(c.w)
	if err == nil {
		err = c.w.Flush()
	}
	var res *http.Response
	if err == nil {
		res, err = c.readHead(x, req)
	}
	if again && !c.waits.CompareAndSwap(true, false) {
		err = errSilent
	}
	if err != nil {
		stop()
		return nil, err
	}
	c.left = math.MaxInt64
	body := &wireBody{c: c, x: x, res: res, src: res.Body, stop: stop}
	if res.Body == http.NoBody || res.ContentLength == 0 {
		body.end(true)
		res.Body = http.NoBody
		return res, nil
	}
	body.whole = res.ContentLength > 0 && int64(c.r.Buffered()) >= res.ContentLength
	res.Body = body
	return res, nil
}

// readHead reads up to the final answer's head; interim ones are passed on.
func (c *wire) readHead(x *exchange, req *http.Request) (*http.Response, error) {
	for range maxInterim {
		if _, err := c.r.Peek(1); err != nil {
			return nil, err
		}
		c.heard = true
		res, err := http.ReadResponse(c.r, req)
		if err != nil || res.StatusCode >= 200 {
			return res, err
		}
		if res.StatusCode == http.StatusSwitchingProtocols {
			break
		}
		if t := httptrace.ContextClientTrace(req.Context()); t != nil && t.Got1xxResponse != nil {
			if err := t.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
		}
	}
	return nil, errInterim
}

// wireBody is the body of an answer. Its end, or its Close, gives the connection
// back or closes it.
type wireBody struct {
	c     *wire
	x     *exchange
	res   *http.Response
	src   io.ReadCloser
	stop  func() bool
	idle  time.Duration // 0 is no limit
	whole bool          // all of it is in memory
	ended bool
}

func (b *wireBody) Read(p []byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	if !b.whole {
		b.c.within(b.idle)
		if b.x.Err() != nil { // the interrupt may have come before the deadline was set
			b.end(false)
			return 0, b.x.answerFailed(context.Cause(b.x))
		}
		b.x.flush(b.res)
	}
	n, err := b.src.Read(p)
	switch {
	case err == io.EOF:
		b.end(true)
	case err != nil:
		b.end(false)
		err = b.x.answerFailed(err)
	}
	return n, err
}

// Close gives up what was not read.
func (b *wireBody) Close() error {
	b.end(false)
	return nil
}

// end is done with the answer. The connection can be used again if the answer
// was read to its end, the backend keeps it open, and nothing follows.
func (b *wireBody) end(whole bool) {
	if b.ended {
		return
	}
	b.ended = true
	uninterrupted := b.stop()
	if whole && uninterrupted && !b.res.Close && b.c.r.Buffered() == 0 {
		b.c.ws.put(b.c)
	} else {
		b.c.Close()
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
