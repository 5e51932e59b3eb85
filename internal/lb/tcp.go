package lb

import (
	"errors"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// serveTCP carries one connection of a TCP frontend. It closes client.
func (f *frontend) serveTCP(client *net.TCPConn) {
	defer client.Close()
	c := &f.counters
	c.inFlight.Add(1)
	defer f.done()
	defer func() {
		if p := recover(); p != nil {
			c.errors[panicked].Add(1)
			f.log.Error("bug: panic in a connection", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	c.requests.add(f.clock.now())
	w := &want{}
	w.key, w.hasKey = sourceKey(client.RemoteAddr().String())
	b, up, err := f.connect(w)
	if err != nil {
		f.tcpFailed(w, err)
		return
	}
	defer f.pool.release(b)
	defer up.Close()
	defer b.streams.add(&stream{cut: func() { client.Close(); up.Close() }})()
	idle := f.pool.state.Load().cfg.Timeouts.Stream.limit()
	t := &tunnel{idle: idle, in: [2]*atomic.Uint64{&c.bytesIn, &b.counters.bytesIn}, out: [2]*atomic.Uint64{&c.bytesOut, &b.counters.bytesOut}}
	t.run(client, up)
}

// connect finds a backend that takes a connection, and counts it in.
func (f *frontend) connect(w *want) (*backend, *net.TCPConn, error) {
	for {
		b, err := f.pool.acquire(f.ctx, w)
		if err != nil {
			return nil, nil, err
		}
		w.tried = append(w.tried, b)
		began := f.clock.now()
		b.counters.requests.add(began)
		up, err := b.up.Load().dialer.DialContext(f.ctx, "tcp", b.addr)
		if now := f.clock.now(); err == nil {
			took := time.Duration(now - began)
			b.latency.observe(now, took)
			b.counters.latency.record(now, took)
			b.strikes.Store(0)
			return b, up.(*net.TCPConn), nil
		}
		f.pool.punish(b, failedConnect)
		f.pool.release(b)
		if retry := f.pool.state.Load().cfg.Retry; len(w.tried) >= retry.Attempts || !f.spendRetry(retry) {
			return nil, nil, err
		}
	}
}

func (f *frontend) tcpFailed(w *want, err error) {
	e := errUpstream
	errors.As(err, &e)
	f.counters.errors[e.reason].Add(1)
	if f.mayLog() {
		f.log.Warn("connection failed", "tries", len(w.tried), "err", err)
	}
}

// tunnel carries bytes both ways until both sides have ended, one has failed, or
// nothing has moved for the idle time.
type tunnel struct {
	idle    time.Duration // 0 is no limit
	in, out [2]*atomic.Uint64
	last    atomic.Int64 // when something moved, Unix ns
}

// tunnelTick is how often a tunnel that carries something counts it.
const tunnelTick = 5 * time.Second

func (t *tunnel) run(client, up *net.TCPConn) {
	t.last.Store(time.Now().UnixNano())
	back := make(chan struct{})
	go func() {
		defer close(back)
		t.carry(client, up, [2]*atomic.Uint64{t.in[1], t.out[0]})
	}()
	t.carry(up, client, [2]*atomic.Uint64{t.in[0], t.out[1]})
	<-back
}

// carry copies from src to dst and passes the end on as a half-close. A failure
// ends both directions. The kernel moves the bytes (splice), so that the only
// way to see progress is to interrupt it by a deadline: one for reads interrupts
// between bytes, losing none; one for writes is hit only when dst has taken
// nothing for the idle time.
func (t *tunnel) carry(dst, src *net.TCPConn, counts [2]*atomic.Uint64) {
	tick := tunnelTick
	if t.idle > 0 {
		tick = min(tick, t.idle/4)
	}
	for {
		now := time.Now()
		src.SetReadDeadline(now.Add(tick))
		if t.idle > 0 {
			dst.SetWriteDeadline(now.Add(t.idle + tick))
		}
		n, err := dst.ReadFrom(src)
		counts[0].Add(uint64(n))
		counts[1].Add(uint64(n))
		if n > 0 {
			t.last.Store(time.Now().UnixNano())
		}
		if err == nil {
			dst.CloseWrite()
			return
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || t.over(now.Add(t.idle+tick)) {
			dst.Close()
			src.Close()
			return
		}
	}
}

// over reports whether a deadline was the write's, or nothing moves any more.
func (t *tunnel) over(writeBy time.Time) bool {
	now := time.Now()
	return t.idle > 0 && (!now.Before(writeBy) || now.UnixNano()-t.last.Load() >= int64(t.idle))
}
