package agent

import (
	"fmt"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 10 20 30 0 -1 4194560 1833 32302 2 21 5 6 25 13 20 0 1 0 115427 5124096 1011 18446744073709551615 9 1"
	want := procInfo{pid: 42, ppid: 10, pgrp: 20, session: 30, start: 115427, cpu: 490 * time.Millisecond, rss: 1011 * pageSize}
	for _, name := range []string{"bash", "a b", ") S 1 (", "(sd-pam)", ""} {
		if got, ok := parseStat([]byte("42 (" + name + ")" + rest + "\n")); !ok || got != want {
			t.Errorf("name %q: %+v, %v", name, got, ok)
		}
	}
	for state, dead := range map[string]bool{
		" Z 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0": true,  // a zombie
		" Z 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 5 0 0 0 0 0": false, // whose other threads live
		" D 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 1 0 0 0 0 0": false,
	} {
		if got, ok := parseStat([]byte("42 (x)" + state)); !ok || got.dead != dead {
			t.Errorf("%s: %+v, %v, want dead %v", state, got, ok, dead)
		}
	}
	for _, bad := range []string{"", "42", "42 (x", "42 (x)", "42 (x) S 1 2", "x (x)" + rest, ") ("} {
		if got, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q is read as %+v", bad, got)
		}
	}
	if p, ok := readProc(os.Getpid()); !ok || p.pid != os.Getpid() || p.ppid != os.Getppid() || p.rss < 1<<20 {
		t.Errorf("this process: %+v, %v", p, ok)
	}
}

// world is a list of processes that a table looks at.
type world struct {
	procs []procInfo
	marks map[int]string
}

func (w *world) table() (t *procTable, sessions *[]string) {
	sessions = new([]string)
	t = newProcTable("m", clock(), func(replica string, leader procKey, first bool) {
		*sessions = append(*sessions, fmt.Sprint(replica, " ", leader.pid, " ", first))
	})
	t.self = 100
	t.list = func([]procInfo) ([]procInfo, error) { return slices.Clone(w.procs), nil }
	t.mark = func(pid int) (string, string) { return "m", w.marks[pid] }
	return t, sessions
}

func (t *procTable) pids(replica string) (pids []int) {
	members, _ := t.members(replica)
	for _, m := range members {
		pids = append(pids, m.pid)
	}
	return pids
}

func TestProcTableKnowsWhoseProcessesTheyAre(t *testing.T) {
	proc := func(pid, ppid, session int) procInfo {
		return procInfo{pid: pid, ppid: ppid, pgrp: session, session: session, start: uint64(pid)}
	}
	w := &world{
		procs: []procInfo{
			proc(1, 0, 1), proc(2, 0, 0), proc(100, 1, 100),
			proc(201, 100, 201), proc(202, 201, 201), proc(203, 202, 203), proc(204, 203, 203), // a, a child, its daemon and that one's child
			proc(301, 100, 301), proc(302, 100, 301), // b and an orphan in its session
			proc(400, 100, 400),                      // an orphan with a mark
			proc(500, 100, 500), proc(501, 500, 500), // an orphan of nobody
			proc(600, 1, 600), proc(601, 600, 600), // strangers
		},
		marks: map[int]string{400: "b", 600: "a"}, // 600 is no child of ours: not even looked at
	}
	table, sessions := w.table()
	table.leads[201], table.leads[301] = "a", "b"
	if got := table.pids("a"); !slices.Equal(got, []int{201, 202, 203, 204}) {
		t.Errorf("a has %v", got)
	}
	if got := table.pids("b"); !slices.Equal(got, []int{301, 302, 400}) {
		t.Errorf("b has %v", got)
	}
	if slices.Sort(*sessions); !slices.Equal(*sessions, []string{"a 203 false", "b 400 false"}) {
		t.Errorf("sessions noted: %q", *sessions)
	}
	// The parents die; the daemon is remembered, and what it begins is in its session.
	w.procs = []procInfo{proc(1, 0, 1), proc(100, 1, 100), proc(203, 100, 203), proc(205, 100, 203), proc(400, 100, 400), {pid: 301, ppid: 100, session: 301, start: 301, dead: true}}
	if got := table.pids("a"); !slices.Equal(got, []int{203, 205}) {
		t.Errorf("then a has %v", got)
	}
	if got := table.pids("b"); !slices.Equal(got, []int{400}) {
		t.Errorf("then b has %v, want no zombie", got)
	}
	// All of a are dead and buried; its numbers come back as somebody else's.
	w.procs = []procInfo{proc(1, 0, 1), proc(100, 1, 100)}
	table.pids("a")
	table.buried("a")
	again := proc(203, 1, 203)
	again.start = 9999
	w.procs = append(w.procs, again)
	if got := table.pids("a"); len(got) > 0 {
		t.Errorf("a stranger with an old pid is taken for a's: %v", got)
	}
}

func TestProcTableAddsUpWhatWasUsed(t *testing.T) {
	w := &world{}
	table, _ := w.table()
	table.leads[201] = "a"
	use := func(cpu ...time.Duration) procUse {
		w.procs = []procInfo{{pid: 100, start: 1}}
		for i, c := range cpu {
			w.procs = append(w.procs, procInfo{pid: 201 + i, ppid: 100, session: 201, start: uint64(i), cpu: c, rss: 1000})
		}
		all, _, err := table.usage()
		if err != nil {
			t.Fatal(err)
		}
		return all["a"]
	}
	if got, want := use(2*time.Second, 3*time.Second), (procUse{total: 5 * time.Second, rss: 2000}); got != want {
		t.Errorf("two processes: %+v, want %+v", got, want)
	}
	table.orphan(202, 4*time.Second) // it went on for a second after the scan
	if got, want := use(2*time.Second), (procUse{dead: 4 * time.Second, total: 6 * time.Second, rss: 1000}); got != want {
		t.Errorf("one is reaped: %+v, want %+v", got, want)
	}
	table.orphan(999, time.Hour) // nobody's
	if got := use(time.Second); got.total != 6*time.Second {
		t.Errorf("the total falls to %s", got.total)
	}
	table.end("a", 3*time.Second)
	if got := use(); got.total != 7*time.Second || got.rss != 0 {
		t.Errorf("all are dead: %+v", got)
	}
	table.forget("a")
	if all, retired, _ := table.usage(); retired != 7*time.Second || len(all) > 0 {
		t.Errorf("forgotten: %v, retired %s", all, retired)
	}
}

func TestOrphansAreKnownByMarkBySessionAndByParent(t *testing.T) {
	proc := func(pid, ppid, session int, start uint64) procInfo {
		return procInfo{pid: pid, ppid: ppid, session: session, start: start}
	}
	procs := []procInfo{
		proc(1, 0, 1, 1), proc(50, 1, 50, 10), proc(51, 50, 50, 11), // 51 looks
		proc(200, 1, 200, 100), proc(201, 200, 201, 101), // marked, and its unmarked child
		proc(300, 1, 299, 100),                         // in a session whose leader is dead
		proc(400, 1, 400, 100), proc(401, 1, 400, 101), // a leader that was noted, and its session
		proc(500, 1, 500, 900), proc(501, 1, 500, 901), // a later session of a noted number
		proc(600, 1, 599, 50), // begun before the leader that was noted: another session
		proc(700, 1, 700, 100),
	}
	dead := proc(800, 1, 400, 102)
	dead.dead = true
	procs = append(procs, dead)
	s := orphanSearch{
		id:       "m",
		sessions: map[procKey]string{{299, 90}: "b", {400, 100}: "c", {500, 100}: "d", {599, 60}: "e"},
		mark: func(pid int) (string, string) {
			return map[int]string{200: "m", 50: "m", 700: "other"}[pid], map[int]string{200: "a"}[pid]
		},
	}
	found, replicas := s.find(procs, 51)
	got := map[int]string{}
	for i, p := range found {
		got[p.pid] = replicas[i]
	}
	want := map[int]string{200: "a", 201: "a", 300: "b", 400: "c", 401: "c"} // not 50, the parent of who looks
	if !maps.Equal(got, want) {
		t.Errorf("orphans = %v, want %v", got, want)
	}
}

func TestMachineIDIsOfTheFolderNotOfItsName(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if machineID(dir) != machineID(link) || machineID(dir) != machineID(dir+"/.") || machineID(dir) == machineID(t.TempDir()) {
		t.Error("two names of a folder, or two folders, are mixed up")
	}
}

// 200 replicas of one process each, besides whatever runs on the computer.
func BenchmarkSample200(b *testing.B) {
	const replicas = 200
	var targets []target
	table := newProcTable("bench", time.Now, func(string, procKey, bool) {})
	groups, err := openMachineGroup(fmt.Sprintf("bench%d", os.Getpid()), 0, 0, func([]string) error { return nil })
	if err != nil {
		b.Log("no cgroups: ", err)
	} else {
		defer groups.remove()
	}
	for i := range replicas {
		cmd := osexec.Command("/bin/sleep", "1000")
		cmd.SysProcAttr = procAttr(-1)
		cmd.SysProcAttr.Pdeathsig = 0
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		defer func() { cmd.Process.Kill(); cmd.Wait() }()
		name := fmt.Sprint("r", i)
		table.add(cmd.Process.Pid, name)
		res := &resources{}
		if res.group, err = groups.make(name, 0, 0); err != nil {
			b.Fatal(err)
		}
		for _, dir := range res.group.dirs() {
			writeControl(dir, "cgroup.procs", fmt.Sprint(cmd.Process.Pid))
		}
		targets = append(targets, target{name, res})
	}
	for _, mode := range []string{"proc", "cgroup"} {
		b.Run(mode, func(b *testing.B) {
			m := meter{table: table, last: map[*resources]reading{}}
			if mode == "cgroup" {
				if m.groups = groups; groups == nil {
					b.Skip("no cgroups")
				}
			}
			for b.Loop() {
				usage, all, err := m.sample(time.Now(), targets)
				if err != nil || len(usage) != replicas || all.MemoryBytes == 0 {
					b.Fatalf("%d replicas, %+v, %v", len(usage), all, err)
				}
			}
		})
	}
}

// What a flood costs the agent, but for the reading of the pipe.
func BenchmarkLogWrite(b *testing.B) {
	l, err := openLog(b.TempDir(), DefaultLogMaxBytes, DefaultLogFiles, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	defer l.close()
	var text []byte
	for len(text) < logBuffer {
		text = append(text, "a line of a log that is neither long nor short, 2026\n"...)
	}
	var lines splitter
	var batch batch
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		batch.reset(l.now())
		lines.feed(text, func(text []byte, partial bool) { batch.add(Stdout, text, partial) })
		l.write(&batch)
	}
}
