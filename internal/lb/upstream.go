package lb

import (
	"context"
	"net"
	"net/http"
	"time"
)

// upstream are the connections to one backend, with the limits they were made
// with. A change of limits makes another.
type upstream struct {
	wires    *wires          // nil on a TCP frontend, as h1
	h1       *http.Transport // for what wires do not carry
	h2, grpc *http.Transport // nil unless the backend speaks HTTP/2; grpc waits for an answer's head without limit
	dialer   net.Dialer
}

func newUpstream(b *backend, cfg *config) *upstream {
	u := &upstream{dialer: net.Dialer{Timeout: cfg.Timeouts.Connect.limit(), KeepAlive: 15 * time.Second}}
	if cfg.Protocol == TCP {
		return u
	}
	u.wires = &wires{u: u, b: b}
	u.h1 = u.transport(b, cfg, false)
	if b.h2c {
		u.h2, u.grpc = u.transport(b, cfg, true), u.transport(b, cfg, true)
		u.grpc.ResponseHeaderTimeout = 0
	}
	return u
}

func (u *upstream) transport(b *backend, cfg *config, h2c bool) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(!h2c)
	protocols.SetUnencryptedHTTP2(h2c)
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return u.dial(ctx, b)
		},
		MaxIdleConnsPerHost:    upstreamIdleMax,
		IdleConnTimeout:        upstreamIdle,
		ResponseHeaderTimeout:  cfg.Timeouts.Header.limit(),
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true,
		Protocols:              &protocols,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// dial opens a connection to the backend; its errors are *dialError.
func (u *upstream) dial(ctx context.Context, b *backend) (net.Conn, error) {
	c, err := u.dialer.DialContext(ctx, "tcp", b.addr)
	if err != nil {
		return nil, &dialError{err}
	}
	return &upConn{Conn: c, b: b}, nil
}

// close closes the idle connections, and those in use when they become idle.
func (u *upstream) close() {
	if u.wires != nil {
		u.wires.close()
	}
	for _, t := range []*http.Transport{u.h1, u.h2, u.grpc} {
		if t != nil {
			t.CloseIdleConnections()
		}
	}
}

// abandon gives up what waits for a backend where nothing answers any more.
func (u *upstream) abandon() {
	if u.wires != nil {
		u.wires.abandon()
	}
}

// dialError says that no connection came about, so that nothing was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// upConn counts a backend's bytes.
type upConn struct {
	net.Conn
	b *backend
}

func (c *upConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.b.counters.bytesIn.Add(uint64(n))
	return n, err
}

func (c *upConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.b.counters.bytesOut.Add(uint64(n))
	return n, err
}

// CloseWrite passes a half-close on, for upgraded connections.
func (c *upConn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}
