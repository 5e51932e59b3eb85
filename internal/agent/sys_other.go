//go:build !linux

package agent

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// procAttr gives a child its own session. Elsewhere than on Linux a child does
// not die with the agent.
func procAttr(int) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func becomeSubreaper() error { return nil }

func onMainThread() bool { return false }

// pipeCloexec makes a pipe that no other child inherits.
func pipeCloexec(fd []int) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := unix.Pipe(fd); err != nil {
		return err
	}
	unix.CloseOnExec(fd[0])
	unix.CloseOnExec(fd[1])
	return nil
}

// killUnseen kills the rest of a process group whose leader has ended.
func killUnseen(pgrp int) { syscall.Kill(-pgrp, syscall.SIGKILL) }
