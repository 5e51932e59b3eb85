package agent_test

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/flowctl/flowctl/internal/agent"
)

// held reports whether a process is stopped.
func held(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	return err == nil && strings.HasPrefix(rest, "T")
}

func TestSuspendHoldsAllOfAReplica(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, mode string) {
		m := start(t, mode, agent.Machine{})
		pids := family(t, m)
		names := []string{"direct", "shell", "setsid", "far"}
		each := func(what string, do func(name string) (agent.Status, error), want agent.State) {
			t.Helper()
			for _, name := range names {
				for range 2 { // what is so already stays so
					if st, err := do(name); err != nil || st.State != want {
						t.Fatalf("%s %s = %s, %v", what, name, st.State, err)
					}
				}
			}
			eventually(t, "all processes follow", func() bool {
				for _, pid := range pids {
					if held(pid) != (want == agent.StateSuspended) {
						return false
					}
				}
				return true
			})
		}
		suspend := func(name string) (agent.Status, error) { return m.Suspend(t.Context(), name) }
		each("suspend", suspend, agent.StateSuspended)
		each("resume", func(name string) (agent.Status, error) { return m.Resume(t.Context(), name) }, agent.StateRunning)
		each("suspend", suspend, agent.StateSuspended)
		if st, err := m.Restart(t.Context(), "direct"); err != nil || st.State != agent.StateRunning || st.PID == pids[0] {
			t.Errorf("restart of a suspended one = %+v, %v", st, err)
		}
		for _, name := range names {
			if err := m.Remove(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
		for _, pid := range pids {
			if alive(pid) {
				t.Errorf("process %d lives", pid)
			}
		}
		if _, err := m.Suspend(t.Context(), "direct"); !errors.Is(err, agent.ErrNotFound) {
			t.Errorf("suspend of nothing: %v", err)
		}
	})
}

func TestFilesAndSignals(t *testing.T) {
	signal.Ignore(syscall.SIGHUP) // as nohup does: what an agent inherits, its replicas do not
	defer signal.Reset(syscall.SIGHUP)
	m := start(t, "", agent.Machine{})
	spec := agent.ReplicaSpec{
		Name: "r", Exec: sh(`trap 'echo got $(cat $FLOWCTL_FILES/etc/a)' HUP; echo began with $(cat $FLOWCTL_FILES/etc/a); while :; do sleep 0.02; done`),
		Files: []agent.SpecFile{{Path: "/etc/a", Content: "one", Mode: 0o600}, {Path: "/../../out", Content: "x", Mode: 0o644}},
	}
	st := m.putSpec(t, spec)
	if got := m.line(t, "r", "began with "); got != "one" {
		t.Errorf("it began with %q", got)
	}
	files := filepath.Join(m.dir, "replicas/r/files")
	if info, err := os.Stat(filepath.Join(files, "etc/a")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(files, "out")); err != nil {
		t.Errorf("a path that leads out stays within: %v", err)
	}
	spec.Files[0].Content = "two"
	if now := m.putSpec(t, spec); now.PID != st.PID {
		t.Error("new files made a new process")
	}
	if err := m.Signal(t.Context(), "r", "SIGHUP"); err != nil {
		t.Fatal(err)
	}
	if got := m.line(t, "r", "got "); got != "two" {
		t.Errorf("the signal showed it %q", got)
	}
	if err := m.Signal(t.Context(), "r", "SIGNONE"); !errors.Is(err, agent.ErrInvalid) {
		t.Errorf("no signal: %v", err)
	}
}
