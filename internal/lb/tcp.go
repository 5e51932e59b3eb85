package lb

import (
	"errors"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
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
			b.counters.answers.record(took)
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

const (
	// tunnelTick is how often a tunnel looks whether it has been idle too long.
	tunnelTick = 5 * time.Second
	// tunnelBurst is how often one that carries something counts it, and how soon
	// one that does not any more gives back the kernel pipe it was spliced by.
	tunnelBurst = 250 * time.Millisecond
)

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
// ends both directions.
func (t *tunnel) carry(dst, src *net.TCPConn, counts [2]*atomic.Uint64) {
	for t.awaitBytes(src) {
		ended, ok := t.splice(dst, src, counts)
		if ended {
			dst.CloseWrite()
			return
		}
		if !ok {
			break
		}
	}
	dst.Close()
	src.Close()
}

// awaitBytes waits until src has bytes or has ended; false if it failed, or
// neither direction has moved for the idle time.
func (t *tunnel) awaitBytes(src *net.TCPConn) bool {
	raw, err := src.SyscallConn()
	if err != nil {
		return false
	}
	tick := t.within(tunnelTick)
	for {
		src.SetReadDeadline(time.Now().Add(tick))
		err := raw.Read(func(fd uintptr) bool {
			var b [1]byte
			_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			return err != syscall.EAGAIN
		})
		if err == nil {
			return true
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || t.idle > 0 && time.Now().UnixNano()-t.last.Load() >= int64(t.idle) {
			return false
		}
	}
}

// within is d, or a part of the idle time that sees its end soon enough.
func (t *tunnel) within(d time.Duration) time.Duration {
	if t.idle > 0 {
		return min(d, t.idle/4)
	}
	return d
}

// splice lets the kernel move bytes until none have come for a tunnelBurst. The
// only way to see progress is to interrupt it by a deadline: that for reads
// interrupts between bytes and loses none; that for writes is hit only when dst
// has taken nothing for the idle time.
func (t *tunnel) splice(dst, src *net.TCPConn, counts [2]*atomic.Uint64) (ended, ok bool) {
	burst := t.within(tunnelBurst)
	for {
		now := time.Now()
		writeBy := now.Add(t.idle + burst)
		src.SetReadDeadline(now.Add(burst))
		if t.idle > 0 {
			dst.SetWriteDeadline(writeBy)
		}
		n, err := dst.ReadFrom(src)
		counts[0].Add(uint64(n))
		counts[1].Add(uint64(n))
		if n > 0 {
			t.last.Store(time.Now().UnixNano())
		}
		switch {
		case err == nil:
			return true, true
		case !errors.Is(err, os.ErrDeadlineExceeded), t.idle > 0 && !time.Now().Before(writeBy):
			return false, false
		case n == 0:
			return false, true
		}
	}
}
