package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flowctl/flowctl/internal/daemon"
)

// What an agent notes down for whoever has to clean up after its death.
const (
	sessionsFile = "sessions" // in a replica's folder: "boot pid start" of each session's leader
	groupsFile   = "cgroups"  // in the agent's folder: the folders of its cgroup
	portsFile    = "ports"    // in the agent's folder: the folder of port locks
)

// Orphan is a process that a dead agent has left running.
type Orphan struct {
	PID     int
	Replica string // "" if that is not known
	Command string // as in ps
}

// Orphans returns the processes that the dead agent of a folder has left. They
// are those whose environment names the machine, those in a session that the
// agent has noted down (a program may write over its environment), and their
// descendants. While an agent runs, its processes are not orphans: the error says
// so.
func Orphans(dir string) ([]Orphan, error) {
	if p, err := daemon.Find(dir); !errors.Is(err, daemon.ErrNotRunning) {
		return nil, errors.Join(err, fmt.Errorf("machine agent %d of %s runs", p.PID, dir))
	}
	procs, replicas, err := findOrphans(dir)
	if err != nil {
		return nil, err
	}
	orphans := make([]Orphan, len(procs))
	for i, p := range procs {
		orphans[i] = Orphan{p.pid, replicas[i], commandOf(p.pid)}
	}
	return orphans, nil
}

// Sweep kills what the dead agent of a folder has left running, and removes its
// cgroups and port locks. It returns how many processes it killed. The folder need not exist
// any more. It fails while an agent runs; none can start meanwhile. An agent
// does this itself when it starts.
func Sweep(ctx context.Context, dir string) (killed int, err error) {
	bare := !exists(dir)
	release, err := daemon.Claim(dir, time.Now())
	if err != nil {
		return 0, err
	}
	defer func() {
		release()
		if bare {
			os.Remove(dir)
		}
	}()
	return sweep(ctx, dir)
}

// sweepAtStart is the agent's own sweep. What cannot be killed is in the kernel's
// hands; it does not keep the agent from starting.
func sweepAtStart(dir string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), buryTimeout)
	defer cancel()
	killed, err := sweep(ctx, dir)
	if killed > 0 {
		log.Warn("killed processes of a dead agent", "count", killed)
	}
	if err != nil {
		log.Error("cannot clean up after a dead agent", "err", err)
	}
}

func sweep(ctx context.Context, dir string) (killed int, err error) {
	groups, err := recordedGroups(dir)
	if err != nil {
		return 0, err
	}
	if err := forgetGroups(dir, removeGroup(kernelFS, groups)); err != nil {
		return 0, err
	}
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	dead := map[procKey]bool{}
	for calm := true; ; {
		procs, _, err := findOrphans(dir)
		if err != nil || len(procs) == 0 && calm {
			return len(dead), errors.Join(err, forgetSessions(dir), forgetPorts(dir))
		}
		calm = len(procs) == 0 // one that was just forked, and is in exec, may be nameless for a moment: look again
		for _, p := range procs {
			dead[p.key()] = true
			kill(p.key(), unix.SIGKILL)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if calm {
				return len(dead), errors.Join(forgetSessions(dir), forgetPorts(dir))
			}
			return len(dead), fmt.Errorf("%d processes of a dead machine agent live on, such as %d: %w", len(procs), procs[0].pid, context.Cause(ctx))
		}
	}
}

// findOrphans looks for the processes of the machine of dir, and for whose they
// are. This process and its ancestors are never among them.
func findOrphans(dir string) (found []procInfo, replicas []string, err error) {
	procs, err := listProcs(nil)
	if err != nil {
		return nil, nil, fmt.Errorf("look for processes of a dead machine agent: %w", err)
	}
	s := orphanSearch{id: machineID(dir), sessions: recordedSessions(dir), mark: readMark}
	found, replicas = s.find(procs, os.Getpid())
	return found, replicas, nil
}

// orphanSearch is the rule by which orphans are known.
type orphanSearch struct {
	id       string
	sessions map[procKey]string // leader to replica
	mark     func(pid int) (machine, replica string)
}

// find applies the rule to a list of all processes.
func (s orphanSearch) find(procs []procInfo, self int) (found []procInfo, replicas []string) {
	byPID := make(map[int]procInfo, len(procs))
	for _, p := range procs {
		byPID[p.pid] = p
	}
	spared := map[int]bool{}
	for pid := self; pid > 0 && !spared[pid]; pid = byPID[pid].ppid {
		spared[pid] = true
	}
	leaders := map[int]procKey{}
	for leader := range s.sessions {
		leaders[leader.pid] = leader
	}
	type verdict struct {
		ours    bool
		replica string
	}
	known := map[int]verdict{}
	var judge func(p procInfo) verdict
	judge = func(p procInfo) verdict {
		if v, ok := known[p.pid]; ok {
			return v
		}
		known[p.pid] = verdict{} // ends a cycle
		v := verdict{}
		if leader, ok := leaders[p.session]; ok && inSession(p, leader, byPID) {
			v = verdict{true, s.sessions[leader]}
		} else if machine, replica := s.mark(p.pid); machine == s.id {
			v = verdict{true, replica}
		} else if parent, ok := byPID[p.ppid]; ok {
			v = judge(parent)
		}
		known[p.pid] = v
		return v
	}
	for _, p := range procs {
		if v := judge(p); v.ours && !p.dead && !spared[p.pid] {
			found = append(found, p)
			replicas = append(replicas, v.replica)
		}
	}
	return found, replicas
}

// inSession says whether p is in the session that leader began, and not in a
// later one of the same number: a number is free for reuse only when the whole
// session has ended.
func inSession(p procInfo, leader procKey, byPID map[int]procInfo) bool {
	first, ok := byPID[leader.pid]
	return p.start >= leader.start && (!ok || first.start == leader.start)
}

// recordSession returns what notes down the sessions of replicas. The first one
// of a process's life replaces those of the life before.
func recordSession(dir string) func(replica string, leader procKey, first bool) {
	boot := bootID()
	return func(replica string, leader procKey, first bool) {
		flags := os.O_CREATE | os.O_APPEND | os.O_WRONLY
		if first {
			flags |= os.O_TRUNC
		}
		f, err := os.OpenFile(filepath.Join(replicaDir(dir, replica), sessionsFile), flags, 0o600)
		if err != nil {
			return // the replica is being removed; the mark remains
		}
		fmt.Fprintln(f, boot, leader.pid, leader.start)
		f.Close()
	}
}

// recordedSessions reads the sessions that an agent has noted since the computer
// started.
func recordedSessions(dir string) map[procKey]string {
	sessions := map[procKey]string{}
	boot := bootID()
	for _, replica := range leftReplicas(dir) {
		b, err := os.ReadFile(filepath.Join(replicaDir(dir, replica), sessionsFile))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			var when string
			var leader procKey
			if n, _ := fmt.Sscan(line, &when, &leader.pid, &leader.start); n == 3 && when == boot && leader.pid > 1 {
				sessions[leader] = replica
			}
		}
	}
	return sessions
}

// leftReplicas names the replicas that have a folder.
func leftReplicas(dir string) []string {
	entries, _ := os.ReadDir(filepath.Dir(replicaDir(dir, "x")))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func forgetSessions(dir string) error {
	var errs []error
	for _, replica := range leftReplicas(dir) {
		if err := os.Remove(filepath.Join(replicaDir(dir, replica), sessionsFile)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// recordPorts notes down the folder of port locks.
func recordPorts(dir, ports string) error {
	return os.WriteFile(filepath.Join(dir, portsFile), []byte(ports), 0o600)
}

// forgetPorts removes the locks that dead agents have left.
func forgetPorts(dir string) error {
	(&ports{dir: defaultPortDir()}).sweep()
	b, err := os.ReadFile(filepath.Join(dir, portsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	(&ports{dir: string(b)}).sweep()
	return os.Remove(filepath.Join(dir, portsFile))
}

// recordGroups returns what notes down folders of cgroups before they are made.
func recordGroups(dir string) func([]string) error {
	return func(folders []string) error {
		f, err := os.OpenFile(filepath.Join(dir, groupsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(f, strings.Join(folders, "\n"))
		return errors.Join(err, f.Close())
	}
}

// recordedGroups reads them. Only folders that bear the machine's name count.
func recordedGroups(dir string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(dir, groupsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var folders []string
	for line := range strings.Lines(string(b)) {
		folder := strings.TrimSuffix(line, "\n")
		if filepath.IsAbs(folder) && filepath.Base(folder) == groupName(machineID(dir)) {
			folders = append(folders, folder)
		}
	}
	return folders, nil
}

// forgetGroups drops the note when the groups are gone (err nil).
func forgetGroups(dir string, err error) error {
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, groupsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
