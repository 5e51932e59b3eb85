package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/internal/load"
)

// loopFlow follows a number that lies in a file; its machines follow it.
const loopFlow = `
flow "%s" {}

vm "node" {
  cpus   = 2
  memory = "1GiB"
  slots  = 4
}

function "web" {
  on     = vm.node
  exec   = ["flowctl-demo", "fib"]
  spread = true
  drain  = "1s"
  health {
    http     = "/healthz"
    interval = "50ms"
  }
}

frontend "www" {
  listen = "127.0.0.1:0"
  to     = function.web
}

output "www" { value = frontend.www.url }

scaling "web" {
  target = function.web
  min    = 1
  max    = 12
  metric "jobs" {
    source = "exec"
    query  = "cat %s"
    target = 1
    window = "1s"
  }
}

scaling "node" {
  target   = vm.node
  min      = %d
  max      = 4
}
`

// looping is a flow with a controller, whose size the test sets.
type looping struct{ flowctl }

// newLooping applies loopFlow with edits: a text and what stands for it, and so on.
func newLooping(t *testing.T, name string, size, machines int, edits ...string) looping {
	f := looping{flowctl{t: t, dir: t.TempDir(), name: name}}
	t.Cleanup(func() { killLeftovers(t, f.dir) })
	f.size(size)
	if err := os.WriteFile(filepath.Join(f.dir, "flow.hcl"), fmt.Appendf(nil, loopFlow, name, filepath.Join(f.dir, "jobs"), machines), 0o644); err != nil {
		t.Fatal(err)
	}
	f.edit(edits...)
	f.must("apply", "-auto-approve")
	f.until("the first size", func() bool { return f.counts("function") == size })
	return f
}

// edit writes other texts into the spec: old and new, and so on.
func (f looping) edit(edits ...string) {
	f.t.Helper()
	name := filepath.Join(f.dir, "flow.hcl")
	text, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, []byte(strings.NewReplacer(edits...).Replace(string(text))), 0o644)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// size says how many jobs there are, of which each replica takes one.
func (f looping) size(jobs int) {
	f.t.Helper()
	tmp := filepath.Join(f.dir, "jobs.new")
	if err := os.WriteFile(tmp, []byte(strconv.Itoa(jobs)), 0o644); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(f.dir, "jobs")); err != nil {
		f.t.Fatal(err)
	}
}

// until waits for something to become true.
func (f looping) until(what string, is func() bool) {
	f.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); time.Since(begin) < 2*time.Minute; <-tick.C {
		if is() {
			return
		}
	}
	f.t.Fatalf("%s never came about\n%s\n%s\n%s", what, f.must("status"), f.must("decisions"), f.controllerLog())
}

func (f looping) controllerLog() string {
	all, _ := filepath.Glob(filepath.Join(f.dir, stateDir, f.name, controllerDir, "*"))
	for _, name := range all {
		if strings.HasSuffix(name, "log") {
			text, _ := os.ReadFile(name)
			return string(text)
		}
	}
	return ""
}

// recorded lists what the state has of a kind, with generations.
func (f looping) recorded(kind string) []string {
	f.t.Helper()
	var state view.JSONState
	if err := json.Unmarshal([]byte(f.must("show", "-json")), &state); err != nil {
		f.t.Fatal(err)
	}
	var all []string
	for _, o := range state.Objects {
		if strings.HasPrefix(o.Address, kind+".") {
			all = append(all, fmt.Sprintf("%s#%d", o.Address, o.Generation))
		}
	}
	return all
}

func (f looping) counts(kind string) int { return len(f.recorded(kind)) }

// settled checks that there is as much of the function as wanted: in the state, as
// processes and in the data plane, and that nothing is left to do.
func (f looping) settled(size int) {
	f.t.Helper()
	f.until(fmt.Sprintf("%d replicas, and nothing to do", size), func() bool {
		if f.counts("function") != size {
			return false
		}
		_, _, err := f.run(0, "plan", "-detailed-exitcode")
		return err == nil
	})
	if got := processes("FLOWCTL_FLOW=" + f.name + "\x00"); len(got) != size {
		f.t.Errorf("%d processes of replicas, want %d:\n%s", len(got), size, strings.Join(got, "\n"))
	}
	f.membership(0, f.recorded("backend"))
}

// kill9 kills the background process of a folder of the flow's, and returns its pid.
func (f looping) kill9(folder ...string) int {
	f.t.Helper()
	p, err := daemon.Find(filepath.Join(append([]string{f.dir, stateDir, f.name}, folder...)...))
	if err == nil {
		err = syscall.Kill(p.PID, syscall.SIGKILL)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return p.PID
}

// A machine whose agent is killed under load is made again, its replicas run
// elsewhere; no request fails but those that the dead replicas had, and of these
// only what cannot be sent again.
func TestAMachineKilledUnderLoad(t *testing.T) {
	t.Parallel()
	f := newLooping(t, "killed", 6, 3)
	f.settled(6)
	www := f.must("output", "-raw", "www")
	s := f.send(www+"/fib/5", 100)
	f.until("load", func() bool { return s.sofar() > 500 })
	f.kill9("local", "vm-node-0")
	f.until("replicas elsewhere", func() bool {
		return !slices.ContainsFunc(f.recorded("vm"), func(a string) bool { return a == "vm.node[0]#1" })
	})
	f.settled(6)
	before := s.sofar()
	f.until("more load", func() bool { return s.sofar() > before+500 })
	r := s.stop(t)
	if lost := r.Failed() + r.Cut; lost > 2 {
		t.Errorf("%d of %d requests failed\n%s", lost, r.Sent, load.Summary(r))
	}
	t.Logf("%d requests, %d failed, %d cut", r.Sent, r.Failed(), r.Cut)
	f.must("destroy", "-auto-approve")
	f.gone(0)
}

// Of two controllers one leads. Killed in the middle of a scale-out, it is followed
// by the other, which goes on where it was: nothing is made twice.
func TestTwoControllers(t *testing.T) {
	f := newLooping(t, "pair", 1, 1)
	second := osexec.Command(filepath.Join(plainDir, "flowctl"), "serve")
	second.Dir = f.dir
	second.Env = append(os.Environ(), "PATH="+demoDir+string(os.PathListSeparator)+os.Getenv("PATH"))
	log, err := os.Create(filepath.Join(f.dir, "second.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	second.Stdout, second.Stderr = log, log
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	defer second.Wait()
	defer second.Process.Signal(os.Interrupt)
	said := func() string { text, _ := os.ReadFile(log.Name()); return string(text) }
	f.until("a second that waits", func() bool { return strings.Contains(said(), "another controller leads") })

	f.size(10)
	f.until("the middle of a scale-out", func() bool { n := f.counts("function"); return n > 1 && n < 10 })
	killed := time.Now()
	first := f.kill9(controllerDir)
	f.until("the second leads", func() bool {
		p, err := daemon.Find(filepath.Join(f.dir, stateDir, f.name, controllerDir))
		return err == nil && p.PID == second.Process.Pid && strings.Contains(f.must("status"), "Controller (process "+strconv.Itoa(p.PID)+")")
	})
	took := time.Since(killed).Round(time.Millisecond)
	t.Logf("it led %s after the first, process %d, was killed", took, first)
	if took > 20*time.Second {
		t.Error("that is longer than 20 s")
	}
	f.settled(10)
	for _, a := range f.recorded("function") {
		if !strings.HasSuffix(a, "#1") {
			t.Errorf("%s was made twice\n%s", a, said())
		}
	}
	second.Process.Signal(os.Interrupt)
	f.must("destroy", "-auto-approve")
}

// All the while that sizes go up and down the plan of the spec is empty.
func TestThePlanIsEmptyWhileSizesChange(t *testing.T) {
	f := newLooping(t, "calm", 1, 1,
		"target = 1\n", "target = 1\n    burst {\n      factor = 0\n    }\n",
		"  max    = 12\n", "  max    = 12\n  down {\n    stabilise = \"1s\"\n    cooldown = \"0s\"\n    limit {\n      replicas = 2\n      per = \"1s\"\n    }\n  }\n")
	for _, size := range []int{10, 2} {
		f.size(size)
		plans := 0
		f.until(fmt.Sprintf("%d replicas", size), func() bool {
			out, _, err := f.run(0, "plan", "-detailed-exitcode")
			if err != nil {
				t.Errorf("on the way to %d: %v\n%s", size, err, out)
			}
			plans++
			return f.counts("function") == size
		})
		t.Logf("%d plans on the way to %d", plans, size)
		f.settled(size)
	}
	f.must("destroy", "-auto-approve")
	f.gone(0)
}

// A source of a metric that is killed changes no size, and hinders nothing else: a
// machine that dies meanwhile is made again. When the source is there again, sizes
// follow it, both ways.
func TestAMetricSourceKilled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	f := looping{flowctl{t: t}}
	begin := func() *osexec.Cmd {
		c := osexec.Command("metric-source", addr, filepath.Join(f.dir, "jobs"))
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	kill := func(c *osexec.Cmd) {
		c.Process.Kill()
		c.Wait()
	}
	f = newLooping(t, "source", 1, 2,
		`source = "exec"`, `source = "http"`+"\n    endpoint = \"http://"+addr+"\"\n    query = \"@this\"\n    burst {\n      factor = 0\n    }",
		"query  = ", "# ",
		"  max    = 12\n", "  max    = 12\n  every  = \"1s\"\n  down {\n    stabilise = \"1s\"\n    cooldown = \"0s\"\n    limit {\n      percent = 100\n      per = \"1s\"\n    }\n  }\n")
	source := begin()
	defer func() { source.Process.Kill() }()
	f.size(4)
	f.settled(4)
	kill(source)
	f.size(1) // what nobody can tell any more
	f.until("the metric is missing", func() bool { return strings.Contains(f.must("explain", "web"), "jobs is missing") })
	f.kill9("local", "vm-node-0")
	f.until("another machine", func() bool {
		return !slices.ContainsFunc(f.recorded("vm"), func(a string) bool { return a == "vm.node[0]#1" })
	})
	f.settled(4)
	if why := f.must("status"); !strings.Contains(why, "jobs") {
		t.Errorf("the status does not tell of the source\n%s", why)
	}
	f.size(6)
	source = begin()
	f.settled(6)
	f.size(2)
	f.settled(2)
	kill(source)
	f.must("destroy", "-auto-approve")
	f.gone(0)
}
