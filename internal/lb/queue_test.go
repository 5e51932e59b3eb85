package lb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// room is a number of places that waiters of a queue take.
type room struct {
	n int
	b *backend
}

func (r *room) take() (*backend, error) {
	if r.n == 0 {
		return nil, nil
	}
	r.n--
	return r.b, nil
}

func TestQueueIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q queue
		places := &room{b: &backend{}}
		served := make(chan string, 10)
		for i := range 6 {
			l := q.line(fmt.Sprint("route ", i%2))
			go func() {
				if _, err := q.wait(t.Context(), l, Queue{Size: 10}, &waiter{try: places.take}); err == nil {
					served <- fmt.Sprint(i)
				}
			}()
			synctest.Wait()
		}
		var order []string
		for range 6 {
			q.mu.Lock()
			places.n = 1
			q.mu.Unlock()
			q.dispatch()
			order = append(order, <-served)
		}
		if got := strings.Join(order, ""); got != "012345" {
			t.Errorf("served in the order %s", got)
		}
		if q.total.Load() != 0 {
			t.Errorf("%d still count as waiting", q.total.Load())
		}
	})
}

func TestQueueEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q queue
		l := q.line("")
		never := func() (*backend, error) { return nil, nil }
		start := time.Now()
		if _, err := q.wait(t.Context(), l, Queue{Size: 1, Timeout: seconds(3)}, &waiter{try: never}); err != error(errQueueTimeout) || time.Since(start) != 3*time.Second {
			t.Errorf("after %v: %v, want the timeout after 3s", time.Since(start), err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if _, err := q.wait(ctx, l, Queue{Size: 1, Timeout: seconds(3)}, &waiter{try: never}); !errors.Is(err, gone) {
			t.Errorf("err = %v, want the cause", err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := q.wait(t.Context(), l, Queue{Size: 5, Timeout: -1}, &waiter{try: never})
			ended <- err
		}()
		synctest.Wait()
		q.close(errClosing)
		if err := <-ended; err != error(errClosing) {
			t.Errorf("waiter of a closed queue: %v", err)
		}
		if _, err := q.wait(t.Context(), l, Queue{Size: 1}, &waiter{try: never}); err != error(errClosing) {
			t.Errorf("late comer to a closed queue: %v", err)
		}
		if q.total.Load() != 0 {
			t.Errorf("%d still count as waiting", q.total.Load())
		}
	})
}

func TestQueueLooksAgainOnceItHasEntered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q queue
		places := &room{n: 1, b: &backend{}} // freed after the caller's look, before it queued
		if b, err := q.wait(t.Context(), q.line(""), Queue{Size: 1, Timeout: seconds(1)}, &waiter{try: places.take}); b == nil || err != nil {
			t.Error(b, err)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q queue
		never := func() (*backend, error) { return nil, nil }
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			go q.wait(ctx, q.line(""), Queue{Size: 3}, &waiter{try: never})
		}
		synctest.Wait()
		if _, err := q.wait(ctx, q.line("x"), Queue{Size: 3}, &waiter{try: never}); err != error(errQueueFull) {
			t.Errorf("fourth of three: %v", err)
		}
		if _, err := q.wait(ctx, q.line("x"), Queue{Size: -1}, &waiter{try: never}); err != error(errQueueFull) {
			t.Errorf("no queue: %v", err)
		}
		cancel()
		synctest.Wait()
		q.prune(map[string]bool{"x": true})
		if len(q.lines) != 1 || q.lines[0].key != "x" {
			t.Errorf("lines after prune: %d", len(q.lines))
		}
	})
}

func TestRetryAtTheHeadHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q queue
		places := &room{b: &backend{}}
		l := q.line("")
		go q.wait(t.Context(), l, Queue{Size: 9, Timeout: seconds(1)}, &waiter{picky: true, try: func() (*backend, error) { return nil, nil }})
		synctest.Wait()
		served := make(chan error)
		go func() { _, err := q.wait(t.Context(), l, Queue{Size: 9}, &waiter{try: places.take}); served <- err }()
		synctest.Wait()
		q.mu.Lock()
		places.n = 1
		q.mu.Unlock()
		q.dispatch()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
