package load

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// ReplicaHeader is the header of an answer that names the replica.
const ReplicaHeader = "X-Replica"

// client sends single requests. It is safe for concurrent use.
type client struct {
	req       Request
	proto     *http.Request // copied for each request; never sent itself
	varied    bool          // the URL has {n}
	transport *http.Transport
}

func newClient(c Config) (*client, error) {
	u, err := c.Request.template()
	if err != nil {
		return nil, err
	}
	header := c.Request.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", "flowctl-load")
	}
	proto := &http.Request{
		Method: cmp.Or(c.Request.Method, http.MethodGet), URL: u, Host: header.Get("Host"), Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	cl := &client{req: c.Request, proto: proto, varied: strings.Contains(c.Request.URL, "{n}")}
	dialer := &net.Dialer{Timeout: c.Request.Timeout, ControlContext: control(c.AllowRemote)}
	cl.transport = &http.Transport{
		DialContext:         dialer.DialContext,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: c.SkipVerify}, // the caller's choice; targets are private
		TLSHandshakeTimeout: c.Request.Timeout,
		DisableKeepAlives:   c.NewConnections,
		DisableCompression:  true, // measure what the server sends
		MaxIdleConns:        c.MaxInFlight,
		MaxIdleConnsPerHost: c.MaxInFlight,
		IdleConnTimeout:     30 * time.Second,
	}
	return cl, nil
}

// result is what became of one request.
type result struct {
	kind    kind
	latency time.Duration // from the scheduled arrival
	replica string        // who answered, if it said so
	message string        // of a failure
}

// do sends one request and reads the answer to its end. It goes to the
// transport directly: no cookies, no redirects, no second deadline.
func (c *client) do(ctx context.Context, j job) result {
	ctx, cancel := context.WithTimeout(ctx, c.req.Timeout)
	defer cancel()
	req, err := c.build(ctx, j.n)
	if err != nil {
		return result{kind: kindOther, message: err.Error()}
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return result{kind: classify(err, false), latency: time.Since(j.due), message: say(req, err.Error())}
	}
	defer res.Body.Close()
	r := result{replica: res.Header.Get(ReplicaHeader), kind: statusKind(res.StatusCode)}
	var head []byte
	if r.kind != kindOK {
		head, err = io.ReadAll(io.LimitReader(res.Body, 200))
	}
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
	}
	r.latency = time.Since(j.due)
	if err != nil {
		r.kind, r.message = classify(err, true), say(req, "read answer: "+err.Error())
	} else if r.kind != kindOK {
		r.message = say(req, res.Status+": "+strings.Join(strings.Fields(string(head)), " "))
	}
	return r
}

// build copies the prototype; requests share its header, which the transport only reads.
func (c *client) build(ctx context.Context, n int) (*http.Request, error) {
	req := c.proto.WithContext(ctx)
	if c.varied {
		u, err := c.req.target(n)
		if err != nil {
			return nil, err
		}
		req.URL = u
	}
	if len(c.req.Body) > 0 {
		req.ContentLength = int64(len(c.req.Body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c.req.Body)), nil }
		req.Body, _ = req.GetBody() // cannot fail
	}
	return req, nil
}

func say(req *http.Request, what string) string {
	return fmt.Sprintf("%s %s: %s", req.Method, req.URL, what)
}

func statusKind(code int) kind {
	switch {
	case code >= 500:
		return kindStatus5xx
	case code >= 400:
		return kindStatus4xx
	}
	return kindOK
}

// classify names the kind of an error from the transport, or from reading a
// body once the headers are in.
func classify(err error, inBody bool) kind {
	var netErr net.Error
	var opErr *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return kindCut
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return kindTimeout
	case inBody:
		return kindBody
	case errors.As(err, &opErr) && opErr.Op == "dial":
		return kindConnect
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		strings.Contains(err.Error(), "server closed idle connection"): // no exported value in net/http
		return kindReset
	}
	return kindOther
}
