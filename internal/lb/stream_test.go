package lb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// upgrade opens a connection through addr that both sides then echo on.
func upgrade(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("upgrade: %v %v", res, err)
	}
	return c, r
}

// echoUpgraded is a backend that echoes lines on upgraded connections, with its
// name before.
func echoUpgraded(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, name)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				io.WriteString(c, name+" bye\n")
				return
			}
			io.WriteString(c, name+" "+line)
		}
	})
}

func say(t *testing.T, c net.Conn, r *bufio.Reader, line, want string) {
	t.Helper()
	io.WriteString(c, line+"\n")
	if got, err := r.ReadString('\n'); got != want+"\n" {
		t.Fatalf("said %q, heard %q, %v", line, got, err)
	}
}

func TestUpgradedConnectionsOutliveChangesUntilTheirBackendGoes(t *testing.T) {
	a, b := newBackend(t, "a", echoUpgraded("a")), newBackend(t, "b", echoUpgraded("b"))
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(a)}
	at := tp.apply(f)[0]
	c, r := upgrade(t, at)
	say(t, c, r, "one", "a one")

	f.Backends = backends(a, b)
	tp.apply(f)
	say(t, c, r, "joined", "a joined")
	f.Backends[0].Draining = true
	tp.apply(f)
	say(t, c, r, "draining", "a draining")
	brief, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err := tp.WaitDrained(brief, "www", "a")
	if nd, ok := err.(*NotDrainedError); !ok || *nd != (NotDrainedError{"www", "a", 1}) {
		t.Errorf("WaitDrained = %v", err)
	}
	other, otherR := upgrade(t, at)
	say(t, other, otherR, "new", "b new")

	f.Backends = f.Backends[1:]
	tp.apply(f)
	if _, err := r.ReadString('\n'); err == nil {
		t.Error("the stream outlived its backend")
	}
	if err := tp.WaitDrained(t.Context(), "www", "a"); err != nil {
		t.Error(err)
	}
	say(t, other, otherR, "still", "b still")

	other.(*net.TCPConn).CloseWrite()
	if got, _ := io.ReadAll(otherR); string(got) != "b bye\n" {
		t.Errorf("after a half-close: %q", got)
	}
	until(t, "nothing is in flight", func() bool { return tp.frontendStats().InFlight == 0 })
	ss := &tp.p.frontends["www"].pool.backends["b"].streams
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if len(ss.cuts) != 0 {
		t.Errorf("%d streams that have ended are still listed", len(ss.cuts))
	}
}

func TestDrainStreamCutsStreamsOfADrainingBackend(t *testing.T) {
	a := newBackend(t, "a", echoUpgraded("a"))
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(a), Timeouts: Timeouts{DrainStream: Duration(20 * time.Millisecond)}}
	c, r := upgrade(t, tp.apply(f)[0])
	say(t, c, r, "x", "a x")
	f.Backends[0].Draining = true
	tp.apply(f)
	if err := tp.WaitDrained(t.Context(), "www", "a"); err != nil {
		t.Error(err)
	}
	if _, err := r.ReadString('\n'); err == nil {
		t.Error("the stream goes on")
	}
}

func TestH2CUpgradeIsNotATunnel(t *testing.T) {
	b := newBackend(t, "b", echoHead)
	tp := newTestPlane(t)
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b)})[0]
	h := seen(t, newRequest(t, "GET", url, nil, "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"))
	if h.Header.Get("Upgrade") != "" || h.Header.Get("Http2-Settings") != "" || h.Header.Get("Connection") != "" {
		t.Errorf("the backend saw %v", h.Header)
	}
}

// h2cClient speaks HTTP/2 without TLS.
func h2cClient(t *testing.T) *http.Client {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// grpcEcho is the shape of a bidirectional gRPC call: it answers each message at
// once, and tells its status in a trailer.
var grpcEcho = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	rc.Flush()
	buf := make([]byte, 100)
	for {
		n, err := r.Body.Read(buf)
		w.Write(bytes.ToUpper(buf[:n]))
		rc.Flush()
		if err != nil {
			break
		}
	}
	w.Header().Set("Grpc-Status", "0")
	w.Header().Set(http.TrailerPrefix+"Grpc-Message", r.Proto+" te="+r.Header.Get("Te"))
})

func TestStreamingCallsOverHTTP2(t *testing.T) {
	b := newBackend(t, "b", grpcEcho)
	b.H2C = true
	tp := newTestPlane(t)
	f := Frontend{Name: "grpc", Listen: "127.0.0.1:0", Backends: backends(b), Timeouts: Timeouts{Total: Duration(time.Nanosecond), Header: Duration(time.Nanosecond)}}
	f.Timeouts.Total = 0
	url := "http://" + tp.apply(f)[0] + "/svc/Method"
	pr, pw := io.Pipe()
	req := newRequest(t, "POST", url, pr, "Content-Type", "application/grpc", "Te", "trailers")
	res, err := h2cClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	buf := make([]byte, 100)
	for i := range 3 { // each answered before the next is said
		io.WriteString(pw, fmt.Sprint("message ", i))
		if n, err := io.ReadFull(res.Body, buf[:len("message 0")]); err != nil || string(buf[:n]) != fmt.Sprint("MESSAGE ", i) {
			t.Fatalf("heard %q, %v", buf[:n], err)
		}
	}
	pw.Close()
	if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
		t.Errorf("rest %q, %v", rest, err)
	}
	if res.Trailer.Get("Grpc-Status") != "0" || res.Trailer.Get("Grpc-Message") != "HTTP/2.0 te=trailers" {
		t.Errorf("trailers %v", res.Trailer)
	}
}

func TestCallsHaveNoHeaderTimeout(t *testing.T) {
	brief := 50 * time.Millisecond
	b := newBackend(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-time.After(4 * brief)
		io.WriteString(w, "ok")
	}))
	b.H2C = true
	tp := newTestPlane(t)
	url := "http://" + tp.apply(Frontend{Name: "grpc", Listen: "127.0.0.1:0", Backends: backends(b), Timeouts: Timeouts{Header: Duration(brief)}})[0]
	for contentType, want := range map[string]int{"application/grpc+proto": 200, "text/plain": 504} {
		res, err := h2cClient(t).Do(newRequest(t, "POST", url, strings.NewReader("x"), "Content-Type", contentType))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", contentType, res.StatusCode, want)
		}
	}
}

func TestHTTP2ClientsReachHTTP1Backends(t *testing.T) {
	b := newBackend(t, "b", echoHead)
	tp := newTestPlane(t)
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b)})[0]
	c := h2cClient(t)
	for range 3 {
		req := newRequest(t, "PUT", url+"/x", strings.NewReader("body"))
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var h head
		err = json.NewDecoder(res.Body).Decode(&h)
		res.Body.Close()
		if err != nil || res.Proto != "HTTP/2.0" || h.Proto != "HTTP/1.1" || h.Body != "body" {
			t.Errorf("%s → %+v, %v", res.Proto, h, err)
		}
	}
}

func TestEventStreamsFlowAtOnceAndAreCutAtTheEnd(t *testing.T) {
	next := make(chan string)
	b := newBackend(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.WriteHeader(200)
		rc := http.NewResponseController(w)
		rc.Flush()
		for {
			select {
			case s := <-next:
				fmt.Fprintf(w, "data: %s\n\n", s)
				rc.Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b), Timeouts: Timeouts{Total: Duration(100 * time.Millisecond)}}
	res, err := newHTTPClient(t).Get("http://" + tp.apply(f)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := bufio.NewReader(res.Body)
	for i := range 3 {
		if i == 2 {
			<-time.After(200 * time.Millisecond) // Total is not for streams
		}
		next <- "x"
		if line, err := r.ReadString('\n'); line != "data: x\n" {
			t.Fatal(line, err)
		}
		r.ReadString('\n')
	}
	f.Backends = nil
	tp.apply(f)
	if _, err := r.ReadString('\n'); err == nil || err == io.EOF {
		t.Errorf("the stream ended as if it were whole: %v", err)
	}
	if s := tp.frontendStats(); s.Errors.Upstream != 1 {
		t.Errorf("errors: %+v", s.Errors)
	}
}
