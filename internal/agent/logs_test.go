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
	"time"

	"github.com/flowctl/flowctl/internal/agent"
)

// logs collects lines until enough says so.
func (m machine) logs(t *testing.T, name string, o agent.LogOptions, enough func([]agent.LogLine) bool) (lines []agent.LogLine) {
	t.Helper()
	for l, err := range m.Logs(t.Context(), name, o) {
		if err != nil {
			t.Fatalf("log of %s: %v", name, err)
		}
		if lines = append(lines, l); enough != nil && enough(lines) {
			break
		}
	}
	return lines
}

func TestLogsKeepEveryByteAndTellTheStreams(t *testing.T) {
	t.Parallel()
	m := start(t, "", agent.Machine{})
	dir := t.TempDir()
	long := strings.Repeat("0123456789", 20_000) // 200 kB
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte("\xff\xfe binary \x01\n"+long+"\nlast, without newline"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	m.put(t, "r", sh("echo to err >&2; cat "+dir+"/text; exit 7")...)
	m.until(t, "r", "has ended", func(st agent.Status) bool { return st.LastExit != nil })
	var out []string
	whole := ""
	for _, l := range m.logs(t, "r", agent.LogOptions{}, nil) {
		if l.Time.Before(before.Add(-time.Second)) || l.Time.After(time.Now().Add(time.Second)) {
			t.Errorf("line of %s", l.Time)
		}
		if l.Stream == agent.Stderr {
			if l.Text != "to err" {
				t.Errorf("stderr: %q", l.Text)
			}
			continue
		}
		if whole += l.Text; !l.Partial {
			out = append(out, whole)
			whole = ""
		} else if len(l.Text) != 64<<10 {
			t.Errorf("a part of %d bytes", len(l.Text))
		}
	}
	if len(out) < 3 || out[0] != "\xff\xfe binary \x01" || out[1] != long || out[2] != "last, without newline" {
		t.Errorf("stdout has %d lines: %.80q", len(out), out)
	}
}

func TestLogsFollowOverRestartsAndRotationsUntilTheRemoval(t *testing.T) {
	t.Parallel()
	m := start(t, "", agent.Machine{})
	n := filepath.Join(t.TempDir(), "n")
	// Each life writes 300 lines of a number that goes on, in bursts that the
	// follower can keep up with.
	m.putSpec(t, agent.ReplicaSpec{
		Name: "r", LogMaxBytes: 16 << 10, LogFiles: 3,
		Exec: sh("i=$(cat " + n + " || echo 0); end=$((i+300)); while [ $i -lt $end ]; do echo line $i; i=$((i+1)); [ $((i%50)) = 0 ] && sleep 0.02; done; echo $i > " + n),
	})
	seen := 0
	removed := make(chan error, 1)
	for l, err := range m.Logs(t.Context(), "r", agent.LogOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if l.Stream != agent.Stdout {
			continue
		}
		if l.Text != fmt.Sprintf("line %d", seen) {
			t.Fatalf("after line %d comes %q", seen-1, l.Text)
		}
		if seen++; seen == 1000 { // in the fourth life
			go func() { removed <- m.Remove(t.Context(), "r") }()
		}
	}
	if seen < 1000 {
		t.Errorf("the stream ended after %d lines, before the removal", seen)
	}
	if err := <-removed; err != nil {
		t.Error(err)
	}
	for _, err := range m.Logs(t.Context(), "r", agent.LogOptions{}) {
		if !errors.Is(err, agent.ErrNotFound) {
			t.Errorf("log of a removed replica: %v", err)
		}
	}
}

func TestLogsTailAndSince(t *testing.T) {
	t.Parallel()
	m := start(t, "", agent.Machine{})
	m.put(t, "r", sh("for i in 1 2 3 4 5; do echo line $i; sleep 0.01; done; echo end; exec sleep 1000")...)
	m.line(t, "r", "end")
	all := m.logs(t, "r", agent.LogOptions{}, nil)
	if len(all) != 6 {
		t.Fatalf("%d lines, want 6", len(all))
	}
	if got := m.logs(t, "r", agent.LogOptions{Tail: 2}, nil); len(got) != 2 || got[0] != all[4] {
		t.Errorf("tail 2 = %+v", got)
	}
	since := all[3].Time // which lines read together share
	want := slices.DeleteFunc(slices.Clone(all), func(l agent.LogLine) bool { return l.Time.Before(since) })
	if got := m.logs(t, "r", agent.LogOptions{Since: since}, nil); !slices.Equal(got, want) {
		t.Errorf("since line 4 = %+v, want %+v", got, want)
	}
	if got := m.logs(t, "r", agent.LogOptions{Tail: -1}, nil); len(got) != 0 {
		t.Errorf("tail -1 = %+v", got)
	}
}

func TestAFloodNeitherBlocksTheAgentNorFillsItsMemory(t *testing.T) {
	t.Parallel()
	m := start(t, "", agent.Machine{})
	for i := range 2 {
		m.putSpec(t, agent.ReplicaSpec{
			Name: fmt.Sprintf("flood%d", i), Exec: sh("exec yes this is a line of a flood"), LogMaxBytes: 1 << 20, LogFiles: 2,
		})
	}
	m.putSpec(t, agent.ReplicaSpec{ // without any newline
		Name: "endless", Exec: sh("exec cat /dev/zero"), LogMaxBytes: 1 << 20, LogFiles: 2,
	})
	rss := func() int {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", m.status.PID))
		pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
		return pages * os.Getpagesize()
	}
	before := rss()
	// A follower that does not read, and the rest of the API under the flood.
	stalled := make(chan struct{})
	release := make(chan struct{})
	go func() {
		defer close(stalled)
		for range m.Logs(t.Context(), "flood0", agent.LogOptions{Follow: true}) {
			<-release
			return
		}
	}()
	for i := range 20 {
		m.put(t, fmt.Sprintf("quiet%d", i), "/bin/sleep", "1000")
	}
	eventually(t, "20 MB went through the log", func() bool {
		st, err := m.Get(t.Context(), "flood0")
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", st.PID))
		written := 0
		fmt.Sscanf(strings.ReplaceAll(string(b), "\n", " "), "rchar: %d wchar: %d", new(int), &written)
		return err == nil && written > 20<<20
	})
	if grew := rss() - before; grew > 200<<20 { // the race detector takes most of it
		t.Errorf("the agent grew by %d MB", grew>>20)
	}
	files, _ := filepath.Glob(filepath.Join(m.dir, "replicas/flood0/log*"))
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Size() > 1<<20 {
			t.Errorf("%s has %d bytes", f, info.Size())
		}
	}
	if len(files) > 3 { // two are kept; while one is begun there is one more
		t.Errorf("log files: %q", files)
	}
	close(release)
	<-stalled
	if err := m.Remove(t.Context(), "flood0"); err != nil {
		t.Error(err)
	}
}

func TestALogHeldOpenByAStrangerHoldsUpNothing(t *testing.T) {
	t.Parallel()
	m := start(t, "", agent.Machine{})
	st := m.put(t, "r", "/bin/sleep", "1000")
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", st.PID), os.O_WRONLY, 0) // the pipe
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syscall.Kill(st.PID, syscall.SIGKILL)
	m.until(t, "r", "runs again", func(st agent.Status) bool { return st.State == agent.StateRunning && st.Restarts == 1 })
}
