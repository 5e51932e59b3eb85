package lb

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"
)

// silentPair is a frontend with a backend that reads requests and says nothing, until
// let, and one that answers.
type silentPair struct {
	*testing.T
	url  string
	pool *pool
	got  chan string // methods of requests that the silent one has
	let  chan struct{}
}

func newSilentPair(t *testing.T) silentPair {
	s := silentPair{T: t, got: make(chan string, 100), let: make(chan struct{})}
	mute := rawBackend(t, "mute", func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return // a check
		}
		s.got <- req.Method
		<-s.let
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmute")
	})
	mute.Ready = true
	good := newBackend(t, "good", nil)
	good.Ready = true
	tp := newTestPlane(t)
	s.url = "http://" + tp.apply(Frontend{
		Name: "www", Listen: "127.0.0.1:0", Balance: RoundRobin, Backends: []Backend{mute, good.Backend},
		Health: &Health{Interval: seconds(3600), UnhealthyAfter: 1},
	})[0]
	tp.p.mu.Lock()
	defer tp.p.mu.Unlock()
	s.pool = tp.p.frontends["www"].pool
	return s
}

// stuck sends requests until the silent one has one, and returns where its answer
// comes.
func (s silentPair) stuck(method string) <-chan string {
	s.Helper()
	c := newHTTPClient(s.T)
	for range 100 {
		answer := make(chan string, 1)
		go func() {
			res, err := c.Do(newRequest(s.T, method, s.url, nil))
			if err != nil {
				answer <- err.Error()
				return
			}
			defer res.Body.Close()
			text, _ := io.ReadAll(res.Body)
			answer <- string(text)
		}()
		select {
		case <-s.got:
			return answer
		case <-answer:
		}
	}
	s.Fatal("the silent one gets no request")
	return nil
}

// fails lets a check of the silent one fail.
func (s silentPair) fails(err error) {
	s.pool.mu.Lock()
	b := s.pool.backends["mute"]
	s.pool.mu.Unlock()
	s.pool.checked(b, err)
}

// What waits for a backend where nothing answers any more is sent to another, if it
// may arrive twice.
func TestWhatWaitsForASilentBackendIsSentElsewhere(t *testing.T) {
	s := newSilentPair(t)
	put, post := s.stuck("PUT"), s.stuck("POST")
	s.fails(&dialError{os.ErrDeadlineExceeded})
	if got := <-put; got != "good" {
		t.Errorf("the PUT is answered by %q", got)
	}
	select {
	case got := <-post:
		t.Errorf("the POST does not wait: %q", got)
	default:
	}
	close(s.let)
	if got := <-post; got != "mute" {
		t.Errorf("the POST is answered by %q", got)
	}
}

// A backend that refuses connections may yet answer what it has begun.
func TestABackendThatRefusesConnectionsMayStillAnswer(t *testing.T) {
	s := newSilentPair(t)
	get := s.stuck("GET")
	s.fails(&dialError{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}})
	close(s.let)
	if got := <-get; got != "mute" {
		t.Errorf("the GET is answered by %q", got)
	}
}

// Checks tell an address where nothing answers from a server that is slow, and from
// one that is not there.
func TestChecksKnowSilence(t *testing.T) {
	full, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(full)
	if err := syscall.Bind(full, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(full, 0); err != nil { // takes one connection, and answers no more
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(full)
	if err != nil {
		t.Fatal(err)
	}
	mute := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: at.(*syscall.SockaddrInet4).Port}).String()
	for range 10 {
		c, err := net.DialTimeout("tcp", mute, 200*time.Millisecond)
		if err != nil {
			break
		}
		defer c.Close()
	}
	slow := rawBackend(t, "slow", func(_ net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) })
	for _, c := range []struct {
		name, address string
		silent        bool
	}{
		{"nothing answers", mute, true},
		{"nothing listens", closedBackend(t, "closed").Address, false},
		{"slow", slow.Address, false},
	} {
		for _, path := range []string{"/healthz", ""} {
			probe := (&pool{}).prober(&backend{addr: c.address}, (&Health{Path: path, Timeout: Duration(300 * time.Millisecond)}).withDefaults())
			err := probe(t.Context())
			if silent(err) != c.silent || err == nil && !(c.name == "slow" && path == "") {
				t.Errorf("%s, path %q: %v, silent %t", c.name, path, err, silent(err))
			}
		}
	}
}
