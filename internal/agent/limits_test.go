package agent_test

import (
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/agent"
)

// limited starts an agent that enforces limits, or skips with the reason.
func limited(t *testing.T, machine agent.Machine) machine {
	t.Helper()
	m := start(t, "", machine)
	if !m.status.LimitsEnforced {
		t.Skip("no limits here: ", m.status.LimitsWhy)
	}
	return m
}

// hog writes to memory without end. It is not this binary, whose race detector
// needs more than a small limit.
var hog = []string{"/usr/bin/tail", "/dev/zero"}

func TestAMemoryHogIsKilledAndCounted(t *testing.T) {
	t.Parallel()
	m := limited(t, agent.Machine{})
	bystander := m.put(t, "bystander", "/bin/sleep", "1000")
	m.putSpec(t, agent.ReplicaSpec{Name: "hog", Exec: hog, MemoryBytes: 32 << 20})
	st := m.until(t, "hog", "was killed", func(st agent.Status) bool { return st.LastExit != nil })
	if !st.LastExit.OOMKilled || st.LastExit.Signal != "SIGKILL" || st.LastExit.String() != "SIGKILL (out of memory)" {
		t.Errorf("last exit = %+v, want SIGKILL for memory", st.LastExit)
	}
	eventually(t, "the kills are counted", func() bool {
		st, err := m.Get(t.Context(), "hog")
		all, err2 := m.Machine(t.Context())
		return err == nil && err2 == nil && st.Usage.OOMKills > 0 && all.Usage.OOMKills >= st.Usage.OOMKills
	})
	if now, err := m.Get(t.Context(), "bystander"); err != nil || now.PID != bystander.PID {
		t.Errorf("the bystander: %+v, %v", now, err)
	}
	if err := m.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheMachinesMemoryBoundsAllItsReplicas(t *testing.T) {
	t.Parallel()
	m := limited(t, agent.Machine{MemoryBytes: 48 << 20})
	m.put(t, "hog", hog...)
	st := m.until(t, "hog", "was killed", func(st agent.Status) bool { return st.LastExit != nil })
	if !st.LastExit.OOMKilled {
		t.Errorf("last exit = %+v, want it killed for memory", st.LastExit)
	}
}

// burner spins on n cores.
func burner(n int) []string {
	return sh(strings.Repeat("while :; do :; done & ", n) + "wait")
}

// cores measures what a replica uses between two samples.
func (m machine) cores(t *testing.T, name string) float64 {
	t.Helper()
	sample := func(after time.Time) (u agent.Usage) {
		eventually(t, "a sample", func() bool {
			st, err := m.Get(t.Context(), name)
			u = st.Usage
			return err == nil && u.At.After(after)
		})
		return u
	}
	from := sample(time.Now())
	to := sample(from.At.Add(1500 * time.Millisecond))
	return (to.CPUSeconds - from.CPUSeconds) / to.At.Sub(from.At).Seconds()
}

func TestABurnerIsHeldToItsQuotaAndTheQuotaChangesLive(t *testing.T) {
	t.Parallel()
	m := limited(t, agent.Machine{CPUs: 1.5})
	spec := agent.ReplicaSpec{Name: "burner", Exec: burner(2), CPU: 0.2, StopGrace: time.Second}
	first := m.putSpec(t, spec)
	if got := m.cores(t, "burner"); got > 0.3 || got < 0.02 {
		t.Errorf("with 0.2 cores it uses %.2f", got)
	}
	spec.CPU = 0.6
	if st := m.putSpec(t, spec); st.PID != first.PID {
		t.Error("the change of a limit restarted it")
	}
	if got := m.cores(t, "burner"); got > 0.8 || got < 0.06 {
		t.Errorf("with 0.6 cores it uses %.2f", got)
	}
	spec.CPU = 5 // more than the machine has
	m.putSpec(t, spec)
	if st, err := m.SetMachine(t.Context(), agent.Machine{Host: "127.0.0.1", CPUs: 0.1}); err != nil || st.CPUs != 0.1 {
		t.Fatalf("machine = %+v, %v", st, err)
	}
	if got := m.cores(t, "burner"); got > 0.2 {
		t.Errorf("on a machine of 0.1 cores it uses %.2f", got)
	}
	for _, cpus := range []float64{0, 2, 0.5, 0} {
		if _, err := m.SetMachine(t.Context(), agent.Machine{Host: "127.0.0.1", CPUs: cpus}); err != nil {
			t.Errorf("machine to %g cores: %v", cpus, err)
		}
	}
}

func TestMemoryLimitsChangeLive(t *testing.T) {
	t.Parallel()
	m := limited(t, agent.Machine{})
	spec := agent.ReplicaSpec{Name: "r", Exec: sh("x=$(head -c 30000000 /dev/zero | tr '\\0' x); echo full; while :; do sleep 1000; done"), MemoryBytes: 200 << 20}
	first := m.putSpec(t, spec)
	m.line(t, "r", "full")
	spec.MemoryBytes = 100 << 20
	m.putSpec(t, spec)
	spec.MemoryBytes = 0
	m.putSpec(t, spec)
	spec.MemoryBytes = 8 << 20 // less than it uses
	if _, err := m.Put(t.Context(), spec); err == nil {
		// v2 kills it then.
		m.until(t, "r", "was killed", func(st agent.Status) bool { return st.LastExit != nil && st.LastExit.OOMKilled })
		return
	} else if !strings.Contains(err.Error(), "in use") {
		t.Errorf("limit below what is in use: %v", err)
	}
	st, err := m.Get(t.Context(), "r")
	if err != nil || st.PID != first.PID || st.Spec.MemoryBytes != 0 {
		t.Errorf("after a refused change: %+v, %v", st, err)
	}
}

func TestUsageIsSane(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, mode string) {
		m := start(t, mode, agent.Machine{})
		m.put(t, "idle", "/bin/sleep", "1000")
		m.put(t, "busy", sh("while :; do /bin/true; done")...) // by its children, too
		m.put(t, "full", sh("x=$(head -c 30000000 /dev/zero | tr '\\0' x); echo full; while :; do sleep 1000; done")...)
		m.line(t, "full", "full")
		if got := m.cores(t, "busy"); got < 0.05 || got > 1.5 {
			t.Errorf("a loop uses %.2f cores", got)
		}
		get := func(name string) agent.Usage {
			st, err := m.Get(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			return st.Usage
		}
		idle, busy, full := get("idle"), get("busy"), get("full")
		if idle.CPUCores > 0.05 || busy.CPUCores == 0 {
			t.Errorf("cores: idle %.3f, busy %.3f", idle.CPUCores, busy.CPUCores)
		}
		if idle.MemoryBytes > 10<<20 || full.MemoryBytes < 30_000_000 || full.MemoryBytes > 100_000_000 {
			t.Errorf("memory: idle %d, full %d", idle.MemoryBytes, full.MemoryBytes)
		}
		all, err := m.Machine(t.Context())
		if err != nil || all.Usage.MemoryBytes < full.MemoryBytes || all.Usage.CPUSeconds < busy.CPUSeconds {
			t.Errorf("machine: %+v, %v, less than its replicas", all.Usage, err)
		}
		// The total does not fall over a restart, nor the machine's over a removal.
		if _, err := m.Restart(t.Context(), "busy"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a sample after the restart", func() bool { return get("busy").At.After(busy.At) })
		if now := get("busy"); now.CPUSeconds < busy.CPUSeconds {
			t.Errorf("total fell from %.2f to %.2f s", busy.CPUSeconds, now.CPUSeconds)
		}
		if err := m.Remove(t.Context(), "busy"); err != nil {
			t.Fatal(err)
		}
		var now agent.MachineStatus
		eventually(t, "a sample after the removal", func() bool {
			now, err = m.Machine(t.Context())
			return err == nil && now.Usage.At.After(all.Usage.At.Add(2*time.Second))
		})
		if now.Usage.CPUSeconds < all.Usage.CPUSeconds {
			t.Errorf("the machine's total fell from %.2f to %.2f s", all.Usage.CPUSeconds, now.Usage.CPUSeconds)
		}
	})
}

// An agent of an ordinary user: no limits, but everything else.
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	const uid = 54321
	// The folders that t.TempDir makes are root's alone, and so is the binary.
	root, err := os.MkdirTemp("", "agent-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	dir, exe := filepath.Join(root, "machine"), filepath.Join(root, "agent.test")
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(exe, self, 0o755), agent.WriteMachine(dir, agent.Machine{Host: "127.0.0.1", CPUs: 1}),
		os.Chmod(root, 0o755), os.Chown(root, uid, uid), os.Chown(dir, uid, uid), os.Chown(dir+"/machine.json", uid, uid)); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(root, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := osexec.Command(exe, "machine-agent", dir, filepath.Join(root, "ports"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	m := machine{Client: agent.NewClient(dir), dir: dir, ports: filepath.Join(root, "ports")}
	eventually(t, "the agent answers", func() bool { m.status, err = m.Machine(t.Context()); return err == nil })
	if m.status.LimitsEnforced || !strings.Contains(m.status.LimitsWhy, "permission denied") {
		t.Errorf("limits enforced: %v, because %q; want the reason", m.status.LimitsEnforced, m.status.LimitsWhy)
	}
	st := m.putSpec(t, agent.ReplicaSpec{Name: "r", Exec: sh("id -u; setsid sleep 1000 & echo child $!; wait"), CPU: 0.5, MemoryBytes: 1 << 20})
	if got := m.line(t, "r", fmt.Sprint(uid)); got != "" {
		t.Errorf("runs as %s%s", fmt.Sprint(uid), got)
	}
	child, _ := strconv.Atoi(m.line(t, "r", "child "))
	eventually(t, "its usage is known", func() bool { st, err = m.Get(t.Context(), "r"); return err == nil && st.Usage.MemoryBytes > 0 })
	if _, err := m.Restart(t.Context(), "r"); err != nil {
		t.Error(err)
	}
	if alive(child) {
		t.Errorf("process %d survives the restart", child)
	}
	m.end(t)
	b, _ := os.ReadFile(log.Name())
	if n := strings.Count(string(b), "limits of cpu and memory"); n != 1 {
		t.Errorf("the log speaks of limits %d times, want once:\n%s", n, b)
	}
}
