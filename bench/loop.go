package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/internal/trial"
)

// The sizes of the flow whose loop is measured: two rules for each function, one
// of its replicas and one of the machines under it.
const (
	functions    = 1000
	replicasEach = 10
)

const loopFlow = `flow "loop" {
  provider = "sim"
}

provider "sim" {
  rps = 300
  cpu = 0.4
}

locals {
  keys = toset([for i in range(%[1]d) : "k${i}"])
}

vm "node" {
  for_each = local.keys
  cpus     = 8
  memory   = "8GiB"
  slots    = 5
}

function "f" {
  for_each = local.keys
  on       = vm.node[each.key]
  exec     = ["x"]
  cpu      = 1
}

frontend "f" {
  provider = "sim"
  for_each = local.keys
  listen   = "127.0.0.1:0"
  to       = function.f[each.key]
}

scaling "f" {
  for_each = local.keys
  target   = function.f[each.key]
  min      = %[2]d
  max      = 20
  metric "rps" {
    target = 50
  }
  metric "cpu" {
    utilisation = 0.7
  }
}

scaling "node" {
  for_each = local.keys
  target   = vm.node[each.key]
  min      = 1
  max      = 5
}
`

const idleFlow = `flow "idle" {}

vm "node" {
  cpus   = 8
  memory = "1GiB"
  slots  = 10
}

function "web" {
  on     = vm.node
  exec   = ["flowctl-demo", "api"]
  health {
    http = "/healthz"
  }
}

frontend "www" {
  listen = "127.0.0.1:0"
  to     = function.web
}

scaling "web" {
  target = function.web
  min    = 50
  max    = 60
  metric "rps" {
    target = 50
  }
}

scaling "node" {
  target = vm.node
  min    = 1
  max    = 10
}
`

// observed is how long a loop is measured: three looks at everything, and thirty
// readings.
const observed = 30 * time.Second

// share is a time of a processor in percent of the time that was observed.
func share(cpu time.Duration) float64 { return 100 * cpu.Seconds() / observed.Seconds() }

// loop measures what the controller costs: of a large simulated flow, and of a
// small real one that nobody asks anything of.
func (b *bench) loop(ctx context.Context) error {
	return errors.Join(b.largeLoop(ctx), b.idleLoop(ctx))
}

// controlled applies a flow, has its controller settle, and measures.
func (b *bench) controlled(ctx context.Context, name, text string, settle time.Duration, measure func(trial.Flow, daemon.Proc) error) (err error) {
	dir, err := b.folder(name, "flow.hcl", text)
	if err != nil {
		return err
	}
	flow := trial.Flow{Program: b.flowctl, Spec: filepath.Join(dir, "flow.hcl"), Name: name, Env: []string{"PATH=" + filepath.Dir(b.demo) + string(os.PathListSeparator) + os.Getenv("PATH")}}
	defer func() { err = errors.Join(err, flow.Destroy(context.WithoutCancel(ctx))) }()
	if err := flow.Apply(ctx); err != nil {
		return err
	}
	p, err := daemon.Find(flow.Controller())
	if err != nil {
		return err
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	return measure(flow, p)
}

func pause(ctx context.Context, t time.Duration) error {
	select {
	case <-time.After(t):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// largeLoop measures a large flow at rest. The memory is that of the controller's whole
// process: the simulated world is in it, too, of which what the state has recorded
// truly is kept once for both.
func (b *bench) largeLoop(ctx context.Context) error {
	fmt.Printf("\nloop: %d functions with %d replicas each, simulated, and %d rules\n", functions, replicasEach, 2*functions)
	return b.controlled(ctx, "loop", fmt.Sprintf(loopFlow, functions, replicasEach), 45*time.Second, func(f trial.Flow, p daemon.Proc) error {
		before, err := counters(ctx, f)
		if err != nil {
			return err
		}
		cpu, most := cpuOf(p.PID), int64(0)
		for range observed / time.Second {
			if err := pause(ctx, time.Second); err != nil {
				return err
			}
			most = max(most, memoryOf(p.PID, "VmRSS"))
		}
		after, err := counters(ctx, f)
		if err != nil {
			return err
		}
		spent := after["flowctl_evaluation_seconds_total"] - before["flowctl_evaluation_seconds_total"]
		n := after["flowctl_evaluations_total"] - before["flowctl_evaluations_total"]
		fmt.Printf("  all rules evaluated once      %6.0f ms (the mean of %.0f evaluations)\n", 1000*spent/n*2*functions, n)
		fmt.Printf("  resident memory, at most      %6d MB; %d MB while it began\n", most>>20, memoryOf(p.PID, "VmHWM")>>20)
		fmt.Printf("  processor                     %6.1f %% of one core\n", share(cpuOf(p.PID)-cpu))
		return nil
	})
}

// idleLoop measures what all processes of a small flow but the replicas take while
// nobody asks anything: their readings, and a check of each replica each second.
func (b *bench) idleLoop(ctx context.Context) error {
	fmt.Printf("\nloop: 50 replicas of the local provider, of which nobody asks anything\n")
	return b.controlled(ctx, "idle", idleFlow, 10*time.Second, func(f trial.Flow, p daemon.Proc) error {
		parts := []struct {
			name string
			dirs string
		}{{"controller", "controller"}, {"frontends", "embedded"}, {"machines", "local/*"}}
		used := func() (all []time.Duration, err error) {
			for _, part := range parts {
				cpu := time.Duration(0)
				dirs, err := filepath.Glob(filepath.Join(filepath.Dir(f.Controller()), part.dirs))
				if err != nil {
					return nil, err
				}
				for _, dir := range dirs {
					if p, err := daemon.Find(dir); err == nil {
						cpu += cpuOf(p.PID)
					}
				}
				all = append(all, cpu)
			}
			return all, nil
		}
		before, err := used()
		if err != nil {
			return err
		}
		if err := pause(ctx, observed); err != nil {
			return err
		}
		after, err := used()
		if err != nil {
			return err
		}
		for i, part := range parts {
			fmt.Printf("  processor, %-18s %6.1f %% of one core\n", part.name, share(after[i]-before[i]))
		}
		fmt.Printf("  processor, %-18s %6.1f %% of one core\n", "the first two", share(after[0]+after[1]-before[0]-before[1]))
		fmt.Printf("  memory of the controller      %6d MB\n", memoryOf(p.PID, "VmRSS")>>20)
		return nil
	})
}

// counters are the metrics of the controller that have no labels.
func counters(ctx context.Context, f trial.Flow) (map[string]float64, error) {
	client := daemon.HTTPClient(f.Controller())
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://controller/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	all := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = v
		}
	}
	return all, lines.Err()
}

// cpuOf is the processor time that a process has used; 0 if it cannot be told.
func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text)[strings.LastIndexByte(string(text), ')')+1:])
	user, _ := strconv.Atoi(fields[11]) // the 14th and 15th of proc(5), in ticks of 10 ms
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// memoryOf is a line of a process's status, in bytes.
func memoryOf(pid int, name string) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name+":" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}
