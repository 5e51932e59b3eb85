package lb

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestTimeouts(t *testing.T) {
	brief := Duration(50 * time.Millisecond)
	silent := func(c net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) }
	half := func(c net.Conn, r *bufio.Reader) {
		http.ReadRequest(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		io.Copy(io.Discard, r)
	}
	for _, c := range []struct {
		name   string
		limits Timeouts
		serve  func(net.Conn, *bufio.Reader)
		status int // 0: cut
		body   string
	}{
		{"no answer", Timeouts{Header: brief}, silent, 504, "504 backend took too long"},
		{"total", Timeouts{Total: brief}, silent, 504, "504 request took too long"},
		{"answer stands still", Timeouts{Idle: brief}, half, 0, "EOF"},
		{"total within the answer", Timeouts{Total: brief}, half, 0, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tp := newTestPlane(t)
			url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Timeouts: c.limits, Backends: []Backend{rawBackend(t, "b", c.serve)}})[0]
			status, body := get(newHTTPClient(t), url)
			if status != c.status || !has(body, c.body) {
				t.Errorf("%d %q, want %d %q", status, body, c.status, c.body)
			}
			until(t, "counted, and out", func() bool {
				s := tp.frontendStats()
				return s.Errors.Timeout == 1 && s.InFlight == 0 && s.Backends[0].InFlight == 0
			})
			if s := tp.frontendStats(); s.Retries != 0 {
				t.Errorf("%d retries of what was too slow", s.Retries)
			}
		})
	}
}

func TestTimeoutsChangeLive(t *testing.T) {
	tp := newTestPlane(t)
	leave := make(chan struct{})
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: []Backend{rawBackend(t, "b", func(c net.Conn, r *bufio.Reader) {
		http.ReadRequest(r)
		<-leave
	})}}
	defer close(leave)
	url := "http://" + tp.apply(f)[0]
	f.Timeouts.Header = Duration(50 * time.Millisecond)
	tp.apply(f)
	for _, body := range []io.Reader{nil, io.MultiReader(strings.NewReader("of unknown length"))} {
		res, err := newHTTPClient(t).Do(newRequest(t, "POST", url, body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 504 {
			t.Errorf("status %d", res.StatusCode)
		}
	}
}

func TestBodiesAreBounded(t *testing.T) {
	b := newBackend(t, "b", echoHead)
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b), MaxBodyBytes: 10, Timeouts: Timeouts{Idle: Duration(50 * time.Millisecond)}}
	url := "http://" + tp.apply(f)[0]
	post := func(body io.Reader) (int, string) {
		res, err := newHTTPClient(t).Do(newRequest(t, "POST", url, body))
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(text)
	}
	if status, text := post(strings.NewReader("0123456789")); status != 200 {
		t.Errorf("at the limit: %d %s", status, text)
	}
	if status, text := post(strings.NewReader("0123456789x")); status != 413 {
		t.Errorf("above: %d %s", status, text)
	}
	if status, text := post(io.MultiReader(strings.NewReader("0123456789x"))); status != 413 {
		t.Errorf("above, of unknown length: %d %s", status, text)
	}
	pr, pw := io.Pipe()
	defer pw.Close()
	go io.WriteString(pw, "x")
	if status, text := post(pr); status != 408 {
		t.Errorf("standing still: %d %s", status, text)
	}
	s := tp.frontendStats()
	if s.Errors.BodyTooLarge != 2 || s.Errors.BodyTimeout != 1 || s.Errors.Upstream != 0 || s.Backends[0].Errors != (BackendErrors{}) {
		t.Errorf("errors: %+v, of the backend: %+v", s.Errors, s.Backends[0].Errors)
	}
}

func TestIdleTimeIsOfTheBodyAlone(t *testing.T) {
	idle := 50 * time.Millisecond
	b := newBackend(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-time.After(4 * idle) // thinks
		io.WriteString(w, "ok")
	}))
	tp := newTestPlane(t)
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b), Timeouts: Timeouts{Idle: Duration(idle)}})[0]
	for _, body := range []io.Reader{strings.NewReader("small"), io.MultiReader(strings.NewReader("of unknown length"))} {
		res, err := newHTTPClient(t).Do(newRequest(t, "POST", url, body))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(res.Body); res.StatusCode != 200 || string(text) != "ok" {
			t.Errorf("%d %s %v", res.StatusCode, text, err)
		}
		res.Body.Close()
	}
}

func TestPatienceWithBodies(t *testing.T) {
	b := &clientBody{idle: 60 * time.Second, rate: 100}
	for _, c := range []struct {
		n      int64
		waited time.Duration
		want   time.Duration
	}{
		{0, 0, bodyGrace},
		{0, 4 * time.Second, time.Second},
		{0, 5 * time.Second, 0},
		{1000, 5 * time.Second, 10 * time.Second},
		{1000, 16 * time.Second, -time.Second},
		{1 << 20, 0, 60 * time.Second},
	} {
		b.n, b.waited = c.n, c.waited
		if got := b.patience(); got != c.want {
			t.Errorf("after %d bytes and %v of waiting: %v, want %v", c.n, c.waited, got, c.want)
		}
	}
}

func TestBusyBackendsQueueThenRefuse(t *testing.T) {
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	b := newBackend(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-leave
	}))
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b), MaxInFlight: 1, Queue: Queue{Size: 1, Timeout: Duration(20 * time.Second)}}
	url := "http://" + tp.apply(f)[0]
	got := make(chan int, 2)
	for range 2 {
		go func() { status, _ := get(newHTTPClient(t), url); got <- status }()
	}
	<-entered
	until(t, "one waits", func() bool { return tp.frontendStats().Queued == 1 })
	res, err := newHTTPClient(t).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != 503 || res.Header.Get("Retry-After") != "1" || string(body) != "503 no backend free, queue full\n" {
		t.Errorf("%d %v %q", res.StatusCode, res.Header, body)
	}
	close(leave)
	if a, b := <-got, <-got; a != 200 || b != 200 {
		t.Errorf("the one served and the one queued got %d and %d", a, b)
	}
	f.Backends, f.Queue.Timeout = nil, Duration(10*time.Millisecond)
	tp.apply(f)
	if status, body := get(newHTTPClient(t), url); status != 503 || body != "503 no backend free in time\n" {
		t.Errorf("no backend: %d %q", status, body)
	}
	if s := tp.frontendStats(); s.Errors.QueueFull != 1 || s.Errors.QueueTimeout != 1 || s.Status.C5xx != 0 {
		t.Errorf("errors: %+v, statuses %+v", s.Errors, s.Status)
	}
}
