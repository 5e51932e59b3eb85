package lb

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is a backend that gives the n-th connection to the n-th script, and
// all later ones to the last.
func scripted(t *testing.T, scripts ...func(c net.Conn, r *bufio.Reader)) Backend {
	var n atomic.Int64
	return rawBackend(t, "b", func(c net.Conn, r *bufio.Reader) {
		scripts[min(int(n.Add(1)), len(scripts))-1](c, r)
	})
}

// answers reads requests and gives each answer in turn; then it closes.
func answers(all ...string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		for _, a := range all {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			io.WriteString(c, a)
		}
	}
}

func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func TestAnswersAsBackendsGiveThem(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		status       int // 0: cut
		body         string
	}{
		{"length", ok("hello"), 200, "hello"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, "hello"},
		{"until the end of the connection", "HTTP/1.1 200 OK\r\n\r\nhello", 200, "hello"},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", 200, "hello"},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
		{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, ""},
		{"length and chunked: chunked counts", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, "hello"},
		{"long", ok(strings.Repeat("x", 2*maxAnswerHead)), 200, strings.Repeat("x", 2*maxAnswerHead)},
		{"too short", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 0, "EOF"},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", 0, "EOF"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhe", 502, "502 backend failed"},
		{"no HTTP", "SSH-2.0-OpenSSH\r\n\r\n", 502, "502 backend failed"},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-", 502, "502 backend failed"},
		{"huge head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxAnswerHead) + "\r\n\r\n", 502, "502 backend failed"},
		{"upgrade that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", 502, "502 backend failed"},
		{"endless interim answers", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maxInterim+1), 502, "502 backend failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tp := newTestPlane(t)
			// The second backend would take a retry, but what was answered is not sent again.
			second := newBackend(t, "second", nil)
			b := scripted(t, answers(c.answer))
			url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Balance: RoundRobin, Backends: []Backend{b, second.Backend}})[0]
			status, body := get(newHTTPClient(t), url)
			if status != c.status || !strings.HasPrefix(body, c.body) && !strings.HasSuffix(body, c.body) {
				t.Errorf("%d %q, want %d %q", status, body, c.status, c.body)
			}
			if second.hits.Load() != 0 {
				t.Error("the request was sent again")
			}
			until(t, "nothing is in flight", func() bool { return tp.frontendStats().InFlight == 0 })
		})
	}
}

func TestConnectionsToBackendsAreUsedAgain(t *testing.T) {
	var conns atomic.Int64
	serve := answers(ok("1"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\r\n0\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", ok("4"), ok("5"))
	tp := newTestPlane(t)
	b := rawBackend(t, "b", func(c net.Conn, r *bufio.Reader) { conns.Add(1); serve(c, r) })
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: []Backend{b}})[0]
	c := newHTTPClient(t)
	got := ""
	for i := range 5 {
		method, body := "GET", io.Reader(nil)
		if i == 3 {
			method, body = "POST", strings.NewReader("small")
		}
		res, err := c.Do(newRequest(t, method, url, body))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		got += string(b)
	}
	if got != "1245" || conns.Load() != 1 {
		t.Errorf("answers %q over %d connections", got, conns.Load())
	}
}

func TestAConnectionThatTheBackendClosedIsReplaced(t *testing.T) {
	tp := newTestPlane(t)
	// Each connection is closed after its first answer, without a word.
	b := scripted(t, answers(ok("x")))
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: []Backend{b}, Retry: Retry{Attempts: 1}})[0]
	c := newHTTPClient(t)
	for range 20 {
		mustGet(t, c, url)
	}
	if s := tp.frontendStats(); s.Retries != 0 || s.Backends[0].Errors != (BackendErrors{}) {
		t.Errorf("stats: %+v", s)
	}
}

// TestUnaskedAnswersReachNobody: a backend that says more than it was asked must
// not answer another client's request with it.
func TestUnaskedAnswersReachNobody(t *testing.T) {
	said := make(chan struct{})
	for name, first := range map[string]func(net.Conn, *bufio.Reader){
		"with the answer": answers(ok("mine") + ok("evil")),
		"later": func(c net.Conn, r *bufio.Reader) {
			http.ReadRequest(r)
			io.WriteString(c, ok("mine"))
			<-said
			io.WriteString(c, ok("evil"))
			said <- struct{}{}
			io.Copy(io.Discard, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			tp := newTestPlane(t)
			b := scripted(t, first, answers(ok("good"), ok("good")))
			url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: []Backend{b}})[0]
			c := newHTTPClient(t)
			if got := mustGet(t, c, url); got != "mine" {
				t.Fatalf("first answer %q", got)
			}
			if name == "later" {
				said <- struct{}{}
				<-said
			}
			if got := mustGet(t, c, url); got != "good" {
				t.Errorf("second answer %q", got)
			}
		})
	}
}

func TestInterimAnswersAndTrailersOfPlainRequests(t *testing.T) {
	tp := newTestPlane(t)
	b := scripted(t, answers("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n"))
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: []Backend{b}})[0]
	hints := ""
	req := newRequest(t, "GET", url, nil)
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error { hints += fmt.Sprint(code, h.Get("Link")); return nil },
	}))
	res, err := newHTTPClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if len(res.Header["Content-Type"]) > 0 {
		t.Errorf("content type %q was made up", res.Header["Content-Type"])
	}
	if string(body) != "hello" || err != nil || hints != "103</a>" || res.Trailer.Get("X-Sum") != "42" {
		t.Errorf("body %q, %v, hints %q, trailer %v", body, err, hints, res.Trailer)
	}
}

func TestSlowAnswersOfKnownLengthAreFlushed(t *testing.T) {
	more := make(chan struct{})
	tp := newTestPlane(t)
	b := rawBackend(t, "b", func(c net.Conn, r *bufio.Reader) {
		http.ReadRequest(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		<-more
		io.WriteString(c, "world")
	})
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: []Backend{b}})[0]
	res, err := newHTTPClient(t).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 5)); err != nil {
		t.Error(err)
	}
	close(more)
	if rest, err := io.ReadAll(res.Body); string(rest) != "world" {
		t.Error(string(rest), err)
	}
}

func TestIdleConnectionsExpire(t *testing.T) {
	a := newBackend(t, "a", nil)
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(a)}
	mustGet(t, newHTTPClient(t), "http://"+tp.apply(f)[0])
	p := tp.p.frontends["www"].pool
	p.mu.Lock()
	ws := p.backends["a"].up.Load().wires
	p.mu.Unlock()
	ws.expire()
	if a.conns.Load() != 1 {
		t.Fatal("a fresh connection has expired")
	}
	ws.mu.Lock()
	ws.idle[0].since = time.Now().Add(-upstreamIdle)
	ws.mu.Unlock()
	ws.expire()
	until(t, "it is closed", func() bool { return a.conns.Load() == 0 })
}
