package lb

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rawBackend is a TCP server that gives each connection to serve.
func rawBackend(t *testing.T, id string, serve func(c net.Conn, r *bufio.Reader)) Backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c, bufio.NewReader(c))
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return Backend{ID: id, Address: l.Addr().String()}
}

// closedBackend refuses connections.
func closedBackend(t *testing.T, id string) Backend {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return Backend{ID: id, Address: l.Addr().String()}
}

// hangUp reads a request with its body and closes the connection without an answer.
func hangUp(c net.Conn, r *bufio.Reader) {
	if req, err := http.ReadRequest(r); err == nil {
		io.Copy(io.Discard, req.Body)
	}
}

func TestRetriesByMethodAndFailure(t *testing.T) {
	for _, c := range []struct {
		name   string
		bad    func(t *testing.T) Backend
		method string
		body   string // "stream:" is of unknown length
		status int
		tries  uint64 // on the good one
	}{
		{"refused GET", refusing, "GET", "", 200, 1},
		{"refused POST", refusing, "POST", "body", 200, 1},
		{"refused POST of unknown length", refusing, "POST", "stream:body", 200, 1},
		{"lost GET", hangingUp, "GET", "", 200, 1},
		{"lost PUT with a small body", hangingUp, "PUT", "body", 200, 1},
		{"lost PUT with a body that is not kept", hangingUp, "PUT", "stream:body", 502, 0},
		{"lost POST", hangingUp, "POST", "body", 502, 0},
		{"lost POST without body", hangingUp, "POST", "", 502, 0},
		{"lost DELETE", hangingUp, "DELETE", "", 200, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			good := newBackend(t, "good", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(w, r.Body)
			}))
			tp := newTestPlane(t)
			url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Balance: RoundRobin, Backends: []Backend{c.bad(t), good.Backend}})[0]
			var body io.Reader
			want := strings.TrimPrefix(c.body, "stream:")
			if c.body != "" {
				body = strings.NewReader(want)
			}
			if want != c.body {
				body = io.MultiReader(body)
			}
			res, err := newHTTPClient(t).Do(newRequest(t, c.method, url, body))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			got, _ := io.ReadAll(res.Body)
			s := tp.frontendStats()
			if res.StatusCode != c.status || uint64(good.hits.Load()) != c.tries || s.Retries != c.tries {
				t.Errorf("status %d, %d tries on the good one, %d retries; want %d, %d", res.StatusCode, good.hits.Load(), s.Retries, c.status, c.tries)
			}
			if c.status == 200 && string(got) != want {
				t.Errorf("the good one got %q, want %q", got, want)
			}
			if c.status == 502 && (!has(string(got), "502 backend failed, error ") || s.Errors.Upstream != 1) {
				t.Errorf("answer %q, errors %+v", got, s.Errors)
			}
			if e := s.Backends[0].Errors; e.Connect+e.Reset != 1 {
				t.Errorf("errors of the bad one: %+v", e)
			}
		})
	}
}

func refusing(t *testing.T) Backend  { return closedBackend(t, "bad") }
func hangingUp(t *testing.T) Backend { return rawBackend(t, "bad", hangUp) }

func TestGatewayErrorsEjectTheirBackend(t *testing.T) {
	a := newBackend(t, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }))
	b := newBackend(t, "b", nil)
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Balance: RoundRobin, Backends: backends(a, b), Eject: Eject{ConsecutiveErrors: 3}}
	url := "http://" + tp.apply(f)[0]
	c := newHTTPClient(t)
	passed := 0
	for range 20 {
		if status, _ := get(c, url); status == 503 {
			passed++ // a backend's own answer is passed on
		}
	}
	s := tp.frontendStats()
	if passed != 3 || s.Status.C5xx != 3 || s.Backends[0].State != Ejected || s.Backends[0].Errors != (BackendErrors{Gateway: 3, Ejected: 1}) {
		t.Errorf("%d answers of 503, backend %+v", passed, s.Backends[0])
	}
}

func TestNoBudgetNoRetry(t *testing.T) {
	good := newBackend(t, "good", nil)
	tp := newTestPlane(t)
	f := Frontend{
		Name: "www", Listen: "127.0.0.1:0", Balance: RoundRobin, Backends: []Backend{closedBackend(t, "bad"), good.Backend},
		Retry: Retry{BudgetPercent: 20, MinPerSecond: -1}, Eject: Eject{ConsecutiveErrors: -1},
	}
	url := "http://" + tp.apply(f)[0]
	c := newHTTPClient(t)
	failed := 0
	for range 40 {
		if status, _ := get(c, url); status == 502 {
			failed++
		}
	}
	s := tp.frontendStats()
	if s.Retries < 5 || s.Retries > 8 || failed == 0 {
		t.Errorf("%d retries and %d failures of 40 requests, half of them to a dead backend; want at most 8 retries", s.Retries, failed)
	}
}

func TestClientThatLeavesFreesItsBackend(t *testing.T) {
	entered, gone := make(chan struct{}), make(chan struct{})
	b := newBackend(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(gone)
	}))
	tp := newTestPlane(t)
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b)})[0]
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	req, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
	if _, err := newHTTPClient(t).Do(req); err == nil {
		t.Error("an answer")
	}
	<-gone
	until(t, "counted as the client's, and out", func() bool {
		s := tp.frontendStats()
		return s.Errors.ClientGone == 1 && s.InFlight == 0 && s.Backends[0].InFlight == 0
	})
	if s := tp.frontendStats(); s.Backends[0].Errors != (BackendErrors{}) {
		t.Errorf("stats: %+v", s)
	}
}

func TestPanicIsTheRequestsOwn(t *testing.T) {
	b := newBackend(t, "b", nil)
	tp := newTestPlane(t)
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Balance: Random, Backends: backends(b)})[0]
	var once atomic.Bool
	p := tp.p.frontends["www"].pool
	p.mu.Lock()
	rnd := p.rnd
	p.rnd = func() uint64 {
		if !once.Swap(true) {
			panic("planted")
		}
		return rnd()
	}
	p.mu.Unlock()
	c := newHTTPClient(t)
	if status, body := get(c, url); status != 500 || body != "500 internal error\n" {
		t.Errorf("%d %q", status, body)
	}
	mustGet(t, c, url)
	if s := tp.frontendStats(); s.Errors.Panic != 1 || s.InFlight != 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestHealthChecksOverHTTP(t *testing.T) {
	var sick atomic.Bool
	a := newBackend(t, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && sick.Load() {
			w.WriteHeader(500)
		}
		io.WriteString(w, "a")
	}))
	b := newBackend(t, "b", nil)
	c := newBackend(t, "c", nil)
	c.H2C = true
	tp := newTestPlane(t)
	tp.apply(Frontend{
		Name: "www", Listen: "127.0.0.1:0", Backends: backends(a, b, c),
		Health: &Health{Path: "/healthz", Interval: Duration(5 * time.Millisecond), HealthyAfter: 1, UnhealthyAfter: 1},
	})
	state := func(i int) string { return tp.frontendStats().Backends[i].State }
	until(t, "all are ready", func() bool { return state(0) == Ready && state(1) == Ready && state(2) == Ready })
	sick.Store(true)
	until(t, "a is out", func() bool { return state(0) == Unhealthy })
	sick.Store(false)
	until(t, "a is back", func() bool { return state(0) == Ready })
	b.srv.Close()
	until(t, "b is out", func() bool { return state(1) == Unhealthy })
	sick.Store(true)
	until(t, "a is out again", func() bool { return state(0) == Unhealthy })
	tp.apply(Frontend{
		Name: "www", Listen: "127.0.0.1:0", Backends: backends(a, b), // by connect only: a passes
		Health: &Health{Interval: Duration(5 * time.Millisecond), HealthyAfter: 1, UnhealthyAfter: 1},
	})
	until(t, "the checks by connect agree", func() bool { return state(0) == Ready && state(1) == Unhealthy })
}

func TestIdleConnectionsOfARemovedBackendAreClosed(t *testing.T) {
	a, b := newBackend(t, "a", nil), newBackend(t, "b", nil)
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Balance: RoundRobin, Backends: backends(a, b)}
	url := "http://" + tp.apply(f)[0]
	c := newHTTPClient(t)
	mustGet(t, c, url)
	mustGet(t, c, url)
	if a.conns.Load() != 1 || b.conns.Load() != 1 {
		t.Fatalf("open: %d and %d", a.conns.Load(), b.conns.Load())
	}
	f.Backends = f.Backends[1:]
	tp.apply(f)
	until(t, "the connection to a is closed", func() bool { return a.conns.Load() == 0 })
	if b.conns.Load() != 1 {
		t.Error("that to b is closed too")
	}
}
