package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupV1 is the interface of Documentation/admin-guide/cgroup-v1 (memory.rst,
// cpuacct.rst) and scheduler/sched-bwc.rst. homes is where the agent itself is.
type cgroupV1 struct{ homes folders }

// setup makes a group of groups count what those below it use, which kernels
// before 5.11 do not do by default.
func (v cgroupV1) setup(f folders, inner bool) error {
	dir, ok := f[ctlMemory]
	if !ok || !inner {
		return nil
	}
	if n, err := readField(dir, "memory.use_hierarchy", ""); err == nil && n == 0 {
		return writeControl(dir, "memory.use_hierarchy", "1")
	}
	return nil
}

func (v cgroupV1) setCPU(f folders, cores float64) error {
	dir, ok := f[ctlCPU]
	if !ok {
		return nil
	}
	return errors.Join(
		writeControl(dir, "cpu.cfs_period_us", strconv.Itoa(cpuPeriod)),
		writeControl(dir, "cpu.cfs_quota_us", strconv.FormatInt(quota(cores), 10)))
}

// setMemory limits memory, and memory and swap together to the same: there is
// no swap for a replica with a limit. The latter may not be below the former.
func (v cgroupV1) setMemory(f folders, bytes int64) error {
	dir, ok := f[ctlMemory]
	if !ok {
		return nil
	}
	limit := "-1"
	if bytes > 0 {
		limit = strconv.FormatInt(bytes, 10)
	}
	err := writeControl(dir, "memory.limit_in_bytes", limit)
	if !errors.Is(err, unix.EINVAL) {
		if err == nil && exists(filepath.Join(dir, "memory.memsw.limit_in_bytes")) { // else swap is not accounted for
			err = writeControl(dir, "memory.memsw.limit_in_bytes", limit)
		}
		return belowUse(dir, err)
	}
	if err := writeControl(dir, "memory.memsw.limit_in_bytes", limit); err != nil { // raised first
		return err
	}
	return writeControl(dir, "memory.limit_in_bytes", limit)
}

// belowUse says what it means that the kernel cannot lower a limit.
func belowUse(dir string, err error) error {
	if used, uerr := readField(dir, "memory.usage_in_bytes", ""); uerr == nil && errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%d bytes are in use, and stay the limit's floor until they are freed: %w", used, err)
	}
	return err
}

func (v cgroupV1) use(f folders) (u groupUse, err error) {
	if dir, ok := f[ctlCPUAcct]; ok {
		ns, err := readField(dir, "cpuacct.usage", "")
		if err != nil {
			return u, err
		}
		u.cpu = time.Duration(ns)
	}
	dir, ok := f[ctlMemory]
	if !ok {
		return u, nil
	}
	used, err := readField(dir, "memory.usage_in_bytes", "")
	if err != nil {
		return u, err
	}
	cache, err := readField(dir, "memory.stat", "total_inactive_file")
	if err != nil {
		return u, err
	}
	u.memory = max(0, used-cache)
	u.oom, _ = readField(dir, "memory.oom_control", "oom_kill") // since 4.13
	return u, nil
}

// enter moves the calling thread into the group: what it forks is born there.
// In v1 a thread can be in another group than its process, and memory is
// charged by the process, so the agent's own does not move.
func (v cgroupV1) enter(f folders) (int, func(), error) {
	var entered []string
	leave := func() {
		for _, ctl := range entered {
			writeControl(v.homes[ctl], "tasks", "0") // should it fail, the next enter moves on from here
		}
	}
	for ctl, dir := range f {
		if err := writeControl(dir, "tasks", "0"); err != nil { // 0 = the thread that writes
			leave()
			return -1, nil, err
		}
		entered = append(entered, ctl)
	}
	return -1, leave, nil
}
