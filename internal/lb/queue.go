package lb

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// queue holds requests until a backend can take them. There is one line for each
// route, so that a route without backends holds up no other; who comes first is
// served first within a line, and of the heads of the lines the eldest is.
type queue struct {
	total atomic.Int64 // waiting in all lines; read without the mutex

	mu     sync.Mutex // guards the lines and what is in them
	lines  []*line
	seq    uint64
	closed error // what to tell who comes
}

// line is where the requests of one route wait. It outlives changes of settings.
type line struct {
	key     string
	waiting atomic.Int64
	waiters []*waiter // eldest first
}

// waiter is one request in a line.
type waiter struct {
	seq   uint64
	try   func() (*backend, error) // nil, nil: not yet
	picky bool                     // a retry: others may take what it does not
	done  chan struct{}            // closed once b or err is set
	b     *backend
	err   error
}

// line returns the line for a route's key.
func (q *queue) line(key string) *line {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.lines {
		if l.key == key {
			return l
		}
	}
	l := &line{key: key}
	q.lines = append(q.lines, l)
	return l
}

// prune forgets the lines that nobody waits in, but for those kept.
func (q *queue) prune(keep map[string]bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lines = slices.DeleteFunc(q.lines, func(l *line) bool { return !keep[l.key] && len(l.waiters) == 0 })
}

// wait puts w at the end of a line until its try gives a backend or an error, or
// ctx ends (its cause is returned), or the timeout passes. The caller has set
// w.try and w.picky.
func (q *queue) wait(ctx context.Context, l *line, limit Queue, w *waiter) (*backend, error) {
	w.done = make(chan struct{})
	if err := q.enter(l, w, limit.Size); err != nil {
		return nil, err
	}
	q.dispatch() // room may have come between the caller's look and now
	var expired <-chan time.Time
	if d := limit.Timeout.limit(); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		q.leave(l, w, context.Cause(ctx))
	case <-expired:
		q.leave(l, w, errQueueTimeout)
	}
	return w.b, w.err
}

func (q *queue) enter(l *line, w *waiter, size int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return q.closed
	}
	if q.total.Load() >= int64(size) {
		return errQueueFull
	}
	q.seq++
	w.seq = q.seq
	l.waiters = append(l.waiters, w)
	l.waiting.Add(1)
	q.total.Add(1)
	return nil
}

// leave takes w out of its line with err, unless it has been served meanwhile.
func (q *queue) leave(l *line, w *waiter, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(l.waiters, w); i >= 0 {
		w.err = err
		q.remove(l, i)
	}
}

// close gives all who wait, or will, err.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = err
	for _, l := range q.lines {
		for len(l.waiters) > 0 {
			l.waiters[0].err = err
			q.remove(l, 0)
		}
	}
}

func (q *queue) remove(l *line, i int) {
	close(l.waiters[i].done)
	l.waiters = slices.Delete(l.waiters, i, i+1)
	l.waiting.Add(-1)
	q.total.Add(-1)
}

// dispatch serves the lines as far as there are backends. Whoever frees one, or
// changes which there are, calls it.
func (q *queue) dispatch() {
	if q.total.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	from := map[*line]int{} // where the waiters begin that were not tried yet
	for {
		l := q.eldest(from)
		if l == nil {
			return
		}
		i := from[l]
		w := l.waiters[i]
		w.b, w.err = w.try()
		switch {
		case w.b != nil || w.err != nil:
			q.remove(l, i)
		case w.picky:
			from[l]++
		default:
			from[l] = len(l.waiters) // what the head does not get, nobody behind it does
		}
	}
}

// eldest is the line whose next waiter to try has waited longest, or nil.
func (q *queue) eldest(from map[*line]int) *line {
	var first *line
	for _, l := range q.lines {
		if i := from[l]; i < len(l.waiters) && (first == nil || l.waiters[i].seq < first.waiters[from[first]].seq) {
			first = l
		}
	}
	return first
}
