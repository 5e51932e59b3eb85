package agent

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cgroupV2 is the interface of Documentation/admin-guide/cgroup-v2.rst. What it
// writes is tested against a folder tree that imitates the kernel's, birth inside
// a group against the kernel; limits have not been seen at work under v2.
type cgroupV2 struct{}

// setup lets the groups in an inner group be limited, and makes a replica that
// exceeds its memory, or is the victim when the machine does, die as a whole.
func (cgroupV2) setup(f folders, inner bool) error {
	if inner {
		return enableV2(f[ctlCPU], slices.Sorted(maps.Keys(f)))
	}
	err := writeControl(f[ctlMemory], "memory.oom.group", "1")
	if errors.Is(err, os.ErrNotExist) { // before 4.19
		return nil
	}
	return err
}

// enableV2 lets the groups in dir have the controllers. They keep them when the
// machine's group is removed: others may have come to rely on them.
func enableV2(dir string, controllers []string) error {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	have := strings.Fields(string(b))
	controllers = slices.DeleteFunc(controllers, func(c string) bool { return slices.Contains(have, c) })
	if len(controllers) == 0 {
		return nil
	}
	return writeControl(dir, "cgroup.subtree_control", "+"+strings.Join(controllers, " +"))
}

func (cgroupV2) setCPU(f folders, cores float64) error {
	limit := "max"
	if q := quota(cores); q > 0 {
		limit = strconv.FormatInt(q, 10)
	}
	return writeControl(f[ctlCPU], "cpu.max", limit+" "+strconv.Itoa(cpuPeriod))
}

// setMemory limits memory, and allows no swap with a limit.
func (cgroupV2) setMemory(f folders, bytes int64) error {
	dir := f[ctlMemory]
	limit, swap := "max", "max"
	if bytes > 0 {
		limit, swap = strconv.FormatInt(bytes, 10), "0"
	}
	if err := writeControl(dir, "memory.swap.max", swap); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return writeControl(dir, "memory.max", limit)
}

func (cgroupV2) use(f folders) (u groupUse, err error) {
	dir := f[ctlCPU]
	µs, err := readField(dir, "cpu.stat", "usage_usec")
	if err != nil {
		return u, err
	}
	u.cpu = time.Duration(µs) * time.Microsecond
	used, err := readField(dir, "memory.current", "")
	if err != nil {
		return u, err
	}
	cache, err := readField(dir, "memory.stat", "inactive_file")
	if err != nil {
		return u, err
	}
	u.memory = max(0, used-cache)
	u.oom, err = readField(dir, "memory.events", "oom_kill")
	return u, err
}

// enter opens the group for clone3(2) with CLONE_INTO_CGROUP.
func (cgroupV2) enter(f folders) (int, func(), error) {
	dir, err := os.Open(f[ctlCPU])
	if err != nil {
		return -1, nil, err
	}
	return int(dir.Fd()), func() { dir.Close() }, nil
}
