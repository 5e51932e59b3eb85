package agent

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// procAttr gives a child its own session (and so its own process group, which
// keeps the terminal's signals away), death with the thread that forks it, and,
// if groupFD is not negative, birth inside that v2 cgroup.
func procAttr(groupFD int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Setsid:      true,
		Pdeathsig:   syscall.SIGKILL,
		UseCgroupFD: groupFD >= 0,
		CgroupFD:    max(0, groupFD),
	}
}

// becomeSubreaper makes the orphans among our descendants our children, so that
// a replica's daemons cannot get away.
func becomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become reaper of descendants: %w", err)
	}
	return nil
}

// onMainThread says whether the calling thread is the process's first. The
// goroutine must be locked to it.
func onMainThread() bool { return unix.Gettid() == os.Getpid() }

// pipeCloexec makes a pipe that no other child inherits.
func pipeCloexec(fd []int) error { return unix.Pipe2(fd, unix.O_CLOEXEC) }

// killUnseen has nothing to do where processes can be looked at.
func killUnseen(int) {}
