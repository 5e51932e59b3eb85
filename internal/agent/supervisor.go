package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"
)

// host is what a supervisor works with; it does not change.
type host struct {
	dir    string
	id     string // of the machine, in the environment of its processes
	log    *slog.Logger
	now    func() time.Time
	chance *rand.Rand // of the loop alone
	ports  *ports
	groups *machineGroup // nil: no cgroups
	unmade string        // limits that are not enforced, and why; "" if all are
	table  *procTable
	forker *forker
}

// supervisor owns the machine and its replicas: run is the one goroutine that
// touches them. Requests and the results of workers are functions posted to it.
type supervisor struct {
	host
	started time.Time
	calls   chan func()
	done    chan struct{} // closed when run accepts no more calls
	workers sync.WaitGroup

	// Of run alone.
	machine   Machine
	resizing  bool // a worker is changing the machine
	replicas  map[string]*replica
	usage     Usage // of the machine
	revision  int64
	changed   bool // since revision was counted
	watchers  map[*watcher]bool
	releasing int // workers that give back a replica's resources
	closing   bool
}

// watcher waits for a revision after the one it knows.
type watcher struct{ reply func(Snapshot, error) }

func newSupervisor(h host, m Machine) *supervisor {
	return &supervisor{
		host: h, started: h.now(), machine: m, revision: 1,
		calls: make(chan func()), done: make(chan struct{}),
		replicas: map[string]*replica{}, watchers: map[*watcher]bool{},
	}
}

// run serves calls until ctx ends and every replica has been stopped after
// that. It returns when its workers have.
func (s *supervisor) run(ctx context.Context) {
	ended := ctx.Done()
	for !s.closing || !s.quiet() {
		select {
		case call := <-s.calls:
			call()
		case <-ended:
			ended = nil
			s.shutdown()
		}
		s.announce()
	}
	close(s.done)
	s.workers.Wait()
}

// post hands a function to run; false when run has ended.
func (s *supervisor) post(call func()) bool {
	select {
	case s.calls <- call:
		return true
	case <-s.done:
		return false
	}
}

// ask posts f and waits for its reply.
func ask[T any](ctx context.Context, s *supervisor, f func(reply func(T, error))) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	var none T
	if !s.post(func() { f(func(v T, err error) { answers <- answer{v, err} }) }) {
		return none, errClosing
	}
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	case <-s.done:
		select {
		case a := <-answers:
			return a.value, a.err
		default:
			return none, errClosing
		}
	}
}

var errClosing = &fault{ErrBusy, "the machine is shutting down"}

// announce tells the watchers of a change.
func (s *supervisor) announce() {
	if !s.changed {
		return
	}
	s.changed = false
	s.revision++
	for w := range s.watchers {
		w.reply(s.snapshot(), nil)
	}
	clear(s.watchers)
}

// changes returns the replicas as soon as there is a revision after the given.
func (s *supervisor) changes(ctx context.Context, after int64) (Snapshot, error) {
	w := &watcher{}
	snap, err := ask(ctx, s, func(reply func(Snapshot, error)) {
		if s.revision > after {
			reply(s.snapshot(), nil)
			return
		}
		w.reply = reply
		s.watchers[w] = true
	})
	if err != nil {
		s.post(func() { delete(s.watchers, w) })
	}
	return snap, err
}

func (s *supervisor) snapshot() Snapshot {
	return Snapshot{Revision: s.revision, Replicas: s.list()}
}

func (s *supervisor) list() []Status {
	list := make([]Status, 0, len(s.replicas))
	for _, r := range s.replicas {
		list = append(list, s.status(r))
	}
	slices.SortFunc(list, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (s *supervisor) machineStatus() MachineStatus {
	m := MachineStatus{
		Machine: s.machine, ID: s.id, PID: os.Getpid(), Started: s.started,
		LimitsEnforced: s.unmade == "", LimitsWhy: s.unmade,
		Usage: s.usage, Replicas: len(s.replicas),
	}
	for _, r := range s.replicas {
		if r.state == StateRunning {
			m.Running++
		}
	}
	return m
}

// setMachine changes the machine under its running replicas.
func (s *supervisor) setMachine(m Machine, reply func(MachineStatus, error)) {
	switch {
	case s.closing:
		reply(MachineStatus{}, errClosing)
		return
	case s.resizing:
		reply(MachineStatus{}, &fault{ErrBusy, "the machine is being changed; try again"})
		return
	case m.Host != s.machine.Host && len(s.replicas) > 0:
		reply(MachineStatus{}, &fault{ErrReplace, fmt.Sprintf(
			"the machine's replicas listen on %s; remove them before its host becomes %s", s.machine.Host, m.Host)})
		return
	}
	s.resizing = true
	s.workers.Go(func() {
		err := hasAddress(m.Host)
		if err == nil {
			err = s.groups.resize(m.CPUs, m.MemoryBytes)
		}
		if err == nil {
			err = WriteMachine(s.dir, m)
		}
		s.post(func() {
			s.resizing = false
			if err != nil {
				reply(MachineStatus{}, err)
				return
			}
			s.log.Info("machine changed", "cpus", m.CPUs, "memory", m.MemoryBytes, "slots", m.Slots)
			s.machine = m
			s.changed = true
			reply(s.machineStatus(), nil)
		})
	})
}

// find calls f with a replica that is there to be worked with.
func (s *supervisor) find(name string, reply func(Status, error), f func(*replica)) {
	r := s.replicas[name]
	switch {
	case r == nil:
		reply(Status{}, notFound(name))
	case s.closing:
		reply(Status{}, errClosing)
	case r.removing:
		reply(Status{}, beingRemoved(name))
	default:
		f(r)
	}
}

func beingRemoved(name string) error {
	return &fault{ErrBusy, fmt.Sprintf("replica %s is being removed", name)}
}

// shutdown stops everything.
func (s *supervisor) shutdown() {
	if s.closing {
		return
	}
	s.closing = true
	s.log.Info("shutting down", "replicas", len(s.replicas))
	for _, r := range s.replicas {
		s.end(r, errClosing)
	}
}

// quiet says whether nothing is left to be stopped.
func (s *supervisor) quiet() bool {
	for _, r := range s.replicas {
		if r.state != StateStopped {
			return false
		}
	}
	return s.releasing == 0
}
