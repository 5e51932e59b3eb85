package load

import (
	"bufio"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// burst is a short run of 20 requests.
func burst(target string) Config {
	return Config{
		Request: Request{URL: target, Timeout: 20 * sec},
		Shape:   Shape{Mode: Steady, BaseRPS: 400, Duration: 50 * ms},
	}
}

func mustRun(t *testing.T, c Config) Report {
	t.Helper()
	rep, err := Run(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// raw serves every connection with a function, once the request is read.
func raw(t *testing.T, serve func(c *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					serve(c.(*net.TCPConn))
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return "http://" + l.Addr().String()
}

func TestFailuresAreClassified(t *testing.T) {
	answer := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(ReplicaHeader, "api[1]")
			http.Error(w, "out of\n order", code)
		}
	}
	serve := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	refused := httptest.NewServer(nil)
	refused.Close()
	hung := make(chan struct{})
	defer close(hung) // before the cleanups wait for the connections

	for name, c := range map[string]struct {
		url     string
		timeout time.Duration
		want    func(*Failures) *int64
		message string
	}{
		"nobody listens":     {url: refused.URL, want: func(f *Failures) *int64 { return &f.Connect }, message: "connection refused"},
		"reset":              {url: raw(t, func(c *net.TCPConn) { c.SetLinger(0) }), want: func(f *Failures) *int64 { return &f.Reset }, message: "reset"},
		"closed, no answer":  {url: raw(t, func(*net.TCPConn) {}), want: func(f *Failures) *int64 { return &f.Reset }, message: "EOF"},
		"no answer in time":  {url: raw(t, func(*net.TCPConn) { <-hung }), timeout: 30 * ms, want: func(f *Failures) *int64 { return &f.Timeout }, message: "deadline"},
		"stuck in the body":  {url: raw(t, func(c *net.TCPConn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"); <-hung }), timeout: 30 * ms, want: func(f *Failures) *int64 { return &f.Timeout }, message: "read answer"},
		"the body broke off": {url: raw(t, func(c *net.TCPConn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab") }), want: func(f *Failures) *int64 { return &f.Body }, message: "unexpected EOF"},
		"not HTTP":           {url: raw(t, func(c *net.TCPConn) { io.WriteString(c, "220 smtp\r\n\r\n") }), want: func(f *Failures) *int64 { return &f.Other }, message: "malformed"},
		"a status of 404":    {url: serve(answer(404)), want: func(f *Failures) *int64 { return &f.Status4xx }, message: "404 Not Found: out of order"},
		"a status of 503":    {url: serve(answer(503)), want: func(f *Failures) *int64 { return &f.Status5xx }, message: "503 Service Unavailable: out of order"},
	} {
		t.Run(name, func(t *testing.T) {
			conf := burst(c.url)
			if c.timeout > 0 {
				conf.Request.Timeout = c.timeout
			}
			rep := mustRun(t, conf)
			if n := *c.want(&rep.Failures); n != 20 || rep.Failed() != 20 || rep.OK != 0 || rep.Done != 20 {
				t.Errorf("failures %+v", rep.Failures)
			}
			if len(rep.Errors) != samplesPerKind || !strings.Contains(rep.Errors[0].Message, c.message) {
				t.Errorf("samples %+v; want %q", rep.Errors, c.message)
			}
			if strings.HasPrefix(name, "a status") && (rep.Errors[0].Replica != "api[1]" || rep.Replicas["api[1]"] != 20) {
				t.Errorf("the failing replica is not named: %+v", rep.Errors)
			}
		})
	}
}

func TestWhatTheServerSees(t *testing.T) {
	var mu sync.Mutex
	var bodies, paths []string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, r.Method+" "+r.Host+" "+r.Header.Get("X-Test")+" "+r.UserAgent()+" "+string(b))
		paths = append(paths, r.URL.RequestURI())
	}))
	defer s.Close()
	c := burst(s.URL + "/fib/{n}?twice={n}")
	c.Request.N = Range{15, 17}
	c.Request.Method, c.Request.Body = "PUT", []byte("hello")
	c.Request.Header = http.Header{"X-Test": {"yes"}, "Host": {"www.example"}}
	if rep := mustRun(t, c); rep.OK != 20 {
		t.Errorf("%+v", rep)
	}
	slices.Sort(bodies)
	if want := "PUT www.example yes flowctl-load hello"; len(slices.Compact(bodies)) != 1 || bodies[0] != want {
		t.Errorf("got %q, want %q", bodies[0], want)
	}
	slices.Sort(paths)
	if got := slices.Compact(paths); !slices.Equal(got, []string{"/fib/15?twice=15", "/fib/16?twice=16", "/fib/17?twice=17"}) {
		t.Errorf("paths %q", got)
	}
}

func TestConnections(t *testing.T) {
	for name, fresh := range map[string]bool{"kept alive": false, "new each time": true} {
		t.Run(name, func(t *testing.T) {
			var conns atomic.Int64
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
				if st == http.StateNew {
					conns.Add(1)
				}
			}
			s.Start()
			defer s.Close()
			c := burst(s.URL)
			c.NewConnections, c.MaxInFlight = fresh, 4
			c.Shape = Shape{Mode: Steady, BaseRPS: 200, Duration: 200 * ms}
			rep := mustRun(t, c)
			if n := conns.Load(); rep.Failed() != 0 || fresh != (n == rep.Sent) || !fresh && n > 2*4 {
				t.Errorf("%d connections for %d requests", n, rep.Sent)
			}
		})
	}
}

func TestReplicasAreCounted(t *testing.T) {
	var turn atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(ReplicaHeader, []string{"web[0]", "web[1]"}[turn.Add(1)%2])
	}))
	defer s.Close()
	if rep := mustRun(t, burst(s.URL)); rep.Replicas["web[0]"] != 10 || rep.Replicas["web[1]"] != 10 {
		t.Errorf("got %v", rep.Replicas)
	}
}

// The gate opens 300 ms after the first request: the requests that arrived
// meanwhile show it, although the server was idle and fast before and after.
func TestStallOfARealServer(t *testing.T) {
	gate := make(chan struct{})
	var first sync.Once
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		first.Do(func() { time.AfterFunc(300*ms, func() { close(gate) }) })
		<-gate
	}))
	defer s.Close()
	c := burst(s.URL)
	c.Shape = Shape{Mode: Steady, BaseRPS: 200, Duration: 600 * ms}
	rep := mustRun(t, c)
	if rep.OK != 120 || rep.P99Ms < 250 || rep.P50Ms > rep.P90Ms || rep.P90Ms < 150 {
		t.Errorf("%d ok, %+v; want a p99 near 300 ms", rep.OK, rep.Latency)
	}
}

func TestLatencyCountsFromTheSchedule(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	cl, err := newClient(burst(s.URL).withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.transport.CloseIdleConnections()
	if r := cl.do(t.Context(), job{due: time.Now().Add(-sec)}); r.kind != kindOK || r.latency < sec {
		t.Errorf("a request sent a second late has latency %v", r.latency)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	s := httptest.NewServer(http.RedirectHandler("http://192.0.2.1/", http.StatusFound))
	defer s.Close()
	if rep := mustRun(t, burst(s.URL)); rep.OK != 20 {
		t.Errorf("%+v", rep.Counts)
	}
}

func TestHTTPS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // connections that the pool no longer needed
	s.StartTLS()
	defer s.Close()
	c := burst(s.URL)
	c.SkipVerify = true
	if rep := mustRun(t, c); rep.OK != 20 {
		t.Errorf("%+v", rep)
	}
}

func TestCheckAddr(t *testing.T) {
	for addr, want := range map[string]struct{ local, remote bool }{
		"127.0.0.1":          {true, true},
		"127.9.9.9":          {true, true},
		"::1":                {true, true},
		"::ffff:127.0.0.1":   {true, true},
		"10.1.2.3":           {false, true},
		"172.17.0.2":         {false, true},
		"192.168.1.1":        {false, true},
		"fd00::1":            {false, true},
		"::ffff:10.0.0.1":    {false, true},
		"0.0.0.0":            {false, false},
		"::":                 {false, false},
		"8.8.8.8":            {false, false},
		"172.32.0.1":         {false, false},
		"169.254.169.254":    {false, false},
		"fe80::1%eth0":       {false, false},
		"224.0.0.1":          {false, false},
		"2606:4700::1111":    {false, false},
		"::ffff:192.0.2.128": {false, false},
	} {
		a := netip.MustParseAddr(addr)
		for allow, ok := range map[bool]bool{false: want.local, true: want.remote} {
			if err := checkAddr(a, allow); (err == nil) != ok || err != nil && !errors.Is(err, ErrTarget) {
				t.Errorf("checkAddr(%s, %v) = %v", addr, allow, err)
			}
		}
	}
}

func TestForeignTargetsAreRefused(t *testing.T) {
	for _, target := range []string{"http://192.0.2.1/", "http://10.0.0.1:8080/", "http://0.0.0.0/", "http://[2001:db8::1]/"} {
		c := burst(target)
		start := time.Now()
		if rep, err := Run(t.Context(), c, nil); !errors.Is(err, ErrTarget) || rep.Sent != 0 {
			t.Errorf("%s: %v, %d sent after %v", target, err, rep.Sent, time.Since(start))
		}
	}
	if err := checkTarget(t.Context(), &url.URL{Host: "localhost:80"}, false); err != nil {
		t.Errorf("localhost: %v", err)
	}
	// A name that passed the check and resolves elsewhere later meets the
	// check of the connection.
	check := control(false)
	if err := check(t.Context(), "tcp4", "192.0.2.1:80", nil); !errors.Is(err, ErrTarget) {
		t.Errorf("dial check: %v", err)
	}
	if err := check(t.Context(), "tcp4", "127.0.0.1:80", nil); err != nil {
		t.Errorf("dial check of loopback: %v", err)
	}
}

func TestValidateConfig(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no URL":             {func(c *Config) { c.Request.URL = "" }, "not of the form"},
		"another scheme":     {func(c *Config) { c.Request.URL = "ftp://localhost/" }, "not of the form"},
		"no host":            {func(c *Config) { c.Request.URL = "http:///x" }, "not of the form"},
		"broken URL":         {func(c *Config) { c.Request.URL = "http://a b/" }, "target:"},
		"number in the host": {func(c *Config) { c.Request.URL = "http://127.0.0.{n}/" }, "{n} in its host"},
		"empty range":        {func(c *Config) { c.Request.N = Range{2, 1} }, "range 2..1 is empty"},
		"negative limit":     {func(c *Config) { c.MaxInFlight = -1 }, "must not be negative"},
		"bad shape":          {func(c *Config) { c.Shape.BaseRPS = -1 }, "the base is -1"},
	} {
		conf := burst("http://127.0.0.1/")
		c.change(&conf)
		if _, err := Run(t.Context(), conf, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestParseRange(t *testing.T) {
	for text, want := range map[string]Range{"15..25": {15, 25}, "20": {20, 20}, "-3..3": {-3, 3}} {
		if got, err := ParseRange(text); err != nil || got != want {
			t.Errorf("ParseRange(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "..", "5..", "..5", "9..3", "a..b", "1..2..3"} {
		if got, err := ParseRange(text); err == nil {
			t.Errorf("ParseRange(%q) = %v", text, got)
		}
	}
}
