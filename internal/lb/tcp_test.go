package lb

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echoTCP answers each line with its name before it; at the client's end it says
// bye and closes.
func echoTCP(t *testing.T, id string) Backend {
	return rawBackend(t, id, func(c net.Conn, r *bufio.Reader) {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				io.WriteString(c, id+" bye\n")
				return
			}
			io.WriteString(c, id+" "+line)
		}
	})
}

func dialTCP(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c, bufio.NewReader(c)
}

func TestTCPCarriesBothWaysWithHalfClose(t *testing.T) {
	b := rawBackend(t, "b", func(c net.Conn, r *bufio.Reader) {
		all, _ := io.ReadAll(r) // answers only after the client's end
		c.Write(bytes.ToUpper(all))
	})
	tp := newTestPlane(t)
	c, r := dialTCP(t, tp.apply(Frontend{Name: "db", Listen: "127.0.0.1:0", Protocol: TCP, Backends: []Backend{b}})[0])
	big := bytes.Repeat([]byte("abcdefgh"), 200_000)
	go func() {
		c.Write(big)
		c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, bytes.ToUpper(big)) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(big), err)
	}
	until(t, "counted", func() bool {
		s := tp.frontendStats()
		return s.InFlight == 0 && s.BytesIn == 1.6e6 && s.BytesOut == 1.6e6 && s.Backends[0].BytesIn == 1.6e6
	})
	if s := tp.frontendStats(); s.Requests != 1 || s.Conns != 0 || s.Backends[0].Requests != 1 {
		t.Errorf("stats: %+v", s)
	}
}

func TestTCPBalancesDrainsAndCuts(t *testing.T) {
	a, b := echoTCP(t, "a"), echoTCP(t, "b")
	tp := newTestPlane(t)
	f := Frontend{Name: "db", Listen: "127.0.0.1:0", Protocol: TCP, Balance: RoundRobin, Backends: []Backend{a, b}}
	at := tp.apply(f)[0]
	onA, ra := dialTCP(t, at)
	say(t, onA, ra, "x", "a x")
	onB, rb := dialTCP(t, at)
	say(t, onB, rb, "x", "b x")
	f.Backends[0].Draining = true
	tp.apply(f)
	for range 3 {
		c, r := dialTCP(t, at)
		say(t, c, r, "x", "b x")
		c.Close()
	}
	say(t, onA, ra, "still", "a still")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if nd, ok := tp.WaitDrained(ctx, "db", "a").(*NotDrainedError); !ok || nd.InFlight != 1 {
		t.Errorf("WaitDrained: %+v", nd)
	}
	f.Backends = f.Backends[1:]
	tp.apply(f)
	if _, err := ra.ReadString('\n'); err == nil {
		t.Error("the connection outlived its backend")
	}
	if err := tp.WaitDrained(t.Context(), "db", "a"); err != nil {
		t.Error(err)
	}
	say(t, onB, rb, "still", "b still")
}

func TestTCPTriesAnotherBackend(t *testing.T) {
	tp := newTestPlane(t)
	at := tp.apply(Frontend{Name: "db", Listen: "127.0.0.1:0", Protocol: TCP, Balance: RoundRobin, Backends: []Backend{closedBackend(t, "a"), echoTCP(t, "b")}})[0]
	for range 4 {
		c, r := dialTCP(t, at)
		say(t, c, r, "x", "b x")
	}
	if s := tp.frontendStats(); s.Retries == 0 || s.Errors.Upstream != 0 || s.Backends[0].Errors.Connect != s.Retries {
		t.Errorf("stats: %+v", s)
	}
}

func TestTCPWaitsForABackend(t *testing.T) {
	tp := newTestPlane(t)
	f := Frontend{Name: "db", Listen: "127.0.0.1:0", Protocol: TCP}
	c, r := dialTCP(t, tp.apply(f)[0])
	until(t, "it waits", func() bool { return tp.frontendStats().Queued == 1 })
	f.Backends = []Backend{echoTCP(t, "a")}
	tp.apply(f)
	say(t, c, r, "x", "a x")
}

func TestTCPIdleConnectionsEnd(t *testing.T) {
	b := echoTCP(t, "a")
	tp := newTestPlane(t)
	at := tp.apply(Frontend{Name: "db", Listen: "127.0.0.1:0", Protocol: TCP, Backends: []Backend{b}, Timeouts: Timeouts{Stream: Duration(200 * time.Millisecond)}})[0]
	c, r := dialTCP(t, at)
	for range 4 { // less than the idle time apart
		say(t, c, r, "x", "a x")
		<-time.After(150 * time.Millisecond)
	}
	if _, err := r.ReadString('\n'); err == nil || os.IsTimeout(err) {
		t.Errorf("the idle connection lives on: %v", err)
	}
}

func TestTCPStalledReaderIsCutOff(t *testing.T) {
	b := rawBackend(t, "b", func(c net.Conn, r *bufio.Reader) {
		block := make([]byte, 1<<20)
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	tp := newTestPlane(t)
	c, _ := dialTCP(t, tp.apply(Frontend{Name: "db", Listen: "127.0.0.1:0", Protocol: TCP, Backends: []Backend{b}, Timeouts: Timeouts{Stream: Duration(200 * time.Millisecond)}})[0])
	until(t, "the connection is over, though the client still sends", func() bool {
		io.WriteString(c, "x")
		s := tp.frontendStats()
		return s.Requests == 1 && s.InFlight == 0
	})
}
