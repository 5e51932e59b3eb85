package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/flowctl/flowctl/state"
)

// Owner describes this process as the holder of a lock.
func Owner(command string, now time.Time) state.Holder {
	h := state.Holder{PID: os.Getpid(), Process: processID(os.Getpid()), Command: command, Since: now}
	h.Host, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		h.User = u.Username
	} else {
		h.User = "uid " + strconv.Itoa(os.Getuid())
	}
	return h
}

// processID tells a process from any other that had or will have its number: by
// the boot of the machine and the process's start time in it (proc(5), field 22
// of stat). It is "" where there is no /proc, or no such process.
func processID(pid int) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name, in parentheses, may hold anything; fields count from after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "" // a zombie holds nothing any more
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[19]
}

// Alive reports whether the holder of a lock still lives. Of a process on
// another machine nothing can be said, so it counts as alive.
func Alive(h state.Holder) bool {
	host, _ := os.Hostname()
	if h.Host != host {
		return true
	}
	if h.Process != "" {
		return processID(h.PID) == h.Process
	}
	return syscall.Kill(h.PID, 0) == nil
}

// ControllerCommand is what the controller holds the lock as while it carries out
// what it has decided: never for long, and never over a question to somebody.
const ControllerCommand = "flowctl serve"

// IsLocked reports whether an error says that somebody else has the lock.
func IsLocked(err error) bool { return errors.Is(err, state.ErrLocked) }

// lockPoll is the time between two tries at a lock that somebody holds.
const lockPoll = 200 * time.Millisecond

// patience is how long the controller is waited for at the least: what it does is
// nothing that somebody should have to know of.
const patience = 2 * time.Minute

// Lock takes the flow's lock, waiting up to the given time for whoever holds it.
// While it waits for the controller, that begins nothing more.
func (f *Flow) Lock(ctx context.Context, h state.Holder, wait time.Duration, waiting func(state.Holder)) (*state.Lease, error) {
	var limit <-chan time.Time
	for told := false; ; {
		l, err := f.Store.Acquire(ctx, state.ApplyLock, h, Alive)
		var locked *state.LockedError
		if err == nil || !errors.As(err, &locked) {
			return l, err
		}
		if locked.Holder.Command == ControllerCommand && h.Command != ControllerCommand {
			wait = max(wait, patience)
		}
		if wait <= 0 {
			return l, err
		}
		if !told {
			told = true
			if locked.Holder.Command == ControllerCommand && h.Command != ControllerCommand {
				if next, err := f.Store.Acquire(ctx, state.NextLock, h, Alive); err == nil { // else somebody is before us
					defer next.Release(context.WithoutCancel(ctx))
				}
			}
			t := time.NewTimer(wait)
			defer t.Stop()
			limit = t.C
			if waiting != nil {
				waiting(locked.Holder)
			}
		}
		poll := time.NewTimer(lockPoll)
		select {
		case <-poll.C:
		case <-limit:
			poll.Stop()
			return nil, fmt.Errorf("waited %s: %w", wait, err)
		case <-ctx.Done():
			poll.Stop()
			return nil, context.Cause(ctx)
		}
	}
}
