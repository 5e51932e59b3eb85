package agent_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/agent"
	"github.com/flowctl/flowctl/internal/daemon"
)

func TestAReplicaServesOnItsPortWithItsOwnEnvironmentAlone(t *testing.T) {
	t.Setenv("OPERATORS_SECRET", "hunter2")
	t.Setenv("TZ", "Asia/Tokyo")
	m := start(t, "", agent.Machine{Host: "127.10.0.2"})
	st := m.putSpec(t, agent.ReplicaSpec{
		Name: "web-0", Exec: self("serve"),
		Labels: map[string]string{"flow": "shop", "address": "function.web[0]", "operation": "op1"},
		Env:    map[string]string{"COLOUR": "blue", "PORT": "80"},
	})
	if st.State != agent.StateRunning || st.PID == 0 || st.Started.IsZero() || st.Restarts != 0 {
		t.Errorf("status = %+v, want it running", st)
	}
	if st.Host != "127.10.0.2" || st.Port < 20000 {
		t.Errorf("listens on %s, want a port of 127.10.0.2 from 20000", st.Addr())
	}
	if got := m.line(t, "web-0", "serving on "); got != st.Addr() {
		t.Errorf("the replica serves on %s, its status says %s", got, st.Addr())
	}
	resp, err := http.Get("http://" + st.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	got := strings.Split(string(body), "\n")
	want := map[string]string{
		"HOST": "127.10.0.2", "PORT": fmt.Sprint(st.Port), "COLOUR": "blue", "TZ": "Asia/Tokyo",
		"FLOWCTL_FLOW": "shop", "FLOWCTL_ADDRESS": "function.web[0]", "FLOWCTL_REPLICA": "web-0",
		"FLOWCTL_MACHINE": m.status.ID, "FLOWCTL_FILES": filepath.Join(m.dir, "replicas/web-0/files"),
	}
	for k, v := range want {
		if !slices.Contains(got, k+"="+v) {
			t.Errorf("environment lacks %s=%s", k, v)
		}
	}
	for _, kv := range got {
		k, _, _ := strings.Cut(kv, "=")
		if _, ok := want[k]; !ok && !slices.Contains([]string{"PATH", "HOME", "LANG", "TMPDIR"}, k) {
			t.Errorf("environment has %s, which is not the replica's", kv)
		}
	}
	if want := filepath.Join(m.dir, "replicas/web-0/work"); st.Dir != want {
		t.Errorf("works in %s, want %s", st.Dir, want)
	}
}

func TestListGetAndRemove(t *testing.T) {
	m := start(t, "", agent.Machine{Slots: 3})
	for _, name := range []string{"b", "a", "c"} {
		m.put(t, name, "/bin/sleep", "1000")
	}
	names := func() (names []string) {
		list, err := m.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range list {
			names = append(names, st.Name)
		}
		return names
	}
	if got := names(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("replicas = %q, want a b c", got)
	}
	b, err := m.Get(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is gone is gone
		if err := m.Remove(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
	}
	if alive(b.PID) {
		t.Errorf("process %d lives after Remove", b.PID)
	}
	if _, err := m.Get(t.Context(), "b"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("Get after Remove = %v, want ErrNotFound", err)
	}
	if _, err := os.Stat(filepath.Join(m.dir, "replicas/b")); err == nil {
		t.Error("its files are still there")
	}
	if _, err := os.Stat(filepath.Join(m.ports, fmt.Sprint(b.Port))); err == nil {
		t.Error("its port is still locked")
	}
	if got := names(); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("replicas = %q, want a c", got)
	}
	st, err := m.Machine(t.Context())
	if err != nil || st.Replicas != 2 || st.Running != 2 || st.Slots != 3 {
		t.Errorf("machine = %+v, %v, want 2 of 2 running, 3 slots", st, err)
	}
	if _, err := m.Restart(t.Context(), "../x"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("Restart of an impossible name = %v, want ErrNotFound", err)
	}
}

func TestPutAgain(t *testing.T) {
	m := start(t, "", agent.Machine{})
	spec := agent.ReplicaSpec{
		Name: "r", Exec: []string{"/bin/sleep", "1000"}, Env: map[string]string{"A": "1"},
		Labels: map[string]string{"flow": "f", "address": "function.r[0]", "operation": "1"},
	}
	first := m.putSpec(t, spec)
	tests := map[string]struct {
		change func(*agent.ReplicaSpec)
		refuse string // what the refusal names; "" for success
	}{
		"the same":         {func(*agent.ReplicaSpec) {}, ""},
		"defaults spelt":   {func(s *agent.ReplicaSpec) { s.StopSignal = "term"; s.LogFiles = 3 }, ""},
		"another port":     {func(s *agent.ReplicaSpec) { s.PortHint = 20123 }, ""},
		"limits":           {func(s *agent.ReplicaSpec) { s.CPU = 0.5; s.MemoryBytes = 64 << 20; s.LogMaxBytes = 8192 }, ""},
		"how to stop":      {func(s *agent.ReplicaSpec) { s.StopSignal = "SIGINT"; s.StopGrace = time.Second }, ""},
		"another label":    {func(s *agent.ReplicaSpec) { s.Labels = map[string]string{"flow": "f", "address": "function.r[0]"} }, ""},
		"another program":  {func(s *agent.ReplicaSpec) { s.Exec = []string{"/bin/sleep", "1001"} }, "exec"},
		"another variable": {func(s *agent.ReplicaSpec) { s.Env = map[string]string{"A": "2"} }, "env"},
		"another folder":   {func(s *agent.ReplicaSpec) { s.Dir = "/" }, "dir"},
		"another address": {func(s *agent.ReplicaSpec) {
			s.Labels = map[string]string{"flow": "f", "address": "function.r[1]"}
		}, "label address"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			changed := spec
			test.change(&changed)
			st, err := m.Put(t.Context(), changed)
			if test.refuse != "" {
				if !errors.Is(err, agent.ErrReplace) || !strings.Contains(err.Error(), test.refuse) {
					t.Errorf("Put = %v, want ErrReplace naming %s", err, test.refuse)
				}
				st, err = m.Get(t.Context(), "r")
			}
			if err != nil {
				t.Fatal(err)
			}
			if st.PID != first.PID || st.Port != first.Port || st.Restarts != 0 {
				t.Errorf("now pid %d, port %d, %d restarts; the process must not change", st.PID, st.Port, st.Restarts)
			}
			if test.refuse == "" && (st.Spec.CPU != changed.CPU || st.Spec.LogMaxBytes != max(changed.LogMaxBytes, 8192) && st.Spec.LogMaxBytes != agent.DefaultLogMaxBytes) {
				t.Errorf("spec = %+v, want the change in it", st.Spec)
			}
		})
	}
}

func TestWhatCannotRunIsRefusedAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	files := map[string]struct {
		text string
		mode os.FileMode
	}{
		"plain":   {"#!/bin/sh\n", 0o600},
		"binary":  {"\x7fELF, or not", 0o700},
		"orphan":  {"#!/no/such/interpreter\n", 0o700},
		"working": {"#!/bin/sh\nsleep 1000\n", 0o700},
	}
	for name, f := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(f.text), f.mode); err != nil {
			t.Fatal(err)
		}
	}
	m := start(t, "", agent.Machine{})
	tests := map[string]struct {
		spec agent.ReplicaSpec
		want string
	}{
		"no name":         {agent.ReplicaSpec{Exec: []string{"/bin/sleep"}}, "not safe as a file name"},
		"a path as name":  {agent.ReplicaSpec{Name: "../../x", Exec: []string{"/bin/sleep"}}, "not safe as a file name"},
		"no program":      {agent.ReplicaSpec{Name: "x"}, "give exec"},
		"no slash":        {agent.ReplicaSpec{Name: "x", Exec: []string{"sleep"}}, "give its full path"},
		"missing":         {agent.ReplicaSpec{Name: "x", Exec: []string{"/no/such"}}, "/no/such does not exist; build or install it"},
		"missing in dir":  {agent.ReplicaSpec{Name: "x", Exec: []string{"./such"}, Dir: dir}, dir + "/such does not exist"},
		"a folder":        {agent.ReplicaSpec{Name: "x", Exec: []string{dir}}, "is a directory"},
		"not executable":  {agent.ReplicaSpec{Name: "x", Exec: []string{dir + "/plain"}}, "chmod +x"},
		"not a program":   {agent.ReplicaSpec{Name: "x", Exec: []string{dir + "/binary"}}, "no program for this computer"},
		"no interpreter":  {agent.ReplicaSpec{Name: "x", Exec: []string{dir + "/orphan"}}, "its interpreter"},
		"no folder":       {agent.ReplicaSpec{Name: "x", Exec: []string{"/bin/sleep"}, Dir: "/no/such"}, "make it first"},
		"relative folder": {agent.ReplicaSpec{Name: "x", Exec: []string{"/bin/sleep"}, Dir: "x"}, "not absolute"},
		"bad signal":      {agent.ReplicaSpec{Name: "x", Exec: []string{"/bin/sleep"}, StopSignal: "SIGFOO"}, "unknown stop signal"},
		"bad variable":    {agent.ReplicaSpec{Name: "x", Exec: []string{"/bin/sleep"}, Env: map[string]string{"A=B": ""}}, "cannot be passed"},
		"zero byte":       {agent.ReplicaSpec{Name: "x", Exec: []string{"/bin/sleep", "a\x00b"}}, "zero byte"},
		"negative limit":  {agent.ReplicaSpec{Name: "x", Exec: []string{"/bin/sleep"}, CPU: -1}, "negative"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := m.Put(t.Context(), test.spec)
			if !errors.Is(err, agent.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Put = %v, want ErrInvalid saying %q", err, test.want)
			}
		})
	}
	if list, err := m.List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("replicas = %+v, %v, want none", list, err)
	}
	if files, _ := os.ReadDir(filepath.Join(m.dir, "replicas")); len(files) > 0 {
		t.Errorf("files left: %v", files)
	}
	if files, _ := os.ReadDir(m.ports); len(files) > 0 {
		t.Errorf("port locks left: %v", files)
	}
	m.putSpec(t, agent.ReplicaSpec{Name: "x", Exec: []string{"./working"}, Dir: dir})
}

func TestACrashIsRestartedWithBackOff(t *testing.T) {
	t.Parallel()
	m := start(t, "", agent.Machine{})
	first := m.put(t, "r", sh("echo no luck; echo at all >&2; exit 3")...)
	st := m.until(t, "r", "waits after three crashes", func(st agent.Status) bool {
		return st.State == agent.StateBackoff && st.Restarts >= 2
	})
	if st.Port != first.Port {
		t.Errorf("port changed from %d to %d", first.Port, st.Port)
	}
	if x := st.LastExit; x == nil || x.Code != 3 || x.Signal != "" || x.At.IsZero() || len(x.LastLines) != 2 {
		t.Errorf("last exit = %+v, want code 3 and two lines", x)
	} else if slices.Sort(x.LastLines); !slices.Equal(x.LastLines, []string{"at all", "no luck"}) {
		t.Errorf("last lines = %q", x.LastLines)
	}
	if wait := st.NextStart.Sub(st.LastExit.At); wait < 250*time.Millisecond || wait > 20*time.Second {
		t.Errorf("third back-off is %s, want about 400ms", wait)
	}
	if after, err := m.Ensure(t.Context(), "r"); err != nil || after.Restarts != st.Restarts+1 {
		t.Errorf("Ensure = %d restarts, %v, want a start at once", after.Restarts, err)
	}
	killed := m.put(t, "s", "/bin/sleep", "1000")
	syscall.Kill(killed.PID, syscall.SIGSEGV)
	st = m.until(t, "s", "runs again", func(st agent.Status) bool { return st.State == agent.StateRunning && st.Restarts == 1 })
	if st.LastExit.Signal != "SIGSEGV" || st.LastExit.Code != -1 || st.PID == killed.PID {
		t.Errorf("after SIGSEGV: %+v, last exit %s", st, st.LastExit)
	}
}

func TestAProgramThatVanishesIsReportedAndFoundAgain(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "prog")
	write := func() {
		if err := os.WriteFile(program+".new", []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(program+".new", program); err != nil {
			t.Fatal(err)
		}
	}
	write()
	m := start(t, "", agent.Machine{})
	m.put(t, "r", program)
	os.Remove(program)
	if _, err := m.Restart(t.Context(), "r"); !errors.Is(err, agent.ErrInvalid) || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("Restart = %v, want it to say that the program is gone", err)
	}
	if st, err := m.Get(t.Context(), "r"); err != nil || !strings.Contains(st.Error, "does not exist") {
		t.Errorf("status = %+v, %v, want the reason in it", st, err)
	}
	write()
	st := m.until(t, "r", "runs", func(st agent.Status) bool { return st.State == agent.StateRunning })
	if st.Error != "" {
		t.Errorf("error = %q though it runs", st.Error)
	}
}

func TestRestartKeepsThePortAndKillsTheDeafAfterTheGrace(t *testing.T) {
	t.Parallel()
	m := start(t, "", agent.Machine{})
	first := m.putSpec(t, agent.ReplicaSpec{
		Name: "deaf", Exec: sh("trap '' TERM; echo ready; while :; do sleep 1000; done"), StopGrace: 50 * time.Millisecond,
	})
	m.line(t, "deaf", "ready")
	st, err := m.Restart(t.Context(), "deaf")
	if err != nil {
		t.Fatal(err)
	}
	if st.PID == first.PID || st.Port != first.Port || st.Restarts != 1 || st.State != agent.StateRunning {
		t.Errorf("after Restart: %+v", st)
	}
	if st.LastExit == nil || st.LastExit.Signal != "SIGKILL" {
		t.Errorf("last exit = %v, want SIGKILL", st.LastExit)
	}
}

func TestASlowStopHoldsUpNobody(t *testing.T) {
	m := start(t, "", agent.Machine{})
	slow := m.putSpec(t, agent.ReplicaSpec{
		Name: "slow", Exec: sh("trap '' TERM; echo ready; while :; do sleep 1000; done"), StopGrace: time.Hour,
	})
	m.line(t, "slow", "ready")
	removed := make(chan error, 1)
	go func() { removed <- m.Remove(t.Context(), "slow") }()
	m.until(t, "slow", "is stopping", func(st agent.Status) bool { return st.State == agent.StateStopping })
	if _, err := m.Put(t.Context(), agent.ReplicaSpec{Name: "slow", Exec: sh("exit")}); !errors.Is(err, agent.ErrBusy) {
		t.Errorf("Put while it is being removed = %v, want ErrBusy", err)
	}
	m.put(t, "quick", "/bin/sleep", "1000")
	if _, err := m.Restart(t.Context(), "quick"); err != nil {
		t.Error(err)
	}
	if err := m.Remove(t.Context(), "quick"); err != nil {
		t.Error(err)
	}
	select {
	case err := <-removed:
		t.Fatalf("Remove of the deaf one returned: %v", err)
	default:
	}
	syscall.Kill(-slow.PID, syscall.SIGKILL)
	if err := <-removed; err != nil {
		t.Error(err)
	}
}

func TestShutdownLetsReplicasFinish(t *testing.T) {
	t.Parallel()
	m := start(t, "", agent.Machine{})
	done := t.TempDir()
	for i := range 5 {
		name := fmt.Sprintf("r%d", i)
		m.put(t, name, sh("trap 'touch "+done+"/"+name+"; exit 0' TERM; echo ready; while :; do sleep 0.01; done")...)
		m.line(t, name, "ready")
	}
	if err := daemon.Stop(t.Context(), m.dir); err != nil { // SIGTERM, as Shutdown
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(done); len(files) != 5 {
		t.Errorf("%d of 5 replicas finished their work", len(files))
	}
	if err := m.Healthy(t.Context()); !errors.Is(err, daemon.ErrNotRunning) {
		t.Errorf("Healthy = %v, want ErrNotRunning", err)
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown of a dead agent = %v", err)
	}
}

func TestDescendantsFinishWithinTheGrace(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"", "setsid "} { // in the process group, and out of it
		for _, mode := range []string{"", "nocgroups"} {
			m := start(t, mode, agent.Machine{})
			mark := filepath.Join(t.TempDir(), "drained")
			// The shell dies of the signal at once; its child takes its time.
			script := "trap 'sleep 0.2; echo drained > " + mark + "; exit' TERM; echo ready; while :; do sleep 0.01; done"
			m.putSpec(t, agent.ReplicaSpec{Name: "r", Exec: sh(how + `sh -c "$SCRIPT" & wait`), Env: map[string]string{"SCRIPT": script}, StopGrace: 20 * time.Second})
			m.line(t, "r", "ready")
			began := time.Now()
			if err := m.Remove(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
			if b, _ := os.ReadFile(mark); string(b) != "drained\n" {
				t.Errorf("%q, %q: the child was killed before its grace was over", how, mode)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("%q, %q: the child never got the signal", how, mode)
			}
		}
	}
}
