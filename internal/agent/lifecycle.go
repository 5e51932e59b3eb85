package agent

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// replica is one replica. It belongs to the supervisor's loop.
//
//	          prepared            started           ended
//	put ► starting ─────► starting ─────► running ─────► backoff ─► starting …
//	remove, shutdown:  any ─► stopping ─► gone, stopped
//	restart:           running ─► stopping ─► starting ─► running
//	suspend, resume:   running ─► suspended ─► running
type replica struct {
	spec  ReplicaSpec
	state State
	res   *resources // nil until it is prepared
	proc  *process   // nil when none runs
	pid   int

	begun     time.Time // of the process that runs
	runs      int       // processes started
	backoff   backoff
	timer     *time.Timer // to the next start
	nextStart time.Time
	lastExit  *Exit
	startErr  string // of the last attempt
	usage     Usage

	ordered  bool // proc has been told to end
	again    bool // to be started when it has ended
	removing bool // to be removed when it has ended
	updating bool // a worker is applying new limits

	onStart []func(Status, error) // replies owed at the next start or failure
	onGone  []func(error)         // replies owed when it is removed
}

func (s *supervisor) status(r *replica) Status {
	st := Status{
		Name: r.spec.Name, Spec: r.spec, State: r.state, Host: s.machine.Host,
		PID: r.pid, Started: r.begun, Restarts: max(0, r.runs-1), NextStart: r.nextStart,
		LastExit: r.lastExit, Error: r.startErr, Usage: r.usage,
	}
	if r.res != nil {
		st.Port = r.res.number
		st.Env, st.Dir, st.Cgroups = r.res.env, r.res.workDir, r.res.group.dirs()
	}
	return st
}

// put creates a replica or updates it.
func (s *supervisor) put(spec ReplicaSpec, reply func(Status, error)) {
	if s.replicas[spec.Name] == nil && !s.closing {
		s.create(spec, reply)
		return
	}
	s.find(spec.Name, reply, func(r *replica) { s.update(r, spec, reply) })
}

func (s *supervisor) create(spec ReplicaSpec, reply func(Status, error)) {
	r := &replica{spec: spec, state: StateStarting, onStart: []func(Status, error){reply}}
	s.replicas[spec.Name] = r
	s.changed = true
	ip := s.machine.Host
	s.workers.Go(func() {
		res, err := s.prepare(spec, ip)
		s.post(func() { s.prepared(r, res, err) })
	})
}

func (s *supervisor) prepared(r *replica, res *resources, err error) {
	r.res = res
	switch {
	case err != nil:
		s.drop(r, err)
	case r.removing || s.closing:
		s.release(r)
	default:
		s.start(r)
	}
}

// drop forgets a replica that never ran.
func (s *supervisor) drop(r *replica, err error) {
	delete(s.replicas, r.spec.Name)
	s.changed = true
	s.answer(r, err)
	for _, gone := range r.onGone {
		gone(nil)
	}
}

// answer gives the replies that are owed at a start: the status, or the error.
func (s *supervisor) answer(r *replica, err error) {
	for _, reply := range r.onStart {
		if err != nil {
			reply(Status{}, err)
		} else {
			reply(s.status(r), nil)
		}
	}
	r.onStart = nil
}

// update applies what can change under a running process.
func (s *supervisor) update(r *replica, spec ReplicaSpec, reply func(Status, error)) {
	if err := checkUpdate(r.spec, spec); err != nil {
		reply(Status{}, err)
		return
	}
	if r.updating || r.res == nil && !sameSpec(r.spec, spec) {
		reply(Status{}, &fault{ErrBusy, fmt.Sprintf("replica %s is being changed; try again", spec.Name)})
		return
	}
	if sameSpec(r.spec, spec) {
		if r.state == StateStarting {
			r.onStart = append(r.onStart, reply)
			return
		}
		reply(s.status(r), nil)
		return
	}
	r.updating = true
	res, log := r.res, r.res.log
	s.workers.Go(func() {
		err := res.group.limit(spec.CPU, spec.MemoryBytes)
		if err == nil {
			err = res.put(spec.Files)
		}
		if err == nil {
			log.setLimits(spec.LogMaxBytes, spec.LogFiles)
		}
		s.post(func() {
			r.updating = false
			if r.removing {
				reply(Status{}, beingRemoved(spec.Name))
				return
			}
			if err != nil {
				reply(Status{}, fmt.Errorf("change replica %s: %w", spec.Name, err))
				return
			}
			s.log.Info("replica changed", "replica", spec.Name, "cpu", spec.CPU, "memory", spec.MemoryBytes)
			spec.PortHint = r.spec.PortHint
			r.spec = spec
			s.changed = true
			reply(s.status(r), nil)
		})
	})
}

// start starts the program.
func (s *supervisor) start(r *replica) {
	r.cancelTimer()
	r.again, r.ordered = false, false
	r.state = StateStarting
	s.changed = true
	p := &process{
		replica: r.spec.Name, log: r.res.log, table: s.table, forker: s.forker, logger: s.log,
		stop:   make(chan struct{}),
		launch: launch{argv: r.spec.Exec, env: r.res.env, dir: r.res.workDir, group: r.res.group},
	}
	r.proc = p
	s.workers.Go(func() {
		e, err := p.run(func(pid int) { s.post(func() { s.running(r, pid) }) })
		oom := err == nil && r.res.oomKilled(e)
		s.post(func() { s.ended(r, e, oom, err) })
	})
}

func (r *replica) cancelTimer() {
	if r.timer != nil {
		r.timer.Stop()
	}
	r.timer, r.nextStart = nil, time.Time{}
}

func (s *supervisor) running(r *replica, pid int) {
	r.pid, r.begun, r.startErr = pid, s.now(), ""
	r.runs++
	if !r.ordered {
		r.state = StateRunning
	}
	s.changed = true
	s.log.Info("replica started", "replica", r.spec.Name, "pid", pid, "port", r.res.number, "restarts", r.runs-1)
	if !r.ordered {
		s.answer(r, nil)
	}
}

// ended takes note that no process of the replica lives, or that none could be
// started (err).
func (s *supervisor) ended(r *replica, e ending, oom bool, err error) {
	uptime := time.Duration(0)
	if err == nil {
		uptime = e.at.Sub(r.begun)
		r.lastExit = exitOf(e, oom, r.res.log.tail())
		s.log.Info("replica ended", "replica", r.spec.Name, "pid", r.pid, "why", r.lastExit.String())
	}
	r.proc, r.pid, r.begun = nil, 0, time.Time{}
	s.changed = true
	switch {
	case r.removing || s.closing:
		s.release(r)
	case err != nil && r.runs == 0:
		err = startError(r.spec, err)
		r.removing = true
		r.onGone = append(r.onGone, func(error) { s.answer(r, err) })
		s.release(r)
	case r.again:
		s.start(r)
	default:
		if err != nil {
			err = startError(r.spec, err)
			r.startErr = err.Error()
			s.log.Error("replica does not start", "replica", r.spec.Name, "err", err)
			s.answer(r, err)
		}
		s.backOff(r, uptime)
	}
}

// exitOf describes an ending.
func exitOf(e ending, oom bool, lines []string) *Exit {
	x := &Exit{At: e.at, Code: e.status.ExitStatus(), OOMKilled: oom, LastLines: lines}
	if e.status.Signaled() {
		x.Signal = unix.SignalName(e.status.Signal())
	}
	return x
}

// backOff starts the replica again after a while.
func (s *supervisor) backOff(r *replica, uptime time.Duration) {
	wait := r.backoff.next(uptime, s.chance.Float64())
	r.state = StateBackoff
	r.nextStart = s.now().Add(wait)
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		s.post(func() {
			if r.timer == timer { // not cancelled meanwhile
				s.start(r)
			}
		})
	})
	r.timer = timer
}

// ensure starts a replica that waits in back-off.
func (s *supervisor) ensure(name string, reply func(Status, error)) {
	s.find(name, reply, func(r *replica) {
		switch r.state {
		case StateBackoff:
			r.onStart = append(r.onStart, reply)
			s.start(r)
		case StateStarting, StateStopping:
			r.onStart = append(r.onStart, reply)
		default:
			reply(s.status(r), nil)
		}
	})
}

// restart ends the process and starts another.
func (s *supervisor) restart(name string, reply func(Status, error)) {
	s.find(name, reply, func(r *replica) {
		r.onStart = append(r.onStart, reply)
		switch r.state {
		case StateBackoff:
			s.start(r)
		case StateRunning, StateSuspended:
			r.again = true
			s.stop(r)
		}
	})
}

// stop tells the process to end.
func (s *supervisor) stop(r *replica) {
	r.state = StateStopping
	s.changed = true
	if !r.ordered {
		r.ordered = true
		r.proc.order(unix.SignalNum(r.spec.StopSignal), r.spec.StopGrace)
	}
}

// remove ends a replica and deletes what it was.
func (s *supervisor) remove(name string, reply func(error)) {
	r := s.replicas[name]
	if r == nil {
		dir := replicaDir(s.dir, name)
		if !exists(dir) {
			reply(nil)
			return
		}
		// A dead agent has left its files.
		r = &replica{spec: ReplicaSpec{Name: name}, state: StateStopped, res: &resources{dir: dir}}
		s.replicas[name] = r
	}
	r.onGone = append(r.onGone, reply)
	if !r.removing {
		r.removing = true
		s.end(r, beingRemoved(name))
	}
}

// end takes a replica, in whatever state, to its end. Who waits for it to start
// is told why it does not.
func (s *supervisor) end(r *replica, why error) {
	s.answer(r, why)
	switch {
	case r.proc != nil:
		s.stop(r)
	case r.state == StateBackoff, r.state == StateStopped:
		s.release(r)
	}
	// Otherwise a worker is at it, and will see that it is to end.
}

// release gives back what a replica held, in a worker.
func (s *supervisor) release(r *replica) {
	r.cancelTimer()
	r.state = StateStopping
	s.changed = true
	s.releasing++
	files, res, name := r.removing, r.res, r.spec.Name // a change may be under way
	s.workers.Go(func() {
		err := res.release(files)
		s.table.forget(name)
		s.post(func() { s.releasing--; s.released(r, files, err) })
	})
}

func (s *supervisor) released(r *replica, files bool, err error) {
	s.changed = true
	if r.removing && !files { // asked while it was being stopped
		s.release(r)
		return
	}
	if !r.removing {
		r.state = StateStopped
		return
	}
	delete(s.replicas, r.spec.Name)
	s.log.Info("replica removed", "replica", r.spec.Name)
	for _, reply := range r.onGone {
		reply(err)
	}
}
