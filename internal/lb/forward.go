package lb

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"
)

// forwarder is the upstream side of a frontend: it sends a request to a backend,
// and to another if that is allowed and needed.
type forwarder struct{ f *frontend }

// RoundTrip implements http.RoundTripper for requests of exchanges.
func (fw forwarder) RoundTrip(out *http.Request) (*http.Response, error) {
	x := exchangeOf(out.Context())
	var body *bodyShare
	if out.Body != nil && out.Body != http.NoBody {
		if err := x.readSmall(out); err != nil {
			return nil, err
		}
		if x.small == nil {
			body = &bodyShare{src: out.Body}
		}
	}
	for {
		b, err := x.f.pool.acquire(x, &x.want)
		if err != nil {
			return nil, err
		}
		x.b = b
		x.want.tried = append(x.want.tried, b)
		try, err := x.prepare(out, body)
		if err != nil {
			return nil, err
		}
		began := x.want.now
		b.counters.requests.add(began)
		res, err := b.up.Load().roundTrip(x, try)
		if err == nil {
			x.accept(res, began)
			return res, nil
		}
		fail := x.classify(err)
		x.f.pool.punish(b, fail)
		if len(x.want.tried) >= x.cfg.Retry.Attempts ||
			!mayRetry(fail, out.Method, body == nil || body.whole()) || !x.f.spendRetry(x.cfg.Retry) {
			return nil, err
		}
		x.b = nil
		x.f.pool.release(b)
	}
}

// prepare makes the request for x.b: an own copy each time, as an earlier try may
// still be looking at its.
func (x *exchange) prepare(out *http.Request, body *bodyShare) (*http.Request, error) {
	path, raw, ok := x.route.stripPath(x.path, x.rawPath)
	if !ok {
		return nil, &proxyError{badRequest, http.StatusBadRequest, "malformed path"}
	}
	try := out.WithContext(out.Context())
	try.URL = &url.URL{Scheme: "http", Host: x.b.addr, Path: path, RawPath: raw, RawQuery: out.URL.RawQuery, ForceQuery: out.URL.ForceQuery}
	x.rewind(try)
	if body != nil {
		t := body.next()
		if t == nil {
			return nil, errors.New("bug: retry of a body that is gone")
		}
		try.Body = t
	}
	return try, nil
}

// roundTrip sends a request over the connections that suit it: HTTP/2 if the
// backend speaks it, but upgrades are HTTP/1.1's own.
func (u *upstream) roundTrip(x *exchange, try *http.Request) (*http.Response, error) {
	switch {
	case u.h2 == nil && x.isPlain(try):
		return u.wires.roundTrip(x, try)
	case u.h2 == nil || try.Header["Upgrade"] != nil:
		return u.h1.RoundTrip(try)
	case x.isStream:
		return u.grpc.RoundTrip(try)
	default:
		return u.h2.RoundTrip(try)
	}
}

// accept takes over an answer: it is the one that the client gets.
func (x *exchange) accept(res *http.Response, began int64) {
	b, now := x.b, x.f.clock.now()
	took := time.Duration(now - began)
	b.latency.observe(now, took)
	b.counters.latency.record(now, took)
	b.counters.answers.record(took)
	countStatus(&b.counters.status, res.StatusCode)
	countStatus(&x.f.counters.status, res.StatusCode)
	x.f.pool.judge(b, res.StatusCode)
	x.status = res.StatusCode
	x.want.tried = nil // the log shall not name it as failed
	if x.cfg.Sticky != nil {
		x.stick(res)
	}
	x.isStream = x.isStream || isStream(res)
	idle := x.cfg.Timeouts.Idle.limit()
	if x.isStream {
		idle = x.cfg.Timeouts.Stream.limit()
		x.leave = b.streams.add(&stream{cut: func() { x.cancel(errCut) }})
		if x.total != nil {
			x.total.Stop()
		}
	}
	switch body := res.Body.(type) {
	case *wireBody:
		body.idle = idle
	default:
		x.watch(res, idle)
	}
}

// watch keeps an eye on the progress of an answer that comes by a Transport.
func (x *exchange) watch(res *http.Response, idle time.Duration) {
	if res.Body == http.NoBody {
		return
	}
	if idle > 0 {
		x.stalled = time.AfterFunc(idle, func() { x.cancel(errStalled) })
	}
	a := &answerBody{x: x, res: res, src: res.Body, idle: idle}
	res.Body = a
	if rw, ok := a.src.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols {
		res.Body = &upgradedBody{a, rw}
	}
}

// isStream reports whether an answer is one that may go on for long.
func isStream(res *http.Response) bool {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return true
	}
	ct := res.Header.Get("Content-Type")
	if len(ct) < len("text/event-stream") || ct[0] != 't' && ct[0] != 'T' {
		return false
	}
	mt, _, _ := mime.ParseMediaType(ct)
	return mt == "text/event-stream"
}

// answerBody is the body of an answer, with an eye on its progress.
type answerBody struct {
	x    *exchange
	res  *http.Response
	src  io.ReadCloser
	idle time.Duration
}

func (a *answerBody) progress() {
	if a.idle > 0 {
		a.x.stalled.Reset(a.idle)
	}
}

func (a *answerBody) Read(p []byte) (int, error) {
	a.x.flush(a.res)
	n, err := a.src.Read(p)
	if err == nil {
		a.progress()
	} else if err != io.EOF {
		err = a.x.answerFailed(err)
	}
	return n, err
}

func (a *answerBody) Close() error { return a.src.Close() }

// flush gives the client what has come of an answer of known length, before the
// next read has to wait for more of it. ReverseProxy flushes the others itself.
func (x *exchange) flush(res *http.Response) {
	if x.flushes++; x.flushes > 1 && res.ContentLength > 0 {
		http.NewResponseController(x.w).Flush()
	}
}

// answerFailed notes that the answer broke off, and whose fault it is.
func (x *exchange) answerFailed(err error) error {
	switch {
	case x.Err() != nil:
	case isTimeout(err):
		err = errStalled
		x.f.pool.punish(x.b, failedTimeout)
	default:
		x.f.pool.punish(x.b, failedReset)
	}
	x.answerErr = err
	return err
}

// upgradedBody is both directions of an upgraded connection.
type upgradedBody struct {
	*answerBody
	rw io.ReadWriteCloser
}

func (u *upgradedBody) Read(p []byte) (int, error) {
	n, err := u.rw.Read(p)
	u.progress()
	return n, err
}

func (u *upgradedBody) Write(p []byte) (int, error) {
	n, err := u.rw.Write(p)
	u.progress()
	return n, err
}

// CloseWrite passes the client's half-close on.
func (u *upgradedBody) CloseWrite() error {
	return u.rw.(interface{ CloseWrite() error }).CloseWrite()
}
