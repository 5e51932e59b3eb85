package agent_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
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
