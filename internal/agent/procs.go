package agent

import (
	"os"
	"slices"
	"sync"
	"time"
)

// procInfo is one process as /proc shows it.
type procInfo struct {
	pid, ppid, pgrp, session int
	start                    uint64        // clock ticks after boot: with the pid, a name that is never reused
	dead                     bool          // a zombie
	cpu                      time.Duration // used by it and by the children it has waited for
	rss                      int64         // bytes
}

// procKey names one process for good.
type procKey struct {
	pid   int
	start uint64
}

func (p procInfo) key() procKey { return procKey{p.pid, p.start} }

// procTable knows which processes belong to which replica, where no cgroup
// tells. A process belongs to a replica when its session does, when its parent
// does, when it once did, or, having been orphaned (it is then a child of this
// process), when its environment says so. Safe for concurrent use.
type procTable struct {
	machineID string
	self      int
	now       func() time.Time
	// list reads all processes; mark returns the machine and the replica that a
	// process's environment names.
	list func([]procInfo) ([]procInfo, error)
	mark func(pid int) (machine, replica string)
	// session is told of each session led by a process of a replica; first says
	// that a new life of the replica begins with it.
	session func(replica string, leader procKey, first bool)

	mu      sync.Mutex
	scanned time.Time // when the last scan began
	procs   []procInfo
	owner   map[procKey]string // of every process of the last scan; "" for strangers
	leads   map[int]string     // sessions: the replica by the leader's pid
	used    map[string]procUse // by replica
	retired time.Duration      // used by replicas that are forgotten
}

// procUse is what a replica has used.
type procUse struct {
	dead  time.Duration // by processes that this process has reaped
	total time.Duration // by all, as of the last scan; never falls
	rss   int64
}

func newProcTable(machineID string, now func() time.Time, session func(string, procKey, bool)) *procTable {
	return &procTable{
		machineID: machineID, self: os.Getpid(), now: now, list: listProcs, mark: readMark, session: session,
		owner: map[procKey]string{}, leads: map[int]string{}, used: map[string]procUse{},
	}
}

// add makes the session led by pid a replica's.
func (t *procTable) add(pid int, replica string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leads[pid] = replica
	if p, ok := readProc(pid); ok {
		t.session(replica, p.key(), true)
	}
}

// end says that the first process of a replica is reaped and how much it used.
func (t *procTable) end(replica string, used time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.used[replica]
	u.dead += used
	t.used[replica] = u
}

// orphan says that an adopted process is reaped.
func (t *procTable) orphan(pid int, used time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.procs, func(p procInfo) bool { return p.pid == pid })
	if i < 0 {
		return
	}
	if replica := t.owner[t.procs[i].key()]; replica != "" {
		u := t.used[replica]
		u.dead += used
		t.used[replica] = u
	}
}

// buried says that none of a replica's processes live: its sessions' numbers
// may become somebody else's.
func (t *procTable) buried(replica string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for pid, r := range t.leads {
		if r == replica {
			delete(t.leads, pid)
		}
	}
}

// forget drops a replica that is removed.
func (t *procTable) forget(replica string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retired += max(t.used[replica].total, t.used[replica].dead)
	delete(t.used, replica)
}

// members returns the live processes of a replica as of now. Callers that ask
// at the same time share one scan.
func (t *procTable) members(replica string) ([]procInfo, error) {
	asked := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.scanned.After(asked) {
		if err := t.scan(); err != nil {
			return nil, err
		}
	}
	var live []procInfo
	for _, p := range t.procs {
		if !p.dead && t.owner[p.key()] == replica {
			live = append(live, p)
		}
	}
	return live, nil
}

// strays returns the live descendants of this process. When no replica runs, they
// are daemons that got away unseen.
func (t *procTable) strays() ([]procInfo, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.scan(); err != nil {
		return nil, err
	}
	family := map[int]bool{t.self: true}
	var live []procInfo
	for grown := true; grown; { // a child may be listed before its parent
		grown = false
		for _, p := range t.procs {
			if family[p.ppid] && !family[p.pid] {
				family[p.pid], grown = true, true
				if !p.dead {
					live = append(live, p)
				}
			}
		}
	}
	return live, nil
}

// usage scans and returns what each replica uses, and what those that are
// forgotten have used.
func (t *procTable) usage() (map[string]procUse, time.Duration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.scan(); err != nil {
		return nil, 0, err
	}
	use := make(map[string]procUse, len(t.used))
	for replica, u := range t.used {
		use[replica] = u
	}
	return use, t.retired, nil
}

// scan reads all processes, finds their owners and adds up.
func (t *procTable) scan() error {
	began := t.now()
	procs, err := t.list(t.procs[:0])
	if err != nil {
		return err
	}
	t.scanned, t.procs = began, procs
	t.assign()
	live := make(map[string]procUse, len(t.used))
	for _, p := range procs {
		if replica := t.owner[p.key()]; replica != "" {
			l := live[replica]
			l.total += p.cpu
			l.rss += p.rss
			live[replica] = l
		}
	}
	for replica := range live {
		if _, ok := t.used[replica]; !ok {
			t.used[replica] = procUse{}
		}
	}
	for replica, u := range t.used {
		u.total = max(u.total, u.dead+live[replica].total)
		u.rss = live[replica].rss
		t.used[replica] = u
	}
	return nil
}

// assign finds the owner of every process of the scan.
func (t *procTable) assign() {
	byPID := make(map[int]int, len(t.procs))
	for i, p := range t.procs {
		byPID[p.pid] = i
	}
	owner := make(map[procKey]string, len(t.procs))
	var find func(p procInfo, depth int) string
	find = func(p procInfo, depth int) string {
		if o, ok := owner[p.key()]; ok {
			return o
		}
		o, known := t.owner[p.key()]
		switch parent, ok := byPID[p.ppid]; {
		case t.leads[p.session] != "":
			o = t.leads[p.session]
		case p.pid == t.self || known && o != "":
		case p.ppid == t.self:
			o = t.marked(p.pid)
		case ok && depth < len(t.procs): // a cycle: pids were reused during the scan
			o = find(t.procs[parent], depth+1)
		}
		owner[p.key()] = o
		if o != "" && p.session == p.pid && t.leads[p.pid] == "" {
			t.leads[p.pid] = o
			t.session(o, p.key(), false)
		}
		return o
	}
	for _, p := range t.procs {
		find(p, 0)
	}
	t.owner = owner
}

func (t *procTable) marked(pid int) string {
	if machine, replica := t.mark(pid); machine == t.machineID {
		return replica
	}
	return ""
}
