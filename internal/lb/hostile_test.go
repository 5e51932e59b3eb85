package lb

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is a backend that keeps the bytes that reach it, and answers each
// request that it reads in them.
type recorder struct {
	mu       sync.Mutex
	bytes    strings.Builder
	requests []string // "METHOD target [framing] body"
}

func (rec *recorder) serve(c net.Conn, _ *bufio.Reader) {
	r := bufio.NewReader(io.TeeReader(c, rec))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // not a whole request
		}
		rec.mu.Lock()
		rec.requests = append(rec.requests, fmt.Sprintf("%s %s %v%d %s", req.Method, req.RequestURI, req.TransferEncoding, len(req.Header["Content-Length"]), body))
		rec.mu.Unlock()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

func (rec *recorder) Write(p []byte) (int, error) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.bytes.Write(p)
}

func (rec *recorder) take() (requests []string, bytes string) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	requests, bytes = rec.requests, rec.bytes.String()
	rec.requests = nil
	rec.bytes.Reset()
	return requests, bytes
}

// sendRaw writes input on a new connection and returns the statuses of the
// answers: n of them, and what else comes in a moment.
func sendRaw(t *testing.T, addr, input string, n int) (statuses string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, input)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	for i := 1; ; i++ {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return strings.TrimSpace(statuses)
		}
		io.Copy(io.Discard, res.Body)
		statuses += fmt.Sprint(res.StatusCode, " ")
		if i == n {
			c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		}
	}
}

func TestWhatReachesABackend(t *testing.T) {
	rec := &recorder{}
	tp := newTestPlane(t)
	at := tp.apply(Frontend{
		Name: "www", Listen: "127.0.0.1:0", MaxHeaderBytes: 4096,
		Backends: []Backend{rawBackend(t, "b", rec.serve)},
	})[0]
	const h = " HTTP/1.1\r\nHost: h\r\n"
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, c := range []struct {
		name, input string
		statuses    string // what the client hears
		requests    string // what the backend reads
	}{
		{"plain", "GET /" + h + "\r\n", "200", "GET / []0 "},
		{"pipelined", "GET /1" + h + "\r\nGET /2" + h + "\r\n", "200 200", "GET /1 []0 |GET /2 []0 "},
		{"CL and TE: TE counts, CL is dropped", "POST /" + h + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "200", "POST / [chunked]0 a"},
		{"CL.TE: what CL would hide is a request of its own", "POST /" + h + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, "200 200", "POST / [chunked]0 |GET /smuggled []0 "},
		{"TE.CL: the chunk is the body", "POST /" + h + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n" + smuggled[:0x23] + "\r\n0\r\n\r\n", "200", "POST / [chunked]0 " + smuggled[:0x23]},
		{"two different CL", "POST /" + h + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400", ""},
		{"the same CL twice", "POST /" + h + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", "200", "POST / []1 a"},
		{"CL with a sign", "POST /" + h + "Content-Length: +1\r\n\r\na", "400", ""},
		{"CL list", "POST /" + h + "Content-Length: 1, 2\r\n\r\na", "400", ""},
		{"CL negative", "POST /" + h + "Content-Length: -1\r\n\r\na", "400", ""},
		{"TE twice", "POST /" + h + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501", ""},
		{"TE with a trick value", "POST /" + h + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501", ""},
		{"TE with a list", "POST /" + h + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501", ""},
		{"TE on HTTP/1.0 is nothing, and ends the connection", "POST / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + smuggled, "200", "POST / []1 "},
		{"space before colon", "POST /" + h + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400", ""},
		{"vertical tab in TE", "POST /" + h + "Transfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n", "400", ""},
		{"folded field becomes one line", "GET /" + h + "X-A: 1\r\n Content-Length: 5\r\n\r\n", "200", "GET / []0 "},
		{"bad chunk size", "POST /" + h + "Transfer-Encoding: chunked\r\n\r\nzz\r\na\r\n0\r\n\r\n", "400", ""},
		{"chunk size with a sign", "POST /" + h + "Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n", "400", ""},
		{"bare CR in a field", "GET /" + h + "X-A: 1\rX-B: 2\r\n\r\n", "400", ""},
		{"NUL in a field", "GET /" + h + "X-A: \x00\r\n\r\n", "400", ""},
		{"no host", "GET / HTTP/1.1\r\n\r\n", "400", ""},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400", ""},
		{"host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400", ""},
		{"host with a user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "400", ""},
		{"host list", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400", ""},
		{"absolute target: its host counts", "GET http://other/x HTTP/1.1\r\nHost: h\r\n\r\n", "200", "GET /x []0 "},
		{"opaque target", "GET http:x HTTP/1.1\r\nHost: h\r\n\r\n", "400", ""},
		{"CONNECT", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", "405", ""},
		{"target with a space", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "400", ""},
		{"method with a colon", "GE:T / HTTP/1.1\r\nHost: h\r\n\r\n", "400", ""},
		{"HTTP/0.9", "GET /0123456789\r\n\r\n", "400", ""},
		{"HTTP/3.0", "GET / HTTP/3.0\r\nHost: h\r\n\r\n", "505", ""},
		{"huge head", "GET /" + h + "X-A: " + strings.Repeat("a", 20_000) + "\r\n\r\n", "431", ""},
		{"huge target", "GET /" + strings.Repeat("a", 20_000) + h + "\r\n", "431", ""},
		{"many fields", "GET /" + h + strings.Repeat("A: b\r\n", maxHeaderFields+1) + "\r\n", "431", ""},
		{"TLS hello", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 random\n", "400", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			statuses := sendRaw(t, at, c.input, len(strings.Fields(c.statuses)))
			requests, bytes := rec.take()
			if statuses != c.statuses {
				t.Errorf("client heard %q, want %q", statuses, c.statuses)
			}
			if got := strings.Join(requests, "|"); got != c.requests {
				t.Errorf("backend read %q, want %q; on the wire:\n%s", got, c.requests, bytes)
			}
		})
	}
}

// TestNothingIsReadAfterAnAnswerThatCameEarly: what follows a body that nobody
// read to its end is not a request.
func TestNothingIsReadAfterAnAnswerThatCameEarly(t *testing.T) {
	rec := &recorder{}
	b := rawBackend(t, "b", func(c net.Conn, r *bufio.Reader) {
		http.ReadRequest(r)
		io.WriteString(c, ok("early"))
		rec.serve(c, r)
	})
	tp := newTestPlane(t)
	c, r := dialTCP(t, tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: []Backend{b}})[0])
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 200 || !res.Close {
		t.Fatalf("%+v %v, want an answer that ends the connection", res, err)
	}
	io.Copy(io.Discard, res.Body)
	io.WriteString(c, "zz\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
	if rest, _ := io.ReadAll(r); len(rest) > 0 {
		t.Errorf("after the early answer came %q", rest)
	}
	if s := tp.frontendStats(); s.Requests != 1 {
		t.Errorf("%d requests", s.Requests)
	}
}

func TestSlowHeadsAreCutOff(t *testing.T) {
	b := newBackend(t, "b", nil)
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b), Timeouts: Timeouts{ReadHeader: Duration(50 * time.Millisecond)}}
	at := tp.apply(f)[0]
	for _, start := range []string{"", "GET / HTTP/1.1\r\nHost: h\r\nX-A:"} {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, start)
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
			t.Errorf("after %q: %d bytes, %v, want the connection closed", start, n, err)
		}
	}
	if b.hits.Load() != 0 {
		t.Error("half a head reached the backend")
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	b := newBackend(t, "b", nil)
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b), MaxConns: 2}
	at := tp.apply(f)[0]
	one, two := newHTTPClient(t), newHTTPClient(t)
	mustGet(t, one, "http://"+at)
	mustGet(t, two, "http://"+at)
	got := make(chan int, 1)
	go func() { status, _ := get(newHTTPClient(t), "http://"+at); got <- status }()
	for range 20 {
		mustGet(t, one, "http://"+at)
	}
	if n := tp.frontendStats().Conns; n != 2 || len(got) != 0 {
		t.Errorf("%d connections are served, want the third to wait", n)
	}
	two.CloseIdleConnections()
	if status := <-got; status != 200 {
		t.Errorf("the third got %d once there was room", status)
	}
}

func TestClientThatReadsNothingIsCutOff(t *testing.T) {
	b := newBackend(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 1<<20)
		for range 64 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b), Timeouts: Timeouts{Idle: Duration(100 * time.Millisecond)}}
	c, err := net.Dial("tcp", tp.apply(f)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	until(t, "the request is over", func() bool {
		s := tp.frontendStats()
		return s.Requests == 1 && s.InFlight == 0 && s.Backends[0].InFlight == 0
	})
}
