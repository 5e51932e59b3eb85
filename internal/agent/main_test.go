package agent_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/agent"
)

// TestMain lets the test binary be the agent, and the programs that it runs.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "machine-agent":
			os.Exit(runAgent(os.Args[2:]))
		case "replica":
			os.Exit(runReplica(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// runAgent is the agent. Arguments: its folder, the folder of port locks, and
// "nocgroups" or nothing.
func runAgent(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go endWith(os.Getppid(), stop)
	err := agent.Serve(ctx, agent.ServeOptions{
		Dir: args[0], PortDir: args[1], NoCgroups: len(args) > 2 && args[2] == "nocgroups",
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// endWith calls stop when the test that started this process has died.
func endWith(parent int, stop func()) {
	for range time.Tick(100 * time.Millisecond) {
		if os.Getppid() != parent {
			stop()
		}
	}
}

// runReplica is a replica's program, where a shell will not do.
func runReplica(args []string) int {
	switch args[0] {
	case "serve": // its environment, over HTTP
		addr := net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT"))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println("serving on", addr)
		http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.Join(os.Environ(), "\n"))
		}))
	case "daemonise": // a daemon out of reach: own session, no environment, orphaned
		if len(args) == 1 {
			middle := osexec.Command(os.Args[0], "replica", "daemonise", "middle")
			middle.Env = []string{}
			middle.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			middle.Stdout = os.Stdout
			if err := middle.Run(); err != nil {
				return 1
			}
			select {}
		}
		daemon := osexec.Command("/bin/sleep", "1000")
		daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if daemon.Start() != nil {
			return 1
		}
		fmt.Println("daemon", daemon.Process.Pid)
		// Long enough for a look at /proc that sees where the daemon comes from.
		time.AfterFunc(2*time.Second, func() { os.Exit(0) })
		select {}
	}
	return 64
}

// machine is an agent of a test.
type machine struct {
	*agent.Client
	dir, ports string
	status     agent.MachineStatus
}

// start starts an agent that ends with the test, and checks then that it left
// nothing. mode is "nocgroups" or "".
func start(t *testing.T, mode string, m agent.Machine) machine {
	t.Helper()
	return startIn(t, t.TempDir(), filepath.Join(t.TempDir(), "ports"), mode, m)
}

func startIn(t *testing.T, dir, ports, mode string, m agent.Machine) machine {
	t.Helper()
	if m.Host == "" {
		m.Host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	st, err := agent.Start(ctx, agent.StartOptions{Dir: dir, Machine: m, Args: []string{"machine-agent", dir, ports, mode}})
	if err != nil {
		t.Fatal(err)
	}
	x := machine{agent.NewClient(dir), dir, ports, st}
	t.Cleanup(func() { x.end(t) })
	return x
}

// end shuts the agent down, if it lives, and looks for leftovers.
func (m machine) end(t *testing.T) {
	t.Helper()
	defer m.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := m.Shutdown(ctx); err != nil {
		t.Errorf("shut down: %v", err)
	}
	m.nothingLeft(t)
	log, _ := os.ReadFile(filepath.Join(m.dir, "log"))
	if strings.Contains(string(log), "DATA RACE") || strings.Contains(string(log), "panic:") {
		t.Error("the agent has a bug")
	}
	if t.Failed() {
		t.Logf("log of the agent:\n%s", log)
	}
}

func (m machine) nothingLeft(t *testing.T) {
	t.Helper()
	if pids := marked(m.status.ID); len(pids) > 0 {
		t.Errorf("processes %d still run", pids)
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "flowctl-"+m.status.ID {
			t.Errorf("cgroup %s is still there", path)
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(m.dir, "cgroups")); err == nil {
		t.Error("the note of the cgroups is still there")
	}
	files, _ := os.ReadDir(m.ports)
	for _, f := range files {
		if agent.PortLocked(filepath.Join(m.ports, f.Name())) {
			continue // another agent's
		}
		t.Errorf("port lock %s is still there", f.Name())
	}
}

// marked returns the processes whose environment names the machine. (Zombies
// have none.)
func marked(id string) (pids []int) {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		env, _ := os.ReadFile(p + "/environ")
		if strings.Contains(string(env), "FLOWCTL_MACHINE="+id) {
			pid, _ := strconv.Atoi(filepath.Base(p))
			pids = append(pids, pid)
		}
	}
	return pids
}

// put puts a replica that runs a program.
func (m machine) put(t *testing.T, name string, exec ...string) agent.Status {
	t.Helper()
	return m.putSpec(t, agent.ReplicaSpec{Name: name, Exec: exec})
}

func (m machine) putSpec(t *testing.T, spec agent.ReplicaSpec) agent.Status {
	t.Helper()
	st, err := m.Put(t.Context(), spec)
	if err != nil {
		t.Fatalf("put %s: %v", spec.Name, err)
	}
	return st
}

// self is a replica's program in this binary.
func self(args ...string) []string { return append([]string{os.Args[0], "replica"}, args...) }

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

// until waits for a replica to be as wanted, woken by the agent.
func (m machine) until(t *testing.T, name, what string, ok func(agent.Status) bool) agent.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var snap agent.Snapshot
	var err error
	for {
		if snap, err = m.Changes(ctx, snap.Revision); err != nil {
			st, _ := m.Get(t.Context(), name)
			t.Fatalf("wait until %s %s: %v\n%+v", name, what, err, st)
		}
		for _, st := range snap.Replicas {
			if st.Name == name && ok(st) {
				return st
			}
		}
	}
}

// eventually polls what nobody tells us of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// line returns the first line of a replica's log with the prefix, without it.
func (m machine) line(t *testing.T, name, prefix string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for l, err := range m.Logs(ctx, name, agent.LogOptions{Follow: true}) {
		if err != nil {
			t.Fatalf("log of %s, waiting for %q: %v", name, prefix, err)
		}
		if rest, ok := strings.CutPrefix(l.Text, prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("log of %s ended without %q", name, prefix)
	return ""
}

// alive says whether a process lives. A zombie does not, unless it has threads.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	return !strings.Contains("ZX", fields[0]) || len(fields[17]) > 1 || fields[17] > "1"
}

func (m machine) kill9(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(m.status.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent is dead", func() bool { return !alive(m.status.PID) })
}
