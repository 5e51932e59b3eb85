package exec

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
)

// Executor carries out runs.
type Executor struct {
	Runner    Runner
	Journal   Journal
	Limits    Limits
	Backoff   Backoff
	Retryable func(error) bool   // whether another attempt may succeed; nil means never
	Observe   func(engine.Event) // called by Run's own goroutine; may be nil
	Now       func() time.Time
	Rand      *rand.Rand // for the backoff
}

// Run carries out steps, which are in topological order with their places as
// IDs. When ctx ends, no further step or attempt begins, and those in flight go
// on under their own timeouts; when hard ends, these are cancelled, too, and
// their outcome is still recorded. The error is the journal's: without a
// journal nothing may begin.
func (x *Executor) Run(ctx, hard context.Context, run int64, steps []engine.Step) (Report, error) {
	l := &loop{
		Executor: x, run: run, steps: steps, frontier: NewFrontier(steps),
		results: make(chan attempt), notes: make(chan note), wake: make(chan int), quit: make(chan struct{}), soft: ctx, hard: hard,
		begun: make([]time.Time, len(steps)), tries: make([]int, len(steps)),
		sleeping: map[int]*nap{}, pool: x.Limits.Pool,
	}
	defer close(l.quit)
	if l.pool == nil {
		l.pool = NewPool()
	}
	var leave func()
	l.freed, leave = l.pool.join()
	defer leave()
	err := l.loop(ctx)
	r := Report{States: l.frontier.state, Failed: l.failed, Interrupted: l.cancelled}
	return r, err
}

// loop is one Run. Its methods are called by one goroutine only.
type loop struct {
	*Executor
	run      int64
	steps    []engine.Step
	frontier *Frontier
	results  chan attempt
	notes    chan note
	wake     chan int        // steps whose wait is over
	quit     chan struct{}   // closed when the loop has ended
	soft     context.Context // ends when nothing new is to begin
	hard     context.Context

	batch     engine.Batch
	events    []engine.Event // told when the batch is durable
	begun     []time.Time    // of the first attempt
	tries     []int
	inFlight  int // steps that take a slot
	counted   int // those of them that call a provider
	waiting   int // steps that only wait, and take none
	pool      *Pool
	freed     chan struct{} // told when another run gives a place back
	starved   bool          // a step waits for a place of the pool
	sleeping  map[int]*nap  // steps between two attempts
	failed    []StepError
	fatal     error
	cancelled bool
}

// attempt is a worker's result.
type attempt struct {
	id      int
	result  engine.Result
	err     error
	started time.Time
	ended   time.Time
}

// note is what a worker says of a step that runs.
type note struct {
	id   int
	text string
}

// nap is the wait of one step between two attempts, until the next is launched.
type nap struct {
	timer *time.Timer
	last  attempt
}

func (l *loop) loop(ctx context.Context) error {
	l.batch.Run = l.run
	done := ctx.Done()
	for {
		var start []int
		if ctx.Err() == nil && l.fatal == nil {
			start = l.pick()
		} else {
			l.stop()
			done, l.starved = nil, false
		}
		if l.flush(); l.fatal == nil {
			l.launch(start)
		} else {
			l.refuse(start)
			l.stop() // a step taken back between two attempts has no timer to wait for
		}
		if l.inFlight+l.waiting == 0 && len(l.sleeping) == 0 && (!l.starved || l.fatal != nil) {
			if l.fatal != nil {
				return l.lastWords()
			}
			if l.batch.Empty() {
				return nil
			}
			continue
		}
		select {
		case a := <-l.results:
			l.finish(a)
			l.drain()
		case n := <-l.notes:
			now := l.Now()
			l.tell(engine.Event{At: now, Step: l.steps[n.id], State: engine.Running, Attempt: l.tries[n.id], Elapsed: now.Sub(l.begun[n.id]), Note: n.text})
		case id := <-l.wake:
			l.awake(id)
		case <-l.freed:
		case <-done:
		}
	}
}

// drain takes all results that are there already, so that they share a write.
func (l *loop) drain() {
	for {
		select {
		case a := <-l.results:
			l.finish(a)
		default:
			return
		}
	}
}

// pick takes as many ready steps as the limits allow, and passes through gates.
func (l *loop) pick() []int {
	l.pool.mu.Lock() // nobody else takes the place that room has found
	defer l.pool.mu.Unlock()
	var start []int
	l.starved = false
	for {
		id, ok := l.frontier.Next(l.room)
		if !ok {
			return start
		}
		s := l.steps[id]
		if s.Op == engine.OpGate {
			l.frontier.Done(id)
			continue
		}
		l.take(s)
		start = append(start, id)
		if l.tries[id] == 0 {
			in := l.Runner.Intend(s)
			in.Operation, in.Run, in.Step, in.At = l.operation(id), l.run, id, l.Now()
			l.batch.Intents = append(l.batch.Intents, in)
		}
	}
}

// room reports whether the limits allow one more step of a class. Gates, and what is
// only recorded, have no provider and no limit.
func (l *loop) room(p engine.Phase, provider string) bool {
	if provider == "" {
		return true
	}
	if l.Limits.Total > 0 && l.counted >= l.Limits.Total {
		return false
	}
	free := l.pool.room(class{p, provider}, l.Limits)
	l.starved = l.starved || !free
	return free
}

// operation names the operation of a step in the journal.
func (l *loop) operation(id int) string { return fmt.Sprintf("r%d-s%d", l.run, id) }

// flush makes the batch durable and tells what happened. It is written even
// when the run is being stopped: what has happened must not be lost.
func (l *loop) flush() {
	if l.batch.Empty() {
		return
	}
	if err := l.Journal.Append(context.WithoutCancel(l.hard), l.batch); err != nil {
		l.fatal = fmt.Errorf("write the journal: %w", err)
		l.batch.Intents = nil // what was not written does not begin
		return
	}
	l.batch = engine.Batch{Run: l.run}
	for _, e := range l.events {
		l.tell(e)
	}
	l.events = nil
}

// lastWords ends a run that lost its journal: it gives up what has not begun
// and tries once more to write what has happened.
func (l *loop) lastWords() error {
	fatal := l.fatal
	l.stop()
	outcomes := len(l.batch.Outcomes)
	l.flush()
	for _, e := range l.events {
		l.tell(e)
	}
	if !l.batch.Empty() && outcomes > 0 {
		return fmt.Errorf("%w; the outcomes of %d operations could not be recorded: the next apply will look for what they made", fatal, outcomes)
	}
	return fatal
}

func (l *loop) tell(e engine.Event) {
	if l.Observe != nil {
		l.Observe(e)
	}
}

// launch starts one attempt at each step.
func (l *loop) launch(ids []int) {
	for _, id := range ids {
		now := l.Now()
		delete(l.sleeping, id)
		if l.tries[id]++; l.tries[id] == 1 {
			l.begun[id] = now
		}
		l.tell(engine.Event{At: now, Step: l.steps[id], State: engine.Running, Attempt: l.tries[id], Elapsed: now.Sub(l.begun[id])})
		go func() { l.results <- l.attempt(id, now) }()
	}
}

// refuse takes back steps whose intent could not be written.
func (l *loop) refuse(ids []int) {
	for _, id := range ids {
		l.release(id)
		l.frontier.Again(id)
	}
}

// take counts a step as begun. One that only waits takes no slot.
func (l *loop) take(s engine.Step) {
	if s.Op == engine.OpJudge {
		l.waiting++
		return
	}
	l.inFlight++
	if s.Provider != "" {
		l.counted++
		l.pool.running[classOf(s)]++
	}
}

func (l *loop) release(id int) {
	s := l.steps[id]
	if s.Op == engine.OpJudge {
		l.waiting--
		return
	}
	l.inFlight--
	if s.Provider != "" {
		l.counted--
		l.pool.give(classOf(s))
	}
}

// attempt runs in a worker: it touches nothing of the loop but its constants.
func (l *loop) attempt(id int, started time.Time) (a attempt) {
	s := l.steps[id]
	ctx, over := l.context(s)
	defer over()
	ctx = engine.WithNotes(ctx, func(text string) {
		select {
		case l.notes <- note{id, text}:
		case <-l.quit:
		}
	})
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("it took longer than %s", s.Timeout))
		defer cancel()
	}
	a = attempt{id: id, started: started}
	defer func() {
		if p := recover(); p != nil {
			a.err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		a.ended = l.Now()
	}()
	a.result, a.err = l.Runner.Run(ctx, s, l.operation(id))
	if cause := context.Cause(ctx); a.err != nil && cause != nil && errors.Is(a.err, ctx.Err()) && !errors.Is(a.err, cause) {
		a.err = fmt.Errorf("%w (%w)", cause, a.err)
	}
	return a
}

// context is what an attempt runs under. What only waits ends as soon as the run
// is stopped.
func (l *loop) context(s engine.Step) (context.Context, func()) {
	if s.Op != engine.OpJudge {
		return l.hard, func() {}
	}
	ctx, cancel := context.WithCancelCause(l.soft)
	stop := context.AfterFunc(l.hard, func() { cancel(context.Cause(l.hard)) })
	return ctx, func() { stop(); cancel(nil) }
}

// finish takes a worker's result: done, failed for good, or to be tried again.
func (l *loop) finish(a attempt) {
	l.release(a.id)
	s := l.steps[a.id]
	if s.Op == engine.OpJudge && a.err != nil && l.soft.Err() != nil { // stopped while it waited: it goes the way of those that have not begun
		l.frontier.Again(a.id)
		return
	}
	record := engine.TaskRecord{Step: s, State: engine.Done, Attempt: l.tries[a.id], Started: a.started, Ended: a.ended}
	event := engine.Event{At: a.ended, Step: s, State: engine.Done, Attempt: l.tries[a.id], Elapsed: a.ended.Sub(l.begun[a.id])}
	if a.err == nil {
		if event.Note = a.result.Note; a.result.Unchanged {
			event.Note = "unchanged"
		}
		l.batch.Tasks = append(l.batch.Tasks, record)
		l.settle(a)
		l.events = append(l.events, event)
		l.frontier.Done(a.id)
		return
	}
	record.Err, event.Err = a.err.Error(), a.err
	if l.tries[a.id] < max(1, s.Attempts) && l.Retryable != nil && l.Retryable(a.err) && l.fatal == nil && l.hard.Err() == nil && !l.cancelled {
		record.State, event.State = engine.Retrying, engine.Retrying
		event.Wait = l.Backoff.wait(l.tries[a.id], l.Rand)
		l.batch.Tasks = append(l.batch.Tasks, record)
		l.events = append(l.events, event)
		l.sleep(a, event.Wait)
		return
	}
	record.State, event.State = engine.Failed, engine.Failed
	l.batch.Tasks = append(l.batch.Tasks, record)
	l.fail(a, event)
}

// fail gives up a step and all that needs it.
func (l *loop) fail(a attempt, event engine.Event) {
	l.settle(a)
	l.events = append(l.events, event)
	l.failed = append(l.failed, StepError{l.steps[a.id], a.err})
	for _, lost := range l.frontier.Fail(a.id) {
		l.never(lost, engine.UpstreamFailed, event.At)
	}
}

// never records a step that will not run.
func (l *loop) never(id int, state engine.StepState, at time.Time) {
	s := l.steps[id]
	if s.Op == engine.OpGate {
		return
	}
	l.batch.Tasks = append(l.batch.Tasks, engine.TaskRecord{Step: s, State: state})
	l.events = append(l.events, engine.Event{At: at, Step: s, State: state})
}

// settle writes the outcome of an operation.
func (l *loop) settle(a attempt) {
	s := l.steps[a.id]
	o := engine.Outcome{
		Operation: l.operation(a.id), Address: s.Address, Gen: s.Gen, Op: s.Op,
		Object: a.result.Object, Unchanged: a.result.Unchanged, Unknown: a.result.Unknown, Taken: a.result.Taken,
		Attempts: l.tries[a.id], Started: l.begun[a.id], Ended: a.ended,
	}
	if a.err != nil {
		o.Err = a.err.Error()
	}
	l.batch.Outcomes = append(l.batch.Outcomes, o)
}

func (l *loop) sleep(a attempt, d time.Duration) {
	l.sleeping[a.id] = &nap{last: a, timer: time.AfterFunc(d, func() {
		select {
		case l.wake <- a.id:
		case <-l.quit:
		}
	})}
}

// awake lets a step that waited for its next attempt be picked again.
func (l *loop) awake(id int) {
	if l.sleeping[id] != nil {
		l.frontier.Again(id)
	}
}

// stop gives up everything that has not begun, and what waits for another
// attempt: its last error stands.
func (l *loop) stop() {
	now := l.Now()
	for _, id := range slices.Sorted(maps.Keys(l.sleeping)) {
		n := l.sleeping[id]
		n.timer.Stop()
		delete(l.sleeping, id)
		l.cancelled = true
		l.fail(n.last, engine.Event{At: now, Step: l.steps[id], State: engine.Failed, Attempt: l.tries[id], Elapsed: n.last.ended.Sub(l.begun[id]), Err: n.last.err})
	}
	for _, id := range l.frontier.Cancel() {
		l.cancelled = true
		l.never(id, engine.Cancelled, now)
	}
}
