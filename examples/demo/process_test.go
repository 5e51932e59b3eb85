package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is the program, running.
type process struct {
	*osexec.Cmd
	url string
	log *bufio.Scanner
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	cmd := osexec.Command(os.Args[0], append(args, "-port", "0")...)
	cmd.Env = append(os.Environ(), "DEMO_TEST_RUN=1", "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p := &process{Cmd: cmd, log: bufio.NewScanner(stderr)}
	line := p.await(t, "msg=listening")
	_, addr, _ := strings.Cut(line, "addr=")
	p.url = "http://" + addr
	return p
}

// await reads the log up to a line with the words.
func (p *process) await(t *testing.T, words string) string {
	t.Helper()
	for p.log.Scan() {
		if strings.Contains(p.log.Text(), words) {
			return p.log.Text()
		}
	}
	t.Fatalf("the log ends without %q", words)
	return ""
}

// busy waits until n requests are being answered.
func (p *process) busy(t *testing.T, n string) {
	t.Helper()
	for {
		_, body, err := fetch(t.Context(), http.DefaultClient, p.url+"/metrics")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(body, "\ndemo_requests_in_flight "+n+"\n") {
			return
		}
	}
}

// exit waits for the end and says how it was: a code, or -1 for a signal.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	for p.log.Scan() {
		t.Log(p.log.Text())
	}
	err := p.Wait()
	if exit, ok := errors.AsType[*osexec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func fetch(ctx context.Context, c *http.Client, url string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// fresh is a client with a connection of its own.
func fresh(h2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	return &http.Client{Transport: &http.Transport{Protocols: protocols}}
}

type got struct {
	res  *http.Response
	body string
	err  error
}

func (p *process) later(t *testing.T, c *http.Client, path string) <-chan got {
	ch := make(chan got, 1)
	go func() {
		res, body, err := fetch(t.Context(), c, p.url+path)
		ch <- got{res, body, err}
	}()
	return ch
}

func TestGracefulStop(t *testing.T) {
	for name, c := range map[string]struct {
		sig os.Signal
		h2  bool
	}{
		"SIGTERM and HTTP/1.1": {syscall.SIGTERM, false},
		"SIGINT and HTTP/2":    {os.Interrupt, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, "fib")
			sleeping := p.later(t, fresh(c.h2), "/sleep/1500ms")
			stream := p.later(t, fresh(c.h2), "/events")
			p.busy(t, "2")
			p.signal(t, c.sig)
			p.await(t, "msg=stopping")

			// The health is down at once, on a new connection too, and work that
			// still comes is served.
			for p.healthy(t) {
			}
			for _, h2 := range []bool{false, true} {
				res, body, err := fetch(t.Context(), fresh(h2), p.url+"/fib/10")
				if err != nil || res.StatusCode != 200 || res.ProtoMajor == 2 != h2 {
					t.Errorf("work while stopping: %v %s %v", res, body, err)
				}
			}
			if g := <-stream; g.err != nil || !strings.Contains(g.body, "event: stop") {
				t.Errorf("the stream ended with %q, %v", g.body, g.err)
			}
			if g := <-sleeping; g.err != nil || g.res.StatusCode != 200 || !strings.Contains(g.body, "took_ms") {
				t.Errorf("the request at work was cut: %v %v", g.res, g.err)
			}
			if code := p.exit(t); code != 0 {
				t.Errorf("exit %d", code)
			}
		})
	}
}

func (p *process) healthy(t *testing.T) bool {
	t.Helper()
	res, _, err := fetch(t.Context(), fresh(false), p.url+"/healthz")
	if err != nil {
		t.Fatalf("the health cannot be asked: %v", err)
	}
	return res.StatusCode == 200
}

func TestDrainIsBounded(t *testing.T) {
	p := start(t, "fib", "-drain", "100ms")
	sleeping := p.later(t, fresh(false), "/sleep/1m")
	p.busy(t, "1")
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	if g := <-sleeping; g.err == nil {
		t.Errorf("got %v", g.res)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := start(t, "fib", "-drain", "10m")
	sleeping := p.later(t, fresh(false), "/sleep/1m")
	p.busy(t, "1")
	p.signal(t, syscall.SIGTERM)
	p.await(t, "msg=stopping")
	// The handler is taken off just after ctx ends, so keep at it.
	for {
		if p.Process.Signal(syscall.SIGTERM) != nil {
			break
		}
		select {
		case g := <-sleeping:
			if g.err == nil {
				t.Errorf("got %v", g.res)
			}
			if code := p.exit(t); code == 0 {
				t.Error("exit 0")
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Connections on which nothing was ever sent, as pools leave them about, do
// not hold up the stop for the five seconds that net/http gives them.
func TestUnusedConnectionsDoNotHoldUpTheStop(t *testing.T) {
	p := start(t, "fib", "-drain", "1m")
	c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !p.healthy(t) { // by then the connection before is accepted
		t.Fatal("not healthy")
	}
	begin := time.Now()
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 || time.Since(begin) > 4*time.Second {
		t.Errorf("exit %d after %v", code, time.Since(begin))
	}
}

func TestCrashes(t *testing.T) {
	p := start(t, "fib", "-crash-after", "3")
	c := fresh(false)
	for range 3 {
		if res, _, err := fetch(t.Context(), c, p.url+"/fib/1"); err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
	}
	if res, _, err := fetch(t.Context(), fresh(false), p.url+"/fib/1"); err == nil {
		t.Errorf("the fourth request is answered: %v", res)
	}
	if code := p.exit(t); code != exitCrash {
		t.Errorf("exit %d, want %d", code, exitCrash)
	}
	if code := start(t, "fib", "-crash-after", "50ms").exit(t); code != exitCrash {
		t.Errorf("exit %d after 50 ms, want %d", code, exitCrash)
	}
}

func TestPortInUse(t *testing.T) {
	p := start(t, "fib")
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(p.url, "http://"))
	var stderr strings.Builder
	if code := run(t.Context(), []string{"fib", "-port", port}, env(), io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "address already in use") {
		t.Errorf("exit %d, %s", code, &stderr)
	}
}
