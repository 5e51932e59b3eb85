package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/internal/lb"
	"github.com/flowctl/flowctl/internal/load"
)

const frontendFlow = `flow "bench" {}

vm "node" {
  cpus   = 2
  memory = "1GiB"
}

function "api" {
  on       = vm.node
  replicas = 2
  exec     = [%q, "api"]

  health {
    http = "/healthz"
  }
}

frontend "www" {
  listen  = "127.0.0.1:0"
  balance = "round_robin"
  to      = function.api
}
`

// proxy is a load balancer that is measured.
type proxy struct {
	name string
	addr string
	pid  int
	took map[bool][]served // by whether each request had a connection of its own
}

// served is what one round of load cost.
type served struct {
	cpu      float64 // seconds of the proxy per 100,000 requests
	p50, p99 float64 // ms
}

// The load of one round, and how many rounds; the proxies take turns, so that
// what else the machine does meets all of them.
const (
	frontendRate   = 1500
	frontendTime   = 8 * time.Second
	frontendRounds = 3
)

// frontend measures the processor time of the data plane, and of HAProxy before
// the same backends.
func (b *bench) frontend(ctx context.Context) (err error) {
	dir, err := b.folder("frontend", "flow.hcl", fmt.Sprintf(frontendFlow, b.demo))
	if err != nil {
		return err
	}
	if _, err := measure(ctx, dir, 0, b.flowctl, "apply", "-auto-approve"); err != nil {
		return err
	}
	defer func() {
		if _, derr := measure(context.WithoutCancel(ctx), dir, 0, b.flowctl, "destroy", "-auto-approve"); err == nil {
			err = derr
		}
	}()
	ours, backends, err := embedded(ctx, filepath.Join(dir, ".flowctl", "bench", "embedded"))
	if err != nil {
		return err
	}
	proxies := []*proxy{ours}
	if b.haproxy != "" {
		theirs, end, err := b.startHAProxy(dir, backends)
		if err != nil {
			return err
		}
		defer end()
		proxies = append(proxies, theirs)
	}
	for range frontendRounds {
		for _, fresh := range []bool{false, true} {
			for _, p := range proxies {
				if err := p.serve(ctx, fresh); err != nil {
					return err
				}
			}
		}
	}
	report(proxies)
	return nil
}

func report(proxies []*proxy) {
	fmt.Printf("\nProcessor time of a load balancer for 100,000 requests, at %d a second (median of %d)\n", frontendRate, frontendRounds)
	fmt.Printf("%-18s %-9s %9s %10s %10s %12s\n", "connections", "", "cpu", "p50", "p99", "x HAProxy")
	for _, fresh := range []bool{false, true} {
		kind := map[bool]string{false: "kept", true: "one each"}[fresh]
		last := median(proxies[len(proxies)-1].took[fresh])
		for _, p := range proxies {
			m := median(p.took[fresh])
			fmt.Printf("%-18s %-9s %7.2f s %7.2f ms %7.2f ms", kind, p.name, m.cpu, m.p50, m.p99)
			if len(proxies) > 1 && p == proxies[0] {
				fmt.Printf(" %10.2f", m.cpu/last.cpu)
			}
			fmt.Println()
		}
	}
}

func median(all []served) served {
	s := slices.SortedFunc(slices.Values(all), func(a, b served) int { return int(1e6 * (a.cpu - b.cpu)) })
	return s[len(s)/2]
}

// embedded finds flowctl's data plane and the backends that it has.
func embedded(ctx context.Context, dir string) (*proxy, []string, error) {
	proc, err := daemon.Find(dir)
	if err != nil {
		return nil, nil, err
	}
	c := lb.NewClient(dir)
	defer c.Close()
	saved, err := c.Snapshot(ctx)
	if err != nil {
		return nil, nil, err
	}
	front := saved.Snapshot.Frontends[0]
	var backends []string
	for _, b := range front.Backends {
		backends = append(backends, b.Address)
	}
	stats, err := c.Stats(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &proxy{name: "flowctl", addr: stats.Frontends[0].Listen, pid: proc.PID, took: map[bool][]served{}}, backends, nil
}

func (b *bench) startHAProxy(dir string, backends []string) (*proxy, func(), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	addr := l.Addr().String()
	l.Close()
	var conf strings.Builder
	fmt.Fprintf(&conf, "defaults\n  mode http\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\nfrontend www\n  bind %s\n  default_backend api\nbackend api\n  balance roundrobin\n  option httpchk GET /healthz\n", addr)
	for i, be := range backends {
		fmt.Fprintf(&conf, "  server s%d %s check inter 1s\n", i, be)
	}
	path := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(path, []byte(conf.String()), 0o600); err != nil {
		return nil, nil, err
	}
	cmd := osexec.Command(b.haproxy, "-db", "-f", path)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	end := func() { cmd.Process.Kill(); cmd.Wait() }
	for range 100 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return &proxy{name: "HAProxy", addr: addr, pid: cmd.Process.Pid, took: map[bool][]served{}}, end, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	end()
	return nil, nil, fmt.Errorf("HAProxy does not listen on %s: %s", addr, &said)
}

// serve sends one round of load.
func (p *proxy) serve(ctx context.Context, fresh bool) error {
	c := load.Preset(load.Steady)
	c.Request.URL, c.Shape.BaseRPS, c.Shape.Duration = "http://"+p.addr+"/fib/1", frontendRate, frontendTime
	c.NewConnections = fresh
	before, err := processorTime(p.pid)
	if err != nil {
		return err
	}
	r, err := load.Run(ctx, c, nil)
	if err != nil {
		return err
	}
	after, err := processorTime(p.pid)
	if err != nil {
		return err
	}
	if r.Failed() > 0 || r.OK == 0 {
		return fmt.Errorf("%s: %d of %d requests failed\n%s", p.name, r.Failed(), r.Sent, load.Summary(r))
	}
	p.took[fresh] = append(p.took[fresh], served{cpu: (after - before) / float64(r.OK) * 1e5, p50: r.P50Ms, p99: r.P99Ms})
	return nil
}

// ticks is how many the kernel counts in a second of processor time: USER_HZ,
// which is 100 on every architecture that Go knows.
const ticks = 100

// processorTime is what a process has used until now, in seconds: utime and
// stime of proc(5).
func processorTime(pid int) (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticks, err
}
