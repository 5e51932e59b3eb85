package agent

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// suspend holds the processes of a replica where they are. A stop wakes them, and
// so does nothing else but resume.
func (s *supervisor) suspend(name string, reply func(Status, error)) {
	s.hold(name, unix.SIGSTOP, StateRunning, StateSuspended, reply)
}

// resume lets them go on.
func (s *supervisor) resume(name string, reply func(Status, error)) {
	s.hold(name, unix.SIGCONT, StateSuspended, StateRunning, reply)
}

// hold sends a signal to all processes of a replica and takes it from one state to
// another.
func (s *supervisor) hold(name string, sig unix.Signal, from, to State, reply func(Status, error)) {
	s.find(name, reply, func(r *replica) {
		if r.state == to {
			reply(s.status(r), nil)
			return
		}
		if r.state != from {
			reply(Status{}, &fault{ErrBusy, fmt.Sprintf("replica %s is in state %s", name, r.state)})
			return
		}
		p := r.proc
		s.workers.Go(func() {
			err := p.signalAll(sig)
			s.post(func() {
				switch {
				case r.proc != p || r.state != from || errors.Is(err, fs.ErrNotExist): // its control group is gone first
					reply(Status{}, &fault{ErrBusy, fmt.Sprintf("replica %s ended meanwhile", name)})
				case err != nil:
					reply(Status{}, fmt.Errorf("send %s to replica %s: %w", unix.SignalName(sig), name, err))
				default:
					r.state, s.changed = to, true
					s.log.Info("replica "+string(to), "replica", name)
					reply(s.status(r), nil)
				}
			})
		})
	})
}

// signalAll sends a signal to every process of the replica, those included that
// are forked while it does.
func (p *process) signalAll(sig unix.Signal) error {
	told := map[procKey]bool{}
	for {
		members, err := p.members()
		if err != nil {
			return err
		}
		more := false
		for _, m := range members {
			if !told[m.key()] {
				told[m.key()], more = true, true
				kill(m.key(), sig)
			}
		}
		if !more {
			return nil
		}
	}
}

// signal sends a signal to a replica's program alone.
func (s *supervisor) signal(name, signal string, reply func(Status, error)) {
	s.find(name, reply, func(r *replica) {
		sig := unix.SignalNum(signal)
		switch {
		case sig == 0:
			reply(Status{}, invalidf("there is no signal %q", signal))
		case r.state != StateRunning:
			reply(Status{}, &fault{ErrBusy, fmt.Sprintf("replica %s is in state %s", name, r.state)})
		default:
			err := unix.Kill(r.pid, sig)
			if errors.Is(err, unix.ESRCH) {
				err = &fault{ErrBusy, fmt.Sprintf("replica %s ended meanwhile", name)}
			}
			reply(s.status(r), err)
		}
	})
}
