package agent

import (
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lookAgain   = 20 * time.Millisecond // between two looks at processes that are to end
	buryTimeout = 10 * time.Second      // for processes that outlive SIGKILL: in a system call that hangs
	logTimeout  = time.Second           // for a pipe that somebody outside of the replica holds open
	logBuffer   = 8 << 10               // read at once, per stream

	// What is read of a stream at most, 16 MiB/s: a flood is then slowed down by
	// its full pipe, and costs the agent a few per cent of a core.
	paceBytes = 16 << 20 / 10
	paceEvery = time.Second / 10
)

// process is one life of a replica: its program from the fork to the death of
// its last descendant. run lives in one goroutine; only order crosses over.
type process struct {
	replica string
	launch  launch // without its outputs
	log     *logFile
	table   *procTable
	forker  *forker
	logger  *slog.Logger

	stop  chan struct{} // closed by order
	sig   syscall.Signal
	grace time.Duration
}

// order asks the process to end: sig to its process group, and SIGKILL to
// whatever of the replica lives after the grace. Call it once.
func (p *process) order(sig syscall.Signal, grace time.Duration) {
	p.sig, p.grace = sig, grace
	close(p.stop)
}

// run starts the program, calls started with its pid, and returns when the
// program and all its descendants are dead and all that they wrote is in the
// log. An error means that nothing was started.
func (p *process) run(started func(pid int)) (ending, error) {
	outR, outW, err := pipe()
	if err != nil {
		return ending{}, err
	}
	errR, errW, err := pipe()
	if err != nil {
		outR.Close()
		outW.Close()
		return ending{}, err
	}
	p.launch.stdout, p.launch.stderr = outW, errW
	pid, ended, err := p.forker.start(p.launch)
	outW.Close()
	errW.Close()
	if err != nil {
		outR.Close()
		errR.Close()
		return ending{}, err
	}
	p.table.add(pid, p.replica)
	var copying sync.WaitGroup
	copying.Go(func() { p.copyLog(outR, Stdout) })
	copying.Go(func() { p.copyLog(errR, Stderr) })
	started(pid)

	e, deadline := p.wait(pid, ended)
	p.table.end(p.replica, e.used)
	p.bury(pid, deadline)
	killUnseen(pid)
	p.table.buried(p.replica)
	late := time.Now().Add(logTimeout)
	outR.SetReadDeadline(late)
	errR.SetReadDeadline(late)
	copying.Wait()
	return e, nil
}

// pipe makes a pipe whose reading end can be waited on with a deadline and whose
// writing end blocks, as programs expect of their output.
func pipe() (r, w *os.File, err error) {
	var fd [2]int
	if err := pipeCloexec(fd[:]); err != nil {
		return nil, nil, os.NewSyscallError("pipe", err)
	}
	if err := unix.SetNonblock(fd[0], true); err != nil {
		unix.Close(fd[0])
		unix.Close(fd[1])
		return nil, nil, os.NewSyscallError("setnonblock", err)
	}
	return os.NewFile(uintptr(fd[0]), "output"), os.NewFile(uintptr(fd[1]), "output"), nil
}

// copyLog writes what comes through r to the log, until its end.
func (p *process) copyLog(r *os.File, stream string) {
	defer r.Close()
	buf := make([]byte, logBuffer)
	var lines splitter
	var b batch
	var pace pacer
	for {
		n, err := r.Read(buf)
		time.Sleep(pace.delay(n, time.Now()))
		b.reset(p.log.now())
		add := func(text []byte, partial bool) { b.add(stream, text, partial) }
		lines.feed(buf[:n], add)
		if err != nil {
			lines.flush(add)
		}
		p.log.write(&b)
		if err != nil {
			return
		}
	}
}

// pacer spreads bytes over time.
type pacer struct {
	window time.Time // when it began
	n      int       // bytes since
}

// delay returns how long to wait after n more bytes at an instant.
func (p *pacer) delay(n int, now time.Time) time.Duration {
	if now.Sub(p.window) >= paceEvery {
		p.window, p.n = now, 0
	}
	if p.n += n; p.n < paceBytes {
		return 0
	}
	end := p.window.Add(paceEvery)
	p.window, p.n = end, 0
	return end.Sub(now)
}

// wait returns when the program has ended, by itself or as ordered, and until
// when its descendants may live on.
func (p *process) wait(pid int, ended <-chan ending) (ending, <-chan time.Time) {
	select {
	case e := <-ended:
		return e, nil
	case <-p.stop:
	}
	deadline := time.After(p.grace)
	p.forker.signal(pid, p.sig, syscall.SIGCONT) // a stopped process would not take it
	select {
	case e := <-ended:
		return e, deadline
	case <-deadline:
		p.forker.signal(pid, syscall.SIGKILL)
		return <-ended, nil
	}
}

// bury waits until no process of the replica lives, and from the deadline on
// (nil: at once) kills them. Those that had left the process group have not got
// the signal yet.
func (p *process) bury(pid int, deadline <-chan time.Time) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	patience := time.NewTimer(buryTimeout)
	defer patience.Stop()
	told := map[procKey]bool{}
	killing := deadline == nil
	for {
		left, err := p.members()
		if err != nil || len(left) == 0 {
			if err != nil {
				p.logger.Error("cannot look for processes", "replica", p.replica, "err", err)
			}
			return
		}
		if killing {
			p.launch.group.seal(true) // a failure is met by killing again
		}
		for _, m := range left {
			switch {
			case killing:
				kill(m.key(), unix.SIGKILL)
			case m.pgrp != pid && !told[m.key()]:
				told[m.key()] = true
				kill(m.key(), p.sig)
				kill(m.key(), unix.SIGCONT)
			}
		}
		select {
		case <-deadline:
			killing, deadline = true, nil
			patience.Reset(buryTimeout)
		case <-patience.C:
			if killing {
				p.logger.Error("processes outlive SIGKILL", "replica", p.replica, "pid", left[0].pid, "count", len(left))
				return
			}
		case <-tick.C:
		}
	}
}

// members returns the live processes of the replica.
func (p *process) members() ([]procInfo, error) {
	if p.launch.group == nil {
		return p.table.members(p.replica)
	}
	return p.launch.group.members()
}
