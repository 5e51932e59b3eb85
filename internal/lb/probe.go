package lb

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// probeHead is how much of an answer's head is read at most.
const probeHead = 256 << 10

var probeReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 1<<10) }}

// http1Probe fetches the health path on a connection of its own each time, as a new
// client would. A check of each backend each second is most of what a plane at rest
// does: so it is one goroutine's work, and takes a third of what net/http takes for it.
func http1Probe(b *backend, h *Health, timeout time.Duration) func(context.Context) error {
	req, err := probeRequest(context.Background(), b, h)
	if err != nil {
		return func(context.Context) error { return err }
	}
	req.Close = true
	var text bytes.Buffer
	if err := req.Write(&text); err != nil {
		return func(context.Context) error { return err }
	}
	d := net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1}
	return func(ctx context.Context) error {
		by := time.Now().Add(timeout)
		c, err := d.DialContext(ctx, "tcp", b.addr)
		if err != nil {
			return &dialError{err}
		}
		defer c.Close()
		c.SetDeadline(by)
		defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
		if _, err := c.Write(text.Bytes()); err != nil {
			return err
		}
		status, err := readStatus(c, req)
		if err != nil {
			return fmt.Errorf("GET %s: %w", h.Path, err)
		}
		return h.judge(status)
	}
}

// readStatus reads an answer's head, after those that only say that it will come.
func readStatus(c net.Conn, req *http.Request) (int, error) {
	r := probeReaders.Get().(*bufio.Reader)
	r.Reset(io.LimitReader(c, probeHead))
	defer func() {
		r.Reset(nil)
		probeReaders.Put(r)
	}()
	for {
		res, err := http.ReadResponse(r, req)
		if err != nil {
			return 0, err
		}
		if res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return res.StatusCode, nil
		}
	}
}

// http2Probe is http1Probe for a backend that speaks HTTP/2 alone.
func http2Probe(b *backend, h *Health, timeout time.Duration) func(context.Context) error {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true, Protocols: &protocols},
	}
	return func(ctx context.Context) error {
		var connected atomic.Bool
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
		req, err := probeRequest(ctx, b, h)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil && !connected.Load() {
			return &dialError{err}
		}
		if err != nil {
			return err
		}
		defer res.Body.Close()
		return h.judge(res.StatusCode)
	}
}

func probeRequest(ctx context.Context, b *backend, h *Health) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.addr+h.Path, nil)
	if err == nil {
		req.Header.Set("User-Agent", "flowctl-health")
	}
	return req, err
}

// judge says whether a status is one that is wanted.
func (h *Health) judge(status int) error {
	low, high, _ := parseStatuses(h.Status)
	if status < low || status > high {
		return fmt.Errorf("status %d, want %d to %d", status, low, high)
	}
	return nil
}
