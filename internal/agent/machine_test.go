package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/agent"
	"github.com/flowctl/flowctl/internal/daemon"
)

func TestStartTwiceAndChangeTheMachine(t *testing.T) {
	m := start(t, "", agent.Machine{CPUs: 2, Labels: map[string]string{"flow": "f"}})
	again := startIn(t, m.dir, m.ports, "", agent.Machine{CPUs: 1, MemoryBytes: 1 << 30, Labels: map[string]string{"flow": "f"}})
	if again.status.PID != m.status.PID || again.status.CPUs != 1 || again.status.MemoryBytes != 1<<30 {
		t.Errorf("second Start: %+v, want the first one's process %d with 1 cpu and 1 GiB", again.status, m.status.PID)
	}
	m.put(t, "r", "/bin/sleep", "1000")
	if _, err := m.SetMachine(t.Context(), agent.Machine{Host: "127.0.0.9"}); !errors.Is(err, agent.ErrReplace) {
		t.Errorf("another host under a replica = %v, want ErrReplace", err)
	}
	if _, err := m.SetMachine(t.Context(), agent.Machine{Host: "localhost"}); !errors.Is(err, agent.ErrInvalid) {
		t.Errorf("a name as host = %v, want ErrInvalid", err)
	}
	saved, err := os.ReadFile(filepath.Join(m.dir, "machine.json"))
	if err != nil || !strings.Contains(string(saved), `"cpus": 1`) {
		t.Errorf("machine.json = %s, %v, want the change in it", saved, err)
	}
}

func TestAnAgentThatCannotBeSaysWhy(t *testing.T) {
	for host, want := range map[string]string{"203.0.113.7": "cannot be listened on", "nowhere": "not an IP address"} {
		dir := t.TempDir()
		_, err := agent.Start(t.Context(), agent.StartOptions{
			Dir: dir, Machine: agent.Machine{Host: host}, Args: []string{"machine-agent", dir, t.TempDir()},
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to say %q", host, err, want)
		}
	}
	c := agent.NewClient(t.TempDir())
	defer c.Close()
	if _, err := c.Put(t.Context(), agent.ReplicaSpec{Name: "x", Exec: []string{"/bin/true"}}); !errors.Is(err, daemon.ErrNotRunning) {
		t.Errorf("Put without an agent = %v, want ErrNotRunning", err)
	}
	for _, err := range c.Logs(t.Context(), "x", agent.LogOptions{}) {
		if !errors.Is(err, daemon.ErrNotRunning) {
			t.Errorf("Logs without an agent = %v, want ErrNotRunning", err)
		}
	}
}

func TestChangesWaitsForAChange(t *testing.T) {
	m := start(t, "", agent.Machine{})
	now, err := m.Changes(t.Context(), 0)
	if err != nil || now.Revision != 1 {
		t.Fatalf("first revision = %+v, %v", now, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if s, err := m.Changes(short, now.Revision); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Changes of nothing = %+v, %v, want it to wait", s, err)
	}
	later := make(chan agent.Snapshot, 1)
	go func() {
		s, _ := m.Changes(t.Context(), now.Revision)
		later <- s
	}()
	m.put(t, "r", "/bin/sleep", "1000")
	if s := <-later; s.Revision <= now.Revision || len(s.Replicas) != 1 {
		t.Errorf("after Put: %+v", s)
	}
}

func TestManyAtOnceAndTwoAgentsNeverShareAPort(t *testing.T) {
	ports := filepath.Join(t.TempDir(), "ports")
	machines := []machine{
		startIn(t, t.TempDir(), ports, "nocgroups", agent.Machine{}),
		startIn(t, t.TempDir(), ports, "nocgroups", agent.Machine{Host: "127.10.0.3"}),
	}
	var mu sync.Mutex
	taken := map[int]string{}
	var all sync.WaitGroup
	for i := range 40 {
		m := machines[i%2]
		all.Go(func() {
			st, err := m.Put(t.Context(), agent.ReplicaSpec{Name: fmt.Sprintf("r%d", i), Exec: []string{"/bin/sleep", "1000"}, PortHint: 20500})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			} else if other, ok := taken[st.Port]; ok {
				t.Errorf("port %d is given to %s and to %s", st.Port, other, st.Addr())
			}
			taken[st.Port] = st.Addr()
		})
	}
	all.Wait()
	if taken[20500] == "" {
		t.Error("nobody got the port that all hinted at")
	}
}
