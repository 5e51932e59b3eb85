package agent

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Controllers that are made use of. Without one of the first two, limits are
// not enforced; pids stops a replica that forks faster than it can be killed.
const (
	ctlCPU     = "cpu"
	ctlMemory  = "memory"
	ctlCPUAcct = "cpuacct" // v1 only
	ctlPids    = "pids"
)

// folders is where a control group lies: its folder under each controller. In
// v2 they are all the same.
type folders map[string]string

// below returns the group called name in the group f.
func (f folders) below(name string) folders {
	sub := make(folders, len(f))
	for ctl, dir := range f {
		sub[ctl] = filepath.Join(dir, name)
	}
	return sub
}

// unique returns each folder once, sorted.
func (f folders) unique() []string {
	var dirs []string
	for _, dir := range f {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// control is a version of the cgroup file interface.
type control interface {
	// setup readies a new group; an inner one is to hold groups.
	setup(f folders, inner bool) error
	setCPU(f folders, cores float64) error
	setMemory(f folders, bytes int64) error
	use(folders) (groupUse, error)
	// enter makes the processes that the calling thread forks until leave is
	// called belong to the group: by groupFD if that is not negative.
	enter(f folders) (groupFD int, leave func(), err error)
}

// groupUse is what a group uses.
type groupUse struct {
	cpu    time.Duration // total
	memory int64         // working set, bytes
	oom    int64         // processes killed for want of memory, total
}

// groupFS makes and removes the folders of groups; the kernel fills them.
type groupFS struct {
	mkdir, rmdir func(string) error
}

var kernelFS = groupFS{
	mkdir: func(dir string) error { return os.Mkdir(dir, 0o755) },
	rmdir: unix.Rmdir,
}

// makeAll makes a group, or nothing.
func (fs groupFS) makeAll(f folders) error {
	dirs := f.unique()
	for i, dir := range dirs {
		if err := fs.mkdir(dir); err != nil && !errors.Is(err, os.ErrExist) {
			for _, made := range dirs[:i] {
				fs.rmdir(made)
			}
			return err
		}
	}
	return nil
}

// machineGroup is the machine's control group. A nil one stands for none. Safe
// for concurrent use.
type machineGroup struct {
	control control
	fs      groupFS
	where   folders
	missing string // what is not limited, and why

	mu         sync.Mutex
	cpus       float64
	children   map[string]*cgroup
	retiredOOM int64
}

// make makes the group of a replica.
func (m *machineGroup) make(name string, cpu float64, memory int64) (*cgroup, error) {
	if m == nil {
		return nil, nil
	}
	g := &cgroup{machine: m, name: name, where: m.where.below("r-" + name)} // no file of the kernel's begins so
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fs.makeAll(g.where); err != nil {
		return nil, err
	}
	if err := errors.Join(m.control.setup(g.where, false), g.limitLocked(cpu, memory)); err != nil {
		return nil, errors.Join(err, removeGroup(m.fs, g.where.unique()))
	}
	m.children[name] = g
	return g, nil
}

// resize changes the limits of the machine. A v1 group refuses a quota above
// its parent's, so the machine has none while its replicas' are changed.
func (m *machineGroup) resize(cpus float64, memory int64) error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.control.setMemory(m.where, memory); err != nil {
		return fmt.Errorf("limit memory of the machine to %d bytes: %w", memory, err)
	}
	if err := m.control.setCPU(m.where, 0); err != nil {
		return fmt.Errorf("limit cpu of the machine: %w", err)
	}
	m.cpus = cpus
	for _, g := range m.children {
		if err := m.control.setCPU(g.where, g.cpuLocked()); err != nil {
			return fmt.Errorf("limit cpu of replica %s: %w", g.name, err)
		}
	}
	if err := m.control.setCPU(m.where, cpus); err != nil {
		return fmt.Errorf("limit cpu of the machine to %g cores: %w", cpus, err)
	}
	return nil
}

// use returns what the machine uses and has used; its replicas use uses. Kills
// are added up, since v1 counts them where the victim was and not above.
func (m *machineGroup) use(uses map[*resources]groupUse) (groupUse, error) {
	use, err := m.control.use(m.where)
	m.mu.Lock()
	use.oom = m.retiredOOM
	m.mu.Unlock()
	for _, u := range uses {
		use.oom += u.oom
	}
	return use, err
}

func (m *machineGroup) remove() error {
	if m == nil {
		return nil
	}
	return removeGroup(m.fs, m.where.unique())
}

// cgroup is a replica's control group. A nil one stands for none.
type cgroup struct {
	machine *machineGroup
	name    string
	where   folders

	// Guarded by machine.mu.
	cpu    float64
	sealed bool // nothing can be forked in it
}

func (g *cgroup) dirs() []string {
	if g == nil {
		return nil
	}
	return g.where.unique()
}

// limit changes the limits of the replica.
func (g *cgroup) limit(cpu float64, memory int64) error {
	if g == nil {
		return nil
	}
	g.machine.mu.Lock()
	defer g.machine.mu.Unlock()
	return g.limitLocked(cpu, memory)
}

func (g *cgroup) limitLocked(cpu float64, memory int64) error {
	if err := g.machine.control.setMemory(g.where, memory); err != nil {
		return fmt.Errorf("limit memory to %d bytes: %w", memory, err)
	}
	g.cpu = cpu
	if err := g.machine.control.setCPU(g.where, g.cpuLocked()); err != nil {
		return fmt.Errorf("limit cpu to %g cores: %w", cpu, err)
	}
	return nil
}

// cpuLocked is the quota to set: no more than the machine has.
func (g *cgroup) cpuLocked() float64 {
	if m := g.machine.cpus; m > 0 {
		return min(g.cpu, m)
	}
	return g.cpu
}

func (g *cgroup) use() (groupUse, error) {
	if g == nil {
		return groupUse{}, errors.New("no cgroup")
	}
	return g.machine.control.use(g.where)
}

// oomKills returns how many processes the kernel has killed for the limit.
func (g *cgroup) oomKills() int64 {
	u, err := g.use()
	if err != nil {
		return 0
	}
	return u.oom
}

func (g *cgroup) enter() (groupFD int, leave func(), err error) {
	if g == nil {
		return -1, func() {}, nil
	}
	if err := g.seal(false); err != nil {
		return -1, nil, err
	}
	return g.machine.control.enter(g.where)
}

// seal lets nothing be forked in the group any more, or again.
func (g *cgroup) seal(on bool) error {
	if g == nil {
		return nil
	}
	g.machine.mu.Lock()
	defer g.machine.mu.Unlock()
	dir, ok := g.where[ctlPids]
	if !ok || g.sealed == on {
		return nil
	}
	limit := "max"
	if on {
		limit = "0"
	}
	if err := writeControl(dir, "pids.max", limit); err != nil {
		return err
	}
	g.sealed = on
	return nil
}

// members returns the live processes of the group.
func (g *cgroup) members() ([]procInfo, error) {
	pids, err := readPIDs(g.where.unique()[0])
	if err != nil {
		return nil, err
	}
	var live []procInfo
	for _, pid := range pids {
		if p, ok := readProc(pid); ok && !p.dead {
			live = append(live, p)
		}
	}
	return live, nil
}

// remove removes the group; whatever still is in it is killed.
func (g *cgroup) remove() error {
	g.retire()
	return removeGroup(g.machine.fs, g.where.unique())
}

// retire takes the group out of the machine's accounts. Its quota goes, so that
// it stands in the way of none that the machine is given meanwhile.
func (g *cgroup) retire() {
	m := g.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.children[g.name] == g {
		delete(m.children, g.name)
		m.retiredOOM += g.oomKills()
		m.control.setCPU(g.where, 0)
	}
}

// removeGroup kills what is in the folders and removes them, with all groups
// below. The kernel needs a moment to let go of a dead process.
func removeGroup(fs groupFS, dirs []string) error {
	for deadline := time.Now().Add(5 * time.Second); ; {
		var errs []error
		for _, dir := range dirs {
			errs = append(errs, removeTree(fs, dir))
		}
		err := errors.Join(errs...)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func removeTree(fs groupFS, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			removeTree(fs, filepath.Join(dir, e.Name()))
		}
	}
	pids, _ := readPIDs(dir)
	for _, pid := range pids {
		if p, ok := readProc(pid); ok {
			kill(p.key(), unix.SIGKILL)
		}
	}
	if err := fs.rmdir(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}

// writeControl writes a file of a group.
func writeControl(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// readPIDs returns the processes in a group, without this one: it is listed
// while its forking thread is there.
func readPIDs(dir string) ([]int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for word := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 0 && pid != os.Getpid() { // 0: of another pid namespace
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// readField returns the number after key in a file of "key number" lines, or
// with no key, the number that the file is.
func readField(dir, file, key string) (int64, error) {
	var buf [8 << 10]byte
	b := buf[:readSmall(filepath.Join(dir, file), buf[:])]
	for line := range strings.Lines(string(b)) {
		k, v, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found {
			k, v = "", k
		}
		if k == key {
			return strconv.ParseInt(v, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %q", filepath.Join(dir, file), key)
}

// quota returns the microseconds per period of 100 ms for a number of cores,
// -1 for unlimited. The kernel takes no less than 1 ms (sched-bwc.rst).
func quota(cores float64) int64 {
	if cores <= 0 {
		return -1
	}
	return max(1000, int64(math.Round(cores*cpuPeriod)))
}

const cpuPeriod = 100_000 // µs
