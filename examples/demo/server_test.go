package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// server0 is a server of a role with some flags.
func server0(t *testing.T, args ...string) *server {
	t.Helper()
	o, err := parse(args, env("FLOWCTL_ADDRESS", "function."+args[0]+"[0]", "GREETING", "hello <you>"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return newServer(o, slog.New(slog.DiscardHandler))
}

// get asks without a network.
func get(ctx context.Context, h http.Handler, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, target, nil))
	return w
}

func TestFibRoutes(t *testing.T) {
	s := server0(t, "fib")
	for target, c := range map[string]struct {
		code int
		want string
	}{
		"/":            {200, `"replica":"function.fib[0]","role":"fib","greeting":"hello`},
		"/fib/20":      {200, `"n":20,"result":6765,"took_ms":`},
		"/fib/0":       {200, `"n":0,"result":0`},
		"/fib/46":      {400, "from 0 to 45"},
		"/fib/-1":      {400, "from 0 to 45"},
		"/fib/ten":     {400, "from 0 to 45"},
		"/sleep/1ms":   {200, `"took_ms":`},
		"/sleep/1":     {400, "from 0s to 1m0s"},
		"/sleep/61s":   {400, "from 0s to 1m0s"},
		"/sleep/-1s":   {400, "from 0s to 1m0s"},
		"/burn?ms=5":   {200, `"took_ms":`},
		"/burn":        {400, "from 0 to 60000"},
		"/burn?ms=1e9": {400, "from 0 to 60000"},
		"/healthz":     {200, `"uptime_s":`},
		"/readyz":      {200, `"version":`},
		"/nothing":     {404, ""},
	} {
		w := get(t.Context(), s, target)
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s; want %d, %s", target, w.Code, w.Body, c.code, c.want)
		}
		if w.Header().Get("X-Replica") != "function.fib[0]" {
			t.Errorf("%s does not name the replica", target)
		}
		if c.code != 404 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s is not JSON: %s", target, w.Body)
		}
	}
}

func TestClientsThatLeave(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := server0(t, "fib")
	for _, target := range []string{"/fib/45", "/sleep/1m", "/burn?ms=60000"} {
		if w := get(ctx, s, target); w.Code != statusClientGone {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		start := time.Now()
		if w := get(ctx, server0(t, "fib"), "/sleep/1m"); w.Code != statusClientGone || time.Since(start) != 20*time.Second {
			t.Errorf("%d after %v", w.Code, time.Since(start))
		}
	})
}

func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := server0(t, "fib", "-slow-start", "5s")
		for _, target := range []string{"/healthz", "/readyz", "/fib/1"} {
			if w := get(t.Context(), s, target); w.Code != 503 || !strings.Contains(w.Body.String(), "starting") {
				t.Errorf("%s: %d %s", target, w.Code, w.Body)
			}
		}
		<-time.After(5*time.Second - 1)
		if w := get(t.Context(), s, "/healthz"); w.Code != 503 {
			t.Errorf("well too early: %d", w.Code)
		}
		<-time.After(1)
		for _, target := range []string{"/healthz", "/readyz", "/fib/1"} {
			if w := get(t.Context(), s, target); w.Code != 200 {
				t.Errorf("%s: %d %s", target, w.Code, w.Body)
			}
		}
	})
}

func TestStopWaitsForTheWorkThatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := server0(t, "fib", "-drain", "1m", "-linger", "2s")
		go get(t.Context(), s, "/sleep/8s")
		synctest.Wait()
		start := time.Now()
		finished := make(chan time.Duration)
		go func() { s.finishWork(t.Context()); finished <- time.Since(start) }()
		synctest.Wait()
		if w := get(t.Context(), s, "/healthz"); w.Code != 503 || w.Header().Get("Connection") != "close" || !strings.Contains(w.Body.String(), "stopping") {
			t.Errorf("healthz: %d %s", w.Code, w.Body)
		}
		if w := get(t.Context(), s, "/fib/5"); w.Code != 200 {
			t.Errorf("work that comes meanwhile: %d", w.Code)
		}
		go get(t.Context(), s, "/sleep/30s") // came later: for the second part of the drain
		if took := <-finished; took != 8*time.Second {
			t.Errorf("stop waited %v for 8 s of work", took)
		}
		<-time.After(30 * time.Second)
	})
}

func TestLingerWithoutWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for drain, want := range map[string]time.Duration{"10s": 3 * time.Second, "1s": time.Second} {
			s := server0(t, "fib", "-linger", "3s", "-drain", drain)
			limit, cancel := context.WithTimeout(t.Context(), s.drain)
			start := time.Now()
			if s.finishWork(limit); time.Since(start) != want {
				t.Errorf("-drain %s: stop took %v, want %v", drain, time.Since(start), want)
			}
			cancel()
		}
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := server0(t, "fib")
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		w := get(ctx, s, "/events")
		if n := strings.Count(w.Body.String(), "data: {\"replica\":\"function.fib[0]\""); n != 3 || !w.Flushed {
			t.Errorf("%d events in 2.5 s: %s", n, w.Body)
		}
		time.AfterFunc(1500*time.Millisecond, s.stop)
		w = get(t.Context(), s, "/events")
		if body := w.Body.String(); strings.Count(body, "id: ") != 2 || !strings.HasSuffix(body, "event: stop\ndata: {}\n\n") {
			t.Errorf("a stream of a server that stops: %s", body)
		}
	})
}

func TestFailRateIsSpreadEvenly(t *testing.T) {
	for rate, want := range map[string]int{"0": 0, "0.1": 10, "0.25": 25, "1": 100} {
		s := server0(t, "fib", "-fail-rate", rate)
		failed, longest, since := 0, 0, 0
		for range 100 {
			since++
			if w := get(t.Context(), s, "/fib/1"); w.Code == 500 {
				failed++
				longest, since = max(longest, since), 0
			}
		}
		if failed != want || want > 0 && longest > 100/want {
			t.Errorf("-fail-rate %s: %d of 100 failed, the longest gap is %d", rate, failed, longest)
		}
		if w := get(t.Context(), s, "/healthz"); w.Code != 200 {
			t.Errorf("-fail-rate %s spoils the health: %d", rate, w.Code)
		}
	}
}

func TestLeak(t *testing.T) {
	s := server0(t, "fib", "-leak", "64")
	for range 5 {
		get(t.Context(), s, "/fib/1")
	}
	if n := len(s.sick.kept); n != 5 || len(s.sick.kept[0]) != 64<<10 {
		t.Errorf("%d pieces kept", n)
	}
}

func TestMetrics(t *testing.T) {
	s := server0(t, "fib", "-fail-rate", "0.5")
	for _, target := range []string{"/fib/1", "/fib/2", "/fib/99", "/healthz", "/metrics", "/readyz"} {
		get(t.Context(), s, target)
	}
	body := get(t.Context(), s, "/metrics").Body.String()
	for _, want := range []string{
		`demo_requests_total{code="200",route="/fib/{n}"} 1`,
		`demo_requests_total{code="500",route="/fib/{n}"} 1`,
		`demo_requests_total{code="400",route="/fib/{n}"} 1`,
		`demo_request_duration_seconds_count{route="/fib/{n}"} 3`,
		`demo_request_duration_seconds_bucket{route="/fib/{n}",le="+Inf"} 3`,
		"demo_requests_in_flight 0", "process_cpu_seconds_total", "go_goroutines",
	} {
		if !strings.Contains(body, want+"\n") && !strings.Contains(body, want+" ") {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	for _, probe := range []string{"healthz", "readyz", `route="/metrics"`} {
		if strings.Contains(body, probe) {
			t.Errorf("%s is counted as work", probe)
		}
	}
}

func TestWeb(t *testing.T) {
	var conns atomic.Int64
	api := httptest.NewUnstartedServer(server0(t, "fib"))
	api.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	api.Start()
	defer api.Close()
	s := server0(t, "web", "-api-url", api.URL, "-n", "12")

	w := get(t.Context(), s, "/")
	for _, want := range []string{"fib(12) = 144", "function.web[0]", "function.fib[0]", "hello &lt;you&gt;", "<!doctype html>"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, w.Body)
		}
	}
	if strings.ContainsAny(strings.Join(strings.Split(w.Body.String(), "<body>")[1:], ""), "{}") {
		t.Errorf("the page has an unfilled place:\n%s", w.Body)
	}
	if w.Header().Get("X-Replica") != "function.web[0]" || w.Header().Get("X-Api-Replica") != "function.fib[0]" {
		t.Errorf("header %v", w.Header())
	}
	accept := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?n=20", nil)
	accept.Header.Set("Accept", "application/json")
	asked := httptest.NewRecorder()
	s.ServeHTTP(asked, accept)
	for _, w := range []*httptest.ResponseRecorder{get(t.Context(), s, "/api?n=20"), asked} {
		var a webAnswer
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		a.TookMs, a.API.TookMs = 0, 0
		want := webAnswer{identity{"function.web[0]", "web", "hello <you>", ""}, 20, 6765, 0,
			fibAnswer{identity{"function.fib[0]", "fib", "hello <you>", ""}, 20, 6765, 0}}
		if a != want {
			t.Errorf("got %+v, want %+v", a, want)
		}
	}
	if w := get(t.Context(), s, "/?n=46"); w.Code != 400 || !strings.Contains(w.Body.String(), "from 0 to 45") {
		t.Errorf("n=46: %d %s", w.Code, w.Body)
	}
	if w := get(t.Context(), s, "/readyz"); w.Code != 200 {
		t.Errorf("readyz: %d %s", w.Code, w.Body)
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections to the api tier for 4 requests", n)
	}
}

func TestWebWithoutItsAPI(t *testing.T) {
	serve := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	sick := server0(t, "fib", "-slow-start", "1h")
	release := make(chan struct{})
	defer close(release)
	for name, c := range map[string]struct{ api, want string }{
		"nobody listens":   {gone.URL, "connection refused"},
		"it is starting":   {serve(sick.ServeHTTP), "the api tier (function.fib[0]) answers 503 Service Unavailable: "},
		"it talks nothing": {serve(func(http.ResponseWriter, *http.Request) {}), "not understood"},
		"it breaks off":    {serve(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "9") }), "broke off"},
		"it hangs":         {serve(func(http.ResponseWriter, *http.Request) { <-release }), "Client.Timeout exceeded"},
	} {
		s := server0(t, "web", "-api-url", c.api, "-api-timeout", "50ms")
		if c.want != "Client.Timeout exceeded" {
			s = server0(t, "web", "-api-url", c.api)
		}
		page, data := get(t.Context(), s, "/"), get(t.Context(), s, "/api")
		for _, w := range []*httptest.ResponseRecorder{page, data} {
			if w.Code != 502 || !strings.Contains(w.Body.String(), c.want) || !strings.Contains(w.Body.String(), "function.web[0]") {
				t.Errorf("%s: %d %s; want 502, %s", name, w.Code, w.Body, c.want)
			}
		}
		if !json.Valid(data.Body.Bytes()) || json.Valid(page.Body.Bytes()) {
			t.Errorf("%s: %s for programs, %s for people", name, data.Body, page.Body)
		}
		if w := get(t.Context(), s, "/healthz"); w.Code != 200 {
			t.Errorf("%s: the web replica is not well: %d", name, w.Code)
		}
	}
	w := get(t.Context(), server0(t, "web", "-api-url", gone.URL), "/readyz")
	if w.Code != 503 || !strings.Contains(w.Body.String(), "the api tier does not answer") {
		t.Errorf("readyz: %d %s", w.Code, w.Body)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w := get(ctx, server0(t, "web", "-api-url", gone.URL), "/"); w.Code != statusClientGone {
		t.Errorf("a visitor who left: %d %s", w.Code, w.Body)
	}
}

func TestAPIBehindAPath(t *testing.T) {
	api := httptest.NewServer(http.StripPrefix("/v1/api", server0(t, "fib")))
	defer api.Close()
	u, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"/v1/api", "/v1/api/"} {
		s := server0(t, "web", "-api-url", fmt.Sprintf("http://%s%s", u.Host, suffix))
		if w := get(t.Context(), s, "/api?n=10"); w.Code != 200 {
			t.Errorf("%s: %d %s", suffix, w.Code, w.Body)
		}
	}
}
