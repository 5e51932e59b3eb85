package lb

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// What a backend answers is what counts: the first whole head, whatever comes after it.
func TestProbe(t *testing.T) {
	for _, c := range []struct{ name, answer, wrong string }{
		{"ok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""},
		{"old", "HTTP/1.0 204 No Content\r\n\r\n", ""},
		{"with a body that never ends", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n", ""},
		{"after early hints", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ""},
		{"redirected", "HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", ""},
		{"ill", "HTTP/1.1 503 Service Unavailable\r\n\r\n", "status 503, want 200 to 399"},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", "malformed"},
		{"cut short", "HTTP/1.1 200 OK\r\nContent-", "malformed"},
		{"nothing", "", "EOF"},
		{"a head without end", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", probeHead), "unexpected EOF"},
	} {
		asked := make(chan string, 1)
		back := rawBackend(t, "b", func(conn net.Conn, r *bufio.Reader) {
			var head strings.Builder
			for line := ""; line != "\r\n"; {
				line, _ = r.ReadString('\n')
				head.WriteString(line)
			}
			asked <- head.String()
			io.WriteString(conn, c.answer)
			if strings.HasSuffix(c.name, "never ends") {
				io.Copy(io.Discard, r)
			}
		})
		probe := (&pool{}).prober(&backend{addr: back.Address}, (&Health{Path: "/up?a=b"}).withDefaults())
		err := probe(t.Context())
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) || silent(err) {
			t.Errorf("%s: %v", c.name, err)
		}
		want := "GET /up?a=b HTTP/1.1\r\nHost: " + back.Address + "\r\nUser-Agent: flowctl-health\r\nConnection: close\r\n\r\n"
		if head := <-asked; head != want {
			t.Errorf("%s: asked %q", c.name, head)
		}
	}
}

// A check that is not wanted any more ends at once.
func TestProbeEnds(t *testing.T) {
	asked := make(chan bool)
	back := rawBackend(t, "b", func(_ net.Conn, r *bufio.Reader) {
		close(asked)
		io.Copy(io.Discard, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	begun := time.Now()
	err := (&pool{}).prober(&backend{addr: back.Address}, (&Health{Path: "/", Timeout: Duration(time.Minute)}).withDefaults())(ctx)
	if took := time.Since(begun); err == nil || took > 10*time.Second {
		t.Errorf("ended after %s with %v", took, err)
	}
}

// Checks come as often as they are to, some together, and never all at once.
func TestNextCheck(t *testing.T) {
	for _, c := range []struct{ backends, least, most int }{{1, 3, 4}, {50, 3, 4}, {1000, 30, 50}} {
		moments := map[time.Time]int{}
		now, sum := time.Unix(1000, 0), time.Duration(0)
		for range 2000 {
			next := nextCheck(now, time.Second, c.backends)
			if d := next.Sub(now); d < 850*time.Millisecond || d > 1150*time.Millisecond {
				t.Fatalf("of %d backends, one is checked again after %s", c.backends, d)
			}
			moments[next]++
			sum += next.Sub(now)
		}
		if n := len(moments); n < c.least-1 || n > c.most {
			t.Errorf("%d backends are checked at %d moments", c.backends, n)
		}
		if mean := sum / 2000; mean < 980*time.Millisecond || mean > 1020*time.Millisecond {
			t.Errorf("of %d backends, each is checked every %s", c.backends, mean)
		}
	}
}
