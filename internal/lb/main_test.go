package lb

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
)

// TestMain lets the test binary be the data plane, or a backend, that a test
// starts as a process.
func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv("LB_TEST_BACKENDS")); err == nil {
		serveBenchBackends(n)
	}
	dir := os.Getenv("LB_TEST_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := Serve(ctx, ServeOptions{Dir: dir, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Grace: 5 * time.Second})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// testPlane is a data plane within the test's process.
type testPlane struct {
	*Client
	p       *plane
	dir     string
	t       *testing.T
	version uint64
}

func newTestPlane(t *testing.T) *testPlane {
	t.Helper()
	return openTestPlane(t, t.TempDir())
}

func openTestPlane(t *testing.T, dir string) *testPlane {
	t.Helper()
	p, release, err := open(ServeOptions{Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx, 2*time.Second) }()
	c := NewClient(dir)
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		release()
	})
	return &testPlane{Client: c, p: p, dir: dir, t: t}
}

// apply puts the frontends in force under the next version and returns where
// they listen. A frontend that does not listen fails the test.
func (tp *testPlane) apply(fs ...Frontend) []string {
	tp.t.Helper()
	tp.version++
	a, err := tp.Apply(tp.t.Context(), Snapshot{Version: tp.version, Frontends: fs})
	if err != nil {
		tp.t.Fatal(err)
	}
	var at []string
	for _, f := range a.Frontends {
		if f.Error != "" {
			tp.t.Fatalf("frontend %s: %s", f.Name, f.Error)
		}
		at = append(at, f.Listen)
	}
	return at
}

// frontendStats reads the counters of the only frontend.
func (tp *testPlane) frontendStats() FrontendStats {
	tp.t.Helper()
	s, err := tp.Stats(tp.t.Context())
	if err != nil || len(s.Frontends) == 0 {
		tp.t.Fatalf("stats: %v %v", s, err)
	}
	return s.Frontends[0]
}

// until waits for a condition to hold.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20s: %s", what)
		}
		<-tick.C
	}
}

// testBackend is an HTTP server that says its name.
type testBackend struct {
	Backend
	hits  atomic.Int64
	conns atomic.Int64 // open
	srv   *http.Server
}

// newBackend starts a backend; h, if not nil, answers in place of its name.
func newBackend(t *testing.T, id string, h http.Handler) *testBackend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &testBackend{Backend: Backend{ID: id, Address: l.Addr().String()}}
	if h == nil {
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, id) })
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	b.srv = &http.Server{
		Protocols: &protocols,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b.hits.Add(1)
			h.ServeHTTP(w, r)
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				b.conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				b.conns.Add(-1)
			}
		},
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.srv.Serve(l)
	}()
	t.Cleanup(func() { b.srv.Close(); <-ended })
	return b
}

// get fetches a URL and returns status and body; errors are status 0.
func get(c *http.Client, url string) (int, string) {
	res, err := c.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

// newHTTPClient is a client with connections of its own.
func newHTTPClient(t *testing.T) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// spawnPlane starts a data plane as a process.
func spawnPlane(t *testing.T, dir string) daemon.Proc {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, err := daemon.Spawn(ctx, daemon.Command{Exe: os.Args[0], Dir: dir, Env: []string{"LB_TEST_DIR=" + dir}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(daemon.Tail(filepath.Join(dir, daemon.LogFile), 20))
		}
		syscall.Kill(p.PID, syscall.SIGKILL)
	})
	return p
}

func backends(bs ...*testBackend) (all []Backend) {
	for _, b := range bs {
		all = append(all, b.Backend)
	}
	return all
}

func has(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// pinnedClient is an HTTP client that counts the connections it opens.
func pinnedClient(t *testing.T, addr string) (*http.Client, *atomic.Int64) {
	n := new(atomic.Int64)
	tr := &http.Transport{DialContext: func(ctx context.Context, network, a string) (net.Conn, error) {
		n.Add(1)
		return new(net.Dialer).DialContext(ctx, network, a)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}, n
}

func mustGet(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	status, body := get(c, url)
	if status != 200 {
		t.Fatalf("GET %s = %d %s", url, status, body)
	}
	return body
}
