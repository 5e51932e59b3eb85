package lb

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load sends requests from several workers until stop, half of them each on a
// new connection, and collects what failed.
type load struct {
	url      string
	methods  []string
	sent     atomic.Int64
	mu       sync.Mutex
	failures []string
	stop     chan struct{}
	workers  sync.WaitGroup
}

func startLoad(t *testing.T, url string, methods ...string) *load {
	l := &load{url: url, methods: methods, stop: make(chan struct{})}
	for i := range 8 {
		l.workers.Go(func() { l.work(i%2 == 0) })
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) work(keepAlive bool) {
	tr := &http.Transport{DisableKeepAlives: !keepAlive}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: 20 * time.Second}
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		default:
		}
		method := l.methods[i%len(l.methods)]
		var body io.Reader
		if method == "POST" {
			body = strings.NewReader("body")
		}
		req, _ := http.NewRequestWithContext(context.Background(), method, l.url, body)
		if err := l.try(c, req); err != nil {
			l.mu.Lock()
			l.failures = append(l.failures, fmt.Sprintf("%s (keep-alive %t): %v", method, keepAlive, err))
			l.mu.Unlock()
		}
		l.sent.Add(1)
	}
}

func (l *load) try(c *http.Client, req *http.Request) error {
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != 200 || len(b) == 0) {
		err = fmt.Errorf("%d %s", res.StatusCode, b)
	}
	return err
}

func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.workers.Wait()
}

// report ends the load and fails the test for each request that failed.
func (l *load) report(t *testing.T) {
	t.Helper()
	l.end()
	if n := len(l.failures); n > 0 {
		t.Errorf("%d of %d requests failed:\n%s", n, l.sent.Load(), strings.Join(l.failures[:min(n, 10)], "\n"))
	}
	t.Logf("%d requests", l.sent.Load())
}

// TestChurnLosesNoRequest joins and drains backends under load: a backend is
// stopped, hard, as soon as the data plane calls it drained.
func TestChurnLosesNoRequest(t *testing.T) {
	for _, balance := range []string{P2C, RoundRobin, Hash} {
		t.Run(balance, func(t *testing.T) {
			t.Parallel()
			tp := newTestPlane(t)
			f := Frontend{Name: "www", Listen: "127.0.0.1:0", Balance: balance, MaxInFlight: 4, Sticky: &Sticky{}, Retry: Retry{Attempts: 1}}
			live := map[string]*testBackend{}
			join := func(i int) {
				b := newBackend(t, fmt.Sprint("b", i), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					io.WriteString(w, strings.Repeat("x", rand.IntN(8000)+1))
				}))
				live[b.ID] = b
				f.Backends = append(f.Backends, b.Backend)
			}
			join(0)
			join(1)
			at := tp.apply(f)[0]
			l := startLoad(t, "http://"+at, "GET", "POST")
			for i := 2; l.sent.Load() < 1700 || i < 15; i++ {
				join(i)
				tp.apply(f)
				newest := live[fmt.Sprint("b", i)]
				if balance != Hash { // one client has one home
					until(t, "the one that joined is used", func() bool { return newest.hits.Load() > 0 })
				}
				f.Backends[0].Draining = true
				tp.apply(f)
				gone := f.Backends[0].ID
				if err := tp.WaitDrained(t.Context(), "www", gone); err != nil {
					t.Fatal(err)
				}
				live[gone].srv.Close()
				f.Backends = append([]Backend(nil), f.Backends[1:]...)
				tp.apply(f)
			}
			l.report(t)
			if s := tp.frontendStats(); s.Retries != 0 || s.Errors != (ProxyErrors{}) || len(s.Backends) != 2 {
				t.Errorf("stats: %+v", s)
			}
		})
	}
}

// TestKilledBackendLosesNoGET kills backends without a word to the data plane.
func TestKilledBackendLosesNoGET(t *testing.T) {
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0"}
	start := func(id string) *testBackend {
		return newBackend(t, id, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
	}
	bs := []*testBackend{start("a"), start("b"), start("c")}
	f.Backends = backends(bs...)
	l := startLoad(t, "http://"+tp.apply(f)[0], "GET")
	for i := range 6 {
		at := l.sent.Load()
		until(t, "all are in use", func() bool { return l.sent.Load() > at+150 })
		bs[i%3].srv.Close()
		at = l.sent.Load()
		until(t, "it goes on without", func() bool { return l.sent.Load() > at+150 })
		bs[i%3] = start(fmt.Sprint("new", i))
		f.Backends = backends(bs...)
		tp.apply(f)
	}
	l.report(t)
	if s := tp.frontendStats(); s.Retries == 0 {
		t.Error("nothing was retried: nothing was killed in use")
	}
}

// TestChangesUnderLoadLoseNoRequest changes every kind of setting under load.
func TestChangesUnderLoadLoseNoRequest(t *testing.T) {
	a, b := newBackend(t, "a", nil), newBackend(t, "b", nil)
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(a, b)}
	l := startLoad(t, "http://"+tp.apply(f)[0], "GET", "POST")
	balances := []string{P2C, LeastConn, RoundRobin, Hash, Random}
	for i := 0; l.sent.Load() < 1000 || i < 40; i++ {
		f.Balance = balances[i%len(balances)]
		f.Timeouts.Connect = Duration(time.Duration(i+1) * time.Second)
		f.Timeouts.ReadHeader = Duration(time.Duration(i+5) * time.Second) // another http.Server
		f.MaxInFlight = i % 3
		f.SlowStart = Duration(time.Duration(i%2) * time.Second)
		f.Backends[0].Weight = 1 + i%5
		f.Routes = []Route{{Path: "/"}, {Path: fmt.Sprint("/", i)}}
		f.Health = nil
		if i%2 == 0 {
			f.Health = &Health{Interval: Duration(time.Millisecond)}
		}
		tp.apply(f)
	}
	l.report(t)
}
