package lb

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// exchange is one HTTP request on its way. It is the request's context, so that
// the round trip finds it. Only the handler's goroutine uses it, except where
// said otherwise.
type exchange struct {
	context.Context // ended with a cause by cancel
	cancel          context.CancelCauseFunc

	f     *frontend
	w     http.ResponseWriter
	cfg   *config     // when the request began
	want              // what its backends are chosen by
	start int64       // ns of the clock
	body  *clientBody // nil without one
	small []byte      // all of it, if it was read ahead

	b         *backend // counted in, or nil
	status    int      // of the answer that is passed on; 0 before
	isStream  bool     // see Timeouts.Stream
	rawPath   string
	leave     func()      // takes the stream off its backend's list
	total     *time.Timer // Timeouts.Total
	stalled   *time.Timer // Timeouts.Idle of the answer
	tries     [4]*backend // memory of want.tried
	answerErr error       // why the answer was cut short
	flushes   int         // reads of the answer that may have had to wait
}

type exchangeKey struct{}

// Value makes the exchange findable in contexts made from it.
func (x *exchange) Value(key any) any {
	if key == (exchangeKey{}) {
		return x
	}
	return x.Context.Value(key)
}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// newProxy is the protocol side: it copies heads, bodies, trailers, upgrades and
// 1xx answers both ways and removes hop-by-hop fields.
func newProxy(rt http.RoundTripper) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:    rewrite,
		Transport:  rt,
		BufferPool: buffers{},
		ErrorLog:   log.New(io.Discard, "", 0), // exchange.end logs
		ModifyResponse: func(res *http.Response) error {
			x := exchangeOf(res.Request.Context())
			x.w.Header()["Content-Type"] = nil // if the backend says none, net/http shall not guess one
			if x.body != nil && res.StatusCode != http.StatusSwitchingProtocols {
				x.body.answerComes(x, res.Header)
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			x := exchangeOf(r.Context())
			x.answer(x.blame(err), err)
		},
	}
}

// buffers lends the memory that bodies are copied through.
type buffers struct{}

var bufferPool = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func (buffers) Get() []byte  { return bufferPool.Get().(*[32 << 10]byte)[:] }
func (buffers) Put(b []byte) { bufferPool.Put((*[32 << 10]byte)(b)) }

// ServeHTTP carries one request.
func (f *frontend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := f.begin(w, r)
	defer x.end()
	if !r.ProtoAtLeast(1, 1) {
		w.Header().Set("Connection", "close") // framing of HTTP/1.0 bodies is not agreed upon well enough to read on
	}
	if e := x.refuse(r); e != nil {
		x.answer(e, nil)
		return
	}
	r = r.WithContext(x)
	if r.Body != nil && r.Body != http.NoBody {
		x.body = newClientBody(x, r)
		r.Body = x.body
	}
	f.proxy.ServeHTTP(w, r)
}

func (f *frontend) begin(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{f: f, w: w, cfg: f.pool.state.Load().cfg, start: f.clock.now()}
	x.Context, x.cancel = context.WithCancelCause(r.Context())
	x.req, x.path, x.rawPath = r, r.URL.Path, r.URL.RawPath
	x.want.tried = x.tries[:0]
	f.counters.inFlight.Add(1)
	f.counters.requests.add(x.start)
	if x.cfg.Balance == Hash {
		x.key, x.hasKey = requestKey(x.cfg.keyKind, x.cfg.keyName, r)
	}
	if x.cfg.Sticky != nil {
		if c, err := r.Cookie(x.cfg.Sticky.Cookie); err == nil {
			x.sticky = c.Value
		}
	}
	x.isStream = strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
	if d := x.cfg.Timeouts.Total.limit(); d > 0 && !x.isStream {
		x.total = time.AfterFunc(d, func() { x.cancel(errTotal) })
	}
	return x
}

// refuse looks at what net/http lets through and two servers could read
// differently, or that is above a limit.
func (x *exchange) refuse(r *http.Request) *proxyError {
	fields := 0
	for _, v := range r.Header {
		fields += len(v)
	}
	switch {
	case fields > maxHeaderFields:
		return &proxyError{badRequest, http.StatusRequestHeaderFieldsTooLarge, "too many header fields"}
	case r.Host != "" && !validHost(r.Host):
		return &proxyError{badRequest, http.StatusBadRequest, "malformed host"}
	case r.Method == http.MethodConnect:
		return &proxyError{badRequest, http.StatusMethodNotAllowed, "no tunnels"}
	case r.URL.Opaque != "" || r.URL.Path != "" && r.URL.Path[0] != '/' && r.RequestURI != "*":
		return &proxyError{badRequest, http.StatusBadRequest, "malformed target"}
	case x.cfg.MaxBodyBytes > 0 && r.ContentLength > x.cfg.MaxBodyBytes:
		return errBodyLarge
	}
	if up := r.Header.Get("Upgrade"); up != "" && strings.Contains(strings.ToLower(up), "h2c") {
		r.Header.Del("Upgrade") // an h2c tunnel would carry requests past routes and limits
		r.Header.Del("Http2-Settings")
	}
	return nil
}

// answer gives the client an error of the data plane's own. err, if not nil, is
// logged under an id that the client is told.
func (x *exchange) answer(e *proxyError, err error) {
	x.f.counters.errors[e.reason].Add(1)
	if e.reason == clientGone {
		panic(http.ErrAbortHandler) // nobody is there to read an answer
	}
	x.status = e.status
	text := fmt.Sprintf("%d %s", e.status, e.text)
	if err != nil && e.status >= 500 && err != error(e) {
		id := fmt.Sprintf("%08x", rand.Uint32())
		text += ", error " + id
		x.logFailure(id, e, err)
	}
	h := x.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if e.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	x.w.WriteHeader(e.status)
	io.WriteString(x.w, text+"\n")
}

func (x *exchange) logFailure(id string, e *proxyError, err error) {
	if !x.f.mayLog() {
		return
	}
	last := ""
	if n := len(x.want.tried); n > 0 {
		last = x.want.tried[n-1].id
	}
	x.f.log.Warn("request failed", "id", id, "status", e.status, "backend", last, "tries", len(x.want.tried), "method", x.req.Method, "err", err)
}

// end counts the request out whatever became of it. A panic becomes an answer,
// or the end of the connection if an answer has begun.
func (x *exchange) end() {
	p := recover()
	if p == http.ErrAbortHandler {
		x.countCut() // before cancel, which would look like the client's leaving
	}
	x.cancel(context.Canceled)
	for _, t := range []*time.Timer{x.total, x.stalled} {
		if t != nil {
			t.Stop()
		}
	}
	if x.leave != nil {
		x.leave()
	}
	if x.b != nil {
		x.f.pool.release(x.b)
	}
	c := &x.f.counters
	x.f.done()
	if now := x.f.clock.now(); !x.isStream {
		c.latency.record(now, time.Duration(now-x.start))
	}
	switch p {
	case nil:
		return
	case http.ErrAbortHandler:
		panic(p)
	}
	c.errors[panicked].Add(1)
	x.f.log.Error("bug: panic in a request", "panic", p, "stack", string(debug.Stack()))
	if x.status != 0 {
		panic(http.ErrAbortHandler)
	}
	x.status = errPanic.status
	http.Error(x.w, "500 "+errPanic.text, errPanic.status)
}

// countCut notes why an answer that had begun did not come to its end.
func (x *exchange) countCut() {
	if x.status == 0 {
		return // counted by answer
	}
	e := x.blame(x.answerErr)
	if x.answerErr == nil {
		e = errClientGone // the copy failed, but not for want of an answer
	}
	x.f.counters.errors[e.reason].Add(1)
	if e.reason != clientGone && x.f.mayLog() {
		x.f.log.LogAttrs(x.Context, slog.LevelWarn, "answer cut short", slog.String("backend", x.b.id), slog.String("reason", e.text), slog.Any("err", x.answerErr))
	}
}
