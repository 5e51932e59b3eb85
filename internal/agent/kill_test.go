package agent_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/flowctl/flowctl/internal/agent"
)

// family puts replicas with descendants of every kind and returns the pids of
// all of them.
func family(t *testing.T, m machine) (pids []int) {
	t.Helper()
	direct := m.put(t, "direct", "/bin/sleep", "1000")
	shell := m.put(t, "shell", sh("sleep 1000 & echo child $!; wait")...)
	setsid := m.put(t, "setsid", sh("setsid sleep 1000 & sleep 1000 & echo child $!; wait")...)
	far := m.put(t, "far", self("daemonise")...)
	pids = []int{direct.PID, shell.PID, setsid.PID, far.PID}
	for _, line := range [][2]string{{"shell", "child "}, {"setsid", "child "}, {"far", "daemon "}} {
		pid, err := strconv.Atoi(m.line(t, line[0], line[1]))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if m.status.LimitsEnforced {
		return pids
	}
	// Without cgroups the agent must have seen, once, where the daemon comes from;
	// it notes the session then.
	eventually(t, "the daemon's session is noted", func() bool {
		b, _ := os.ReadFile(filepath.Join(m.dir, "replicas/far/sessions"))
		return strings.Contains(string(b), " "+fmt.Sprint(pids[len(pids)-1])+" ")
	})
	return pids
}

func modes(t *testing.T, f func(t *testing.T, mode string)) {
	for _, mode := range []string{"", "nocgroups"} {
		t.Run("mode="+mode, func(t *testing.T) {
			t.Parallel()
			f(t, mode)
		})
	}
}

func TestNothingSurvivesTheRemovalOfItsReplica(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, mode string) {
		m := start(t, mode, agent.Machine{})
		pids := family(t, m)
		for _, name := range []string{"direct", "shell", "setsid", "far"} {
			if err := m.Remove(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
		for _, pid := range pids {
			if alive(pid) {
				t.Errorf("process %d lives", pid)
			}
		}
	})
}

func TestWhatACrashLeavesBehindIsKilledBeforeTheRestart(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, mode string) {
		m := start(t, mode, agent.Machine{})
		m.put(t, "r", sh("setsid sleep 1000 & echo child $!; sleep 0.2; exit 1")...)
		pid, err := strconv.Atoi(m.line(t, "r", "child "))
		if err != nil {
			t.Fatal(err)
		}
		m.until(t, "r", "has crashed", func(st agent.Status) bool { return st.LastExit != nil })
		if alive(pid) {
			t.Errorf("process %d outlives the crash of its parent", pid)
		}
	})
}

func TestADaemonThatNobodySawComingIsKilledInTheEnd(t *testing.T) {
	t.Parallel()
	m := start(t, "nocgroups", agent.Machine{})
	// Orphaned before any look at /proc, in a session of its own, unmarked.
	m.put(t, "r", sh("(env -i setsid sh -c 'echo child $$; exec sleep 1000' &) ; exec sleep 1000")...)
	pid, err := strconv.Atoi(m.line(t, "r", "child "))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Errorf("process %d lives", pid)
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestKillingTheAgentKillsAll(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, mode string) {
		m := start(t, mode, agent.Machine{})
		pids := family(t, m)
		if n, err := agent.Sweep(t.Context(), m.dir); err == nil || !strings.Contains(err.Error(), fmt.Sprint(m.status.PID)) {
			t.Errorf("Sweep under a live agent = %d, %v, want it to refuse", n, err)
		}
		if _, err := agent.Orphans(m.dir); err == nil {
			t.Error("Orphans under a live agent succeeds")
		}
		m.kill9(t)
		for _, pid := range pids[:4] {
			eventually(t, fmt.Sprintf("child %d of the dead agent is dead", pid), func() bool { return !alive(pid) })
		}
		orphans, err := agent.Orphans(m.dir)
		if err != nil {
			t.Fatal(err)
		}
		var replicas []string
		for _, o := range orphans {
			replicas = append(replicas, o.Replica)
		}
		if slices.Sort(replicas); !slices.Equal(slices.Compact(replicas), []string{"far", "setsid", "shell"}) && mode == "nocgroups" {
			t.Errorf("orphans are of %q, want far, setsid and shell: %+v", replicas, orphans)
		}
		n, err := agent.Sweep(t.Context(), m.dir)
		if err != nil || n == 0 && mode == "nocgroups" {
			t.Errorf("Sweep killed %d: %v", n, err)
		}
		for _, pid := range pids {
			if alive(pid) {
				t.Errorf("process %d lives", pid)
			}
		}
		if n, err := agent.Sweep(t.Context(), m.dir); n != 0 || err != nil {
			t.Errorf("second Sweep = %d, %v", n, err)
		}
	})
}

func TestSweepNeedsNoFolder(t *testing.T) {
	t.Parallel()
	m := start(t, "nocgroups", agent.Machine{})
	m.put(t, "shell", sh("sleep 1000 & echo child $!; wait")...)
	pid, _ := strconv.Atoi(m.line(t, "shell", "child "))
	m.kill9(t)
	if err := errors.Join(os.RemoveAll(m.dir), os.RemoveAll(m.ports)); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Sweep(t.Context(), m.dir); err != nil {
		t.Error(err)
	}
	if alive(pid) {
		t.Errorf("process %d lives", pid)
	}
	if _, err := os.Stat(m.dir); err == nil {
		t.Error("Sweep made the folder again")
	}
}

func TestANewAgentCleansUpAfterADeadOneAndResurrectsNothing(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, mode string) {
		m := start(t, mode, agent.Machine{})
		old := m.put(t, "shell", sh("echo before; sleep 1000 & echo child $!; wait")...)
		pid, _ := strconv.Atoi(m.line(t, "shell", "child "))
		m.kill9(t)
		again := startIn(t, m.dir, m.ports, mode, agent.Machine{})
		if alive(pid) {
			t.Errorf("process %d lives", pid)
		}
		if list, err := again.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("replicas = %+v, %v, want none", list, err)
		}
		if got := again.line(t, "shell", "bef"); got != "ore" {
			t.Errorf("log of the old replica says %q", got)
		}
		st := again.putSpec(t, agent.ReplicaSpec{Name: "shell", Exec: sh("echo after; exec sleep 1000"), PortHint: old.Port})
		if st.Port != old.Port {
			t.Errorf("port %d, want %d, which the dead agent held", st.Port, old.Port)
		}
		if got := again.line(t, "shell", "aft"); got != "er" {
			t.Errorf("log says %q", got)
		}
		m.put(t, "gone", "/bin/sleep", "1000")
		m.status = again.status
		m.kill9(t)
		last := startIn(t, m.dir, m.ports, mode, agent.Machine{})
		if err := last.Remove(t.Context(), "gone"); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(m.dir, "replicas/gone")); err == nil {
			t.Error("Remove leaves the files of a dead agent's replica")
		}
	})
}

func TestADeadAgentIsReportedAndAStaleConnectionMended(t *testing.T) {
	t.Parallel()
	m := start(t, "", agent.Machine{})
	m.put(t, "r", "/bin/sleep", "1000")
	followed := make(chan error, 1)
	go func() {
		var last error
		for _, err := range m.Logs(t.Context(), "r", agent.LogOptions{Follow: true}) {
			last = err
		}
		followed <- last
	}()
	m.kill9(t)
	if err := m.Healthy(t.Context()); err == nil || !strings.Contains(err.Error(), "not running") {
		t.Errorf("Healthy = %v, want it to say that the agent is not running", err)
	}
	if err := <-followed; err == nil {
		t.Error("following the log of a killed agent ends without an error")
	}
	startIn(t, m.dir, m.ports, "", agent.Machine{})
	if _, err := m.Put(t.Context(), agent.ReplicaSpec{Name: "r", Exec: []string{"/bin/sleep", "1000"}}); err != nil {
		t.Errorf("Put by the old client = %v", err)
	}
}

func TestAProcessBesideAReplica(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, mode string) {
		m := start(t, mode, agent.Machine{})
		st := m.putSpec(t, agent.ReplicaSpec{Name: "r", Exec: []string{"/bin/sleep", "1000"}, Env: map[string]string{"COLOUR": "it's blue"}})
		out, err := agent.Command(st, []string{"sh", "-c", `echo "$COLOUR" "$1"; pwd; cat /proc/self/cgroup`, "x", "a b"}).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if !strings.HasPrefix(string(out), "it's blue a b\n"+st.Dir+"\n") {
			t.Errorf("output = %s", out)
		}
		if in := strings.Contains(string(out), "flowctl-"+m.status.ID+"/r-r"); in != (len(st.Cgroups) > 0) {
			t.Errorf("cgroups of the replica are %q, the command ran in\n%s", st.Cgroups, out)
		}
		if mode == "nocgroups" {
			return
		}
		beside := agent.Command(st, []string{"sleep", "1000"})
		if err := beside.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has joined the cgroup", func() bool {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", beside.Process.Pid))
			return strings.Contains(string(b), "/r-r")
		})
		if err := m.Remove(t.Context(), "r"); err != nil {
			t.Error(err)
		}
		if err := beside.Wait(); err == nil || !beside.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
			t.Errorf("beside a removed replica: %v, want it ended by a signal", err)
		}
	})
}
