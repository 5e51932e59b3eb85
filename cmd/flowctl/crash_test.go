package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/internal/lb"
	"github.com/flowctl/flowctl/providers/sim"
)

// crashFlow is two tiers with every kind of edge between them; %s is its name.
const crashFlow = `
flow "%s" {}

vm "node" {
  cpus   = 2
  memory = "1GiB"
  slots  = 6
  count  = 2
}

function "api" {
  on       = vm.node
  replicas = 2
  exec     = ["flowctl-demo", "api"]
  spread   = true
  stop {
    grace = "2s"
  }
  health {
    http = "/healthz"
  }
}

frontend "api" {
  listen = "127.0.0.1:0"
  to     = function.api
}

task "migrate" {
  depends_on = [function.api]
  exec       = ["true"]
}

function "web" {
  on     = vm.node
  exec   = ["flowctl-demo", "web"]
  env    = { API_URL = frontend.api.url, VERSION = "%s" }
  health {
    http = "/healthz"
  }
}

frontend "www" {
  listen = "127.0.0.1:0"
  to     = function.web
}
`

// flowctl is one flow in a folder of its own, on which commands are run.
type flowctl struct {
	t    *testing.T
	dir  string
	name string
	far  string // a second container engine, which the flow uses, too
}

func newFlow(t *testing.T, name, version string) flowctl {
	f := flowctl{t: t, dir: t.TempDir(), name: name}
	f.write(version)
	t.Cleanup(func() { killLeftovers(t, f.dir) })
	return f
}

func (f flowctl) write(version string) {
	if err := os.WriteFile(filepath.Join(f.dir, "flow.hcl"), fmt.Appendf(nil, crashFlow, f.name, version), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// run runs a command, killed at a point if that is not 0, and returns what it
// printed and whether it was killed.
func (f flowctl) run(point int, args ...string) (out string, killed bool, err error) {
	cmd := osexec.Command(filepath.Join(plainDir, "flowctl"), args...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "PATH="+demoDir+string(os.PathListSeparator)+os.Getenv("PATH"))
	if point > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", crashAt, point))
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *osexec.ExitError
	killed = errors.As(err, &exit) && exit.ExitCode() == -1
	if err != nil && !killed {
		err = fmt.Errorf("flowctl %s: %w\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String(), killed, err
}

func (f flowctl) must(args ...string) string {
	f.t.Helper()
	out, _, err := f.run(0, args...)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// recorded checks that nothing is left to do, or open, and returns the state.
func (f flowctl) recorded(when string) (state view.JSONState) {
	f.t.Helper()
	if _, _, err := f.run(0, "plan", "-detailed-exitcode"); err != nil {
		f.t.Fatalf("%s: %v\nthe state:\n%s\nthe run that was to put it right:\n%s", when, err, f.must("show", "-json"), f.must("runs", "show", "-json"))
	}
	if err := json.Unmarshal([]byte(f.must("show", "-json")), &state); err != nil {
		f.t.Fatal(err)
	}
	if state.Open > 0 {
		f.t.Errorf("%s: %d operations are still open", when, state.Open)
	}
	return state
}

// whole checks that the world is just what the state says: no orphan, no
// duplicate, and nothing left to do.
func (f flowctl) whole(point int) {
	f.t.Helper()
	state := f.recorded(fmt.Sprintf("killed at point %d", point))
	var replicas, machines, backends []string
	for _, o := range state.Objects {
		name := fmt.Sprintf("%s#%d", o.Address, o.Generation)
		switch strings.SplitN(o.Address, ".", 2)[0] {
		case "function":
			replicas = append(replicas, name)
		case "vm":
			machines = append(machines, name)
		case "backend":
			backends = append(backends, name)
		}
	}
	if len(replicas) != 3 || len(machines) != 2 || len(backends) != 3 {
		f.t.Errorf("killed at point %d: recorded are %v, %v, %v", point, machines, replicas, backends)
	}
	if got := processes("FLOWCTL_FLOW=" + f.name + "\x00"); len(got) != len(replicas) {
		f.t.Errorf("killed at point %d: %d processes of replicas, recorded are %d:\n%s", point, len(got), len(replicas), strings.Join(got, "\n"))
	}
	agents := processes(filepath.Join(f.dir, stateDir, f.name, "local"))
	agents = slices.DeleteFunc(agents, func(p string) bool { return !strings.Contains(p, "machine-agent") })
	if len(agents) != len(machines) {
		f.t.Errorf("killed at point %d: machine agents %v, recorded are %v", point, agents, machines)
	}
	f.membership(point, backends)
}

// membership compares the data plane's with the state's.
func (f flowctl) membership(point int, recorded []string) {
	c := lb.NewClient(filepath.Join(f.dir, stateDir, f.name, "embedded"))
	defer c.Close()
	saved, err := c.Snapshot(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	var there []string
	for _, front := range saved.Snapshot.Frontends {
		for _, b := range front.Backends {
			if b.Draining {
				f.t.Errorf("killed at point %d: %s is left draining", point, b.ID)
			}
			there = append(there, b.ID)
		}
	}
	slices.Sort(there)
	slices.Sort(recorded)
	if !slices.Equal(there, recorded) {
		f.t.Errorf("killed at point %d: the data plane has %v, recorded are %v", point, there, recorded)
	}
}

// gone checks that a destroyed flow left nothing.
func (f flowctl) gone(point int) {
	f.t.Helper()
	if got := processes(f.dir); len(got) > 0 {
		f.t.Errorf("killed at point %d: after destroy there are still %v", point, got)
	}
	if _, err := os.Stat(filepath.Join(f.dir, stateDir)); err == nil {
		f.t.Errorf("killed at point %d: after destroy there is still a state folder", point)
	}
}

// loopPoints kills a command at point 1, 2, 3 … until it survives, has check look
// at each wreck, and asserts that there were as many points as there were once. Part i
// of n takes every n-th: much of the time is waiting for processes to begin and end.
func loopPoints(t *testing.T, least int, once func(t *testing.T, point int) (killed bool)) {
	killAtPoints(t, 1, 1, least, once)
}

// somePoints does so at every stride-th point, from a random one on; at every point
// with FLOWCTL_TEST_EVERY_POINT.
func somePoints(t *testing.T, stride, least int, once func(t *testing.T, point int) (killed bool)) {
	first := 1
	if everyPoint() {
		stride = 1
	} else {
		first += rand.IntN(stride)
		t.Logf("points from %d on, every %d", first, stride)
	}
	killAtPoints(t, first, stride, least, once)
}

func killAtPoints(t *testing.T, first, stride, least int, once func(t *testing.T, point int) (killed bool)) {
	const parts = 4
	last := make([]int, parts)
	t.Run("points", func(t *testing.T) {
		for part := range parts {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				for point := first + part*stride; once(t, point) && !t.Failed(); point += parts * stride {
					last[part] = point
				}
			})
		}
	})
	n := slices.Max(last)
	t.Logf("the last point was %d", n)
	if n+2*stride < least && !t.Failed() {
		t.Errorf("the last point was %d, there were %d once: has the test lost its seams?", n, least)
	}
}

// everyPoint reports whether tests that kill at some points are to kill at all.
func everyPoint() bool { return os.Getenv("FLOWCTL_TEST_EVERY_POINT") != "" }

func TestApplyKilledAtEveryPoint(t *testing.T) {
	loopPoints(t, 50, func(t *testing.T, point int) bool {
		f := newFlow(t, fmt.Sprintf("crash-apply-%d", point), "1")
		_, killed, err := f.run(point, "apply", "-auto-approve")
		if !killed && err != nil {
			t.Fatal(err)
		}
		f.must("apply", "-auto-approve")
		f.whole(point)
		f.must("destroy", "-auto-approve")
		f.gone(point)
		return killed
	})
}

func TestRollingUpdateKilledAtPoints(t *testing.T) {
	somePoints(t, 5, 30, func(t *testing.T, point int) bool {
		f := newFlow(t, fmt.Sprintf("crash-roll-%d", point), "1")
		f.must("apply", "-auto-approve")
		f.write("2")
		_, killed, err := f.run(point, "apply", "-auto-approve")
		if !killed && err != nil {
			t.Fatal(err)
		}
		f.must("apply", "-auto-approve")
		f.whole(point)
		f.must("destroy", "-auto-approve")
		f.gone(point)
		return killed
	})
}

func TestDestroyKilledAtPoints(t *testing.T) {
	somePoints(t, 5, 60, func(t *testing.T, point int) bool {
		f := newFlow(t, fmt.Sprintf("crash-destroy-%d", point), "1")
		f.must("apply", "-auto-approve")
		_, killed, err := f.run(point, "destroy", "-auto-approve")
		if !killed && err != nil {
			t.Fatal(err)
		}
		f.must("destroy", "-auto-approve")
		f.gone(point)
		return killed
	})
}

// A warm machine that becomes another is one of the two at any moment: each machine is
// made once, whenever the apply dies.
func TestTakingAWarmMachineKilledAtEveryPoint(t *testing.T) {
	const text = `
flow "%s" {
  provider = "sim"
}

variable "n" {}

vm "node" {
  count  = var.n
  warm   = 1
  cpus   = 2
  memory = "1GiB"
}
`
	loopPoints(t, 15, func(t *testing.T, point int) bool {
		f := flowctl{t: t, dir: t.TempDir(), name: fmt.Sprintf("crash-warm-%d", point)}
		if err := os.WriteFile(filepath.Join(f.dir, "flow.hcl"), fmt.Appendf(nil, text, f.name), 0o600); err != nil {
			t.Fatal(err)
		}
		f.must("apply", "-auto-approve", "-no-serve", "-var=n=1")
		_, killed, err := f.run(point, "apply", "-auto-approve", "-no-serve", "-var=n=2")
		if !killed && err != nil {
			t.Fatal(err)
		}
		f.must("apply", "-auto-approve", "-no-serve", "-var=n=2")
		f.must("plan", "-detailed-exitcode", "-var=n=2")
		w, err := sim.OpenWorld(filepath.Join(f.dir, ".flowctl", f.name, "sim"))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		var there []string
		for _, o := range w.Objects() {
			there = append(there, o.Address.String())
		}
		if want := []string{"vm.node[0]", "vm.node[1]", "warm.node[0]"}; !slices.Equal(there, want) {
			t.Errorf("killed at point %d: there are %v, want %v", point, there, want)
		}
		return killed
	})
}

// An order that dies is given again; then all is as if it had not.
func TestOrdersKilledAtSomePoints(t *testing.T) {
	for _, order := range [][]string{{"restart", "function.web"}, {"suspend", "vm.node"}, {"resume", "vm.node"}} {
		t.Run(order[0], func(t *testing.T) {
			somePoints(t, 16, 8, func(t *testing.T, point int) bool {
				f := newFlow(t, fmt.Sprintf("crash-%s-%d", order[0], point), "1")
				f.must("apply", "-auto-approve")
				if order[0] == "resume" {
					f.must("suspend", order[1])
				}
				_, killed, err := f.run(point, order...)
				if !killed && err != nil {
					t.Fatal(err)
				}
				f.must(order...)
				f.must("plan", "-detailed-exitcode")
				f.must("resume", "vm.node")
				f.whole(point)
				f.must("destroy", "-auto-approve")
				f.gone(point)
				return killed
			})
		})
	}
}
