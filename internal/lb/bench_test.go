package lb

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/flowctl/flowctl/internal/daemon"
)

// benchBody is what the backends of the benchmarks answer.
const benchBody = 200

// BenchmarkProxy sends requests over 64 keep-alive connections through one data
// plane after the other to four backends, each in a process of its own, and
// reports the CPU time that the data plane's process took per request. HAProxy
// is measured beside it if it is installed. Run with -benchtime 200000x.
func BenchmarkProxy(b *testing.B) {
	backends := benchBackends(b)
	b.Run("http", func(b *testing.B) { benchOwn(b, Frontend{}, backends) })
	b.Run("http-round-robin", func(b *testing.B) { benchOwn(b, Frontend{Balance: RoundRobin}, backends) })
	b.Run("tcp", func(b *testing.B) { benchOwn(b, Frontend{Protocol: TCP}, backends) })
	b.Run("haproxy-http", func(b *testing.B) { benchHAProxy(b, "http", backends) })
	b.Run("haproxy-tcp", func(b *testing.B) { benchHAProxy(b, "tcp", backends) })
}

func benchOwn(b *testing.B, f Frontend, backends []Backend) {
	dir := b.TempDir()
	cmd := osexec.Command(os.Args[0]) // not spawned: a session of its own is scheduled otherwise (autogroup)
	cmd.Env = append(os.Environ(), "LB_TEST_DIR="+dir)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	f.Name, f.Listen, f.Backends = "bench", "127.0.0.1:0", backends
	c := NewClient(dir)
	defer c.Close()
	var a Applied
	err := daemon.ErrNotRunning
	for errors.Is(err, daemon.ErrNotRunning) {
		a, err = c.Apply(b.Context(), Snapshot{Version: 1, Frontends: []Frontend{f}})
	}
	if err != nil || a.Frontends[0].Error != "" {
		b.Fatal(a, err)
	}
	benchLoad(b, a.Frontends[0].Listen, cmd.Process.Pid)
}

func benchHAProxy(b *testing.B, mode string, backends []Backend) {
	exe, err := osexec.LookPath("haproxy")
	if err != nil {
		b.Skip("haproxy is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var cfg bytes.Buffer
	fmt.Fprintf(&cfg, "global\n  nbthread 2\ndefaults\n  mode %s\n  timeout connect 3s\n  timeout client 60s\n  timeout server 60s\n", mode)
	fmt.Fprintf(&cfg, "listen bench\n  bind %s\n", addr)
	if mode == "http" {
		cfg.WriteString("  option forwardfor\n  balance roundrobin\n")
	}
	for i, s := range backends {
		fmt.Fprintf(&cfg, "  server s%d %s\n", i, s.Address)
	}
	path := filepath.Join(b.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(path, cfg.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := osexec.Command(exe, "-db", "-f", path)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			break
		}
	}
	benchLoad(b, addr, cmd.Process.Pid)
}

// benchLoad sends b.N requests and reports the CPU time of process pid for each.
func benchLoad(b *testing.B, addr string, pid int) {
	const conns = 64
	var left atomic.Int64
	send := func(n int) {
		left.Store(int64(n))
		var all sync.WaitGroup
		for range conns {
			all.Go(func() {
				if err := benchConn(addr, &left); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}
	send(2000) // warm
	before := cpuTime(b, pid)
	b.ResetTimer()
	send(b.N)
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b, pid)-before)/float64(b.N), "cpu-ns/req")
}

func benchConn(addr string, left *atomic.Int64) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	req := []byte("GET /index.html HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	r := bufio.NewReader(c)
	for left.Add(-1) >= 0 {
		if _, err := c.Write(req); err != nil {
			return err
		}
		for line := []byte("x"); len(line) > 2; {
			if line, err = r.ReadSlice('\n'); err != nil {
				return err
			}
		}
		if _, err := r.Discard(benchBody); err != nil {
			return err
		}
	}
	return nil
}

// cpuTime is the user and system time of a process in ns, to 10 ms.
func cpuTime(b *testing.B, pid int) int64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return (user + system) * 1e7
}

// benchBackends starts a process with four backends.
func benchBackends(b *testing.B) (bs []Backend) {
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LB_TEST_BACKENDS=4")
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Signal(syscall.SIGKILL); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	for i, addr := range strings.Fields(line) {
		bs = append(bs, Backend{ID: strconv.Itoa(i), Address: addr})
	}
	return bs
}

// serveBenchBackends is the process of benchBackends.
func serveBenchBackends(n int) {
	body := strings.Repeat("x", benchBody)
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		addrs = append(addrs, l.Addr().String())
		go http.Serve(l, h)
	}
	fmt.Println(strings.Join(addrs, " "))
	select {}
}
