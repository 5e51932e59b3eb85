package agent

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// forker starts every child of this process from one thread and reaps every
// child, adopted orphans too. One thread, since the kernel ties a child's
// death signal to the thread that forked it (prctl(2), PR_SET_PDEATHSIG), and
// since a v1 cgroup is joined by moving the forking thread into it.
//
// It takes all of the process's children: nothing else in the process may start
// or wait for one.
type forker struct {
	now    func() time.Time
	work   chan func()
	quit   chan struct{}
	done   chan struct{}
	orphan func(pid int, used time.Duration) // called for a reaped child it did not start

	live map[int]chan<- ending // by pid; of the thread alone
	null *os.File
}

// ending is how a process ended, and the processor time that it and the
// descendants it had waited for have used.
type ending struct {
	at     time.Time
	status syscall.WaitStatus
	used   time.Duration
}

// launch is a process to be started.
type launch struct {
	argv, env      []string
	dir            string
	stdout, stderr *os.File
	group          *cgroup // nil for none
}

func newForker(now func() time.Time, orphan func(pid int, used time.Duration)) (*forker, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	f := &forker{
		now: now, orphan: orphan, null: null, live: map[int]chan<- ending{},
		work: make(chan func()), quit: make(chan struct{}), done: make(chan struct{}),
	}
	go f.run()
	return f, nil
}

// close ends the thread. What still runs dies with it.
func (f *forker) close() {
	close(f.quit)
	<-f.done
	f.null.Close()
}

// run is the thread. It must not be the process's first one: the kernel takes
// that for the whole process, for one when it looks for a victim in a v1 memory
// cgroup that the thread has joined for a moment.
func (f *forker) run() {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	if onMainThread() {
		go f.run()
		<-f.done
		runtime.UnlockOSThread() // the first thread must live on
		return
	}
	defer close(f.done)
	dead := make(chan os.Signal, 1)
	signal.Notify(dead, syscall.SIGCHLD)
	defer signal.Stop(dead)
	for {
		select {
		case job := <-f.work:
			job()
		case <-dead:
		case <-f.quit:
			return
		}
		f.reap()
	}
}

// on runs job on the thread and waits for it. It is false when the thread has
// ended.
func (f *forker) on(job func()) bool {
	done := make(chan struct{})
	select {
	case f.work <- func() { job(); close(done) }:
		<-done
		return true
	case <-f.done:
		return false
	}
}

// start starts a process. Its ending comes on the channel, once.
func (f *forker) start(l launch) (pid int, ended <-chan ending, err error) {
	ch := make(chan ending, 1)
	if !f.on(func() {
		if pid, err = f.fork(l); err == nil {
			f.live[pid] = ch
		}
	}) {
		err = errors.New("the agent is shutting down")
	}
	return pid, ch, err
}

func (f *forker) fork(l launch) (int, error) {
	groupFD, leave, err := l.group.enter()
	if err != nil {
		return 0, fmt.Errorf("enter cgroup: %w", err)
	}
	defer leave()
	return syscall.ForkExec(l.argv[0], l.argv, &syscall.ProcAttr{
		Dir:   l.dir,
		Env:   l.env,
		Files: []uintptr{f.null.Fd(), l.stdout.Fd(), l.stderr.Fd()},
		Sys:   procAttr(groupFD),
	})
}

// signal sends sig to the process group of a process that start returned, as
// long as it is not reaped: its pid cannot be another's.
func (f *forker) signal(pid int, sig ...syscall.Signal) {
	f.on(func() {
		if f.live[pid] == nil {
			return
		}
		for _, s := range sig {
			syscall.Kill(-pid, s)
		}
	})
}

// reap collects all children that have ended.
func (f *forker) reap() {
	for {
		var status syscall.WaitStatus
		var ru syscall.Rusage
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, &ru)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		used := time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
		ch, ours := f.live[pid]
		if !ours {
			f.orphan(pid, used)
			continue
		}
		delete(f.live, pid)
		ch <- ending{at: f.now(), status: status, used: used}
	}
}
