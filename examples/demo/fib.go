package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Bounds of what one request may ask for.
const (
	maxN     = 45 // some seconds
	maxSleep = time.Minute
	maxBurn  = time.Minute
)

// fibAnswer is the answer to /fib/{n}; the web tier reads it.
type fibAnswer struct {
	identity
	N      int     `json:"n"`
	Result uint64  `json:"result"`
	TookMs float64 `json:"took_ms"`
}

// timedAnswer is the answer to /sleep and /burn.
type timedAnswer struct {
	identity
	TookMs float64 `json:"took_ms"`
}

// addFib adds the routes of the api tier.
func addFib(s *server) {
	s.work("/{$}", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, s.who()) })
	s.work("/fib/{n}", s.fib)
	s.work("/sleep/{duration}", s.sleep)
	s.work("/burn", s.burn)
}

func (s *server) fib(w http.ResponseWriter, r *http.Request) {
	n, err := parseN(r.PathValue("n"))
	if err != nil {
		s.fail(w, http.StatusBadRequest, err.Error())
		return
	}
	start := time.Now()
	result, err := fib(r.Context(), n)
	if err != nil {
		s.fail(w, statusClientGone, err.Error())
		return
	}
	s.answer(w, fibAnswer{s.identity(), n, result, msSince(start)})
}

func parseN(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxN {
		return 0, fmt.Errorf("n is %q; it must be a whole number from 0 to %d", text, maxN)
	}
	return n, nil
}

// fib is slow on purpose: it takes about 1.6 times as long for each step of n.
// It ends early when ctx does.
func fib(ctx context.Context, n int) (uint64, error) {
	if n < 25 { // some 100 µs: not worth a look at ctx
		return slowFib(n), nil
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	a, err := fib(ctx, n-1)
	if err != nil {
		return 0, err
	}
	b, err := fib(ctx, n-2)
	return a + b, err
}

func slowFib(n int) uint64 {
	if n < 2 {
		return uint64(n)
	}
	return slowFib(n-1) + slowFib(n-2)
}

func (s *server) sleep(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.PathValue("duration"))
	if err != nil || d < 0 || d > maxSleep {
		s.fail(w, http.StatusBadRequest, fmt.Sprintf("duration is %q; it must be from 0s to %v", r.PathValue("duration"), maxSleep))
		return
	}
	start := time.Now()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		s.answer(w, timedAnswer{s.identity(), msSince(start)})
	case <-r.Context().Done():
		s.fail(w, statusClientGone, "the client left")
	}
}

// burn keeps one core busy for the time asked for, by the clock.
func (s *server) burn(w http.ResponseWriter, r *http.Request) {
	text := r.FormValue("ms")
	ms, err := strconv.Atoi(text)
	if err != nil || ms < 0 || ms > int(maxBurn.Milliseconds()) {
		s.fail(w, http.StatusBadRequest, fmt.Sprintf("ms is %q; it must be from 0 to %d", text, maxBurn.Milliseconds()))
		return
	}
	start := time.Now()
	end := start.Add(time.Duration(ms) * time.Millisecond)
	for slowFib(20) > 0 && time.Now().Before(end) { // some 10 µs between looks at the clock
		if r.Context().Err() != nil {
			s.fail(w, statusClientGone, "the client left")
			return
		}
	}
	s.answer(w, timedAnswer{s.identity(), msSince(start)})
}

func msSince(start time.Time) float64 {
	return float64(time.Since(start).Microseconds()) / 1000
}
