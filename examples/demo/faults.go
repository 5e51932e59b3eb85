package main

import (
	"errors"
	"math"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// faults are the ways in which a replica can be sick on purpose.
type faults struct {
	failRate float64
	crash    crashAfter
	leakKiB  int
}

// crashAfter is a number of requests or a time; 0 is never. It is a flag.Value.
type crashAfter struct {
	requests int64
	uptime   time.Duration
}

func (c *crashAfter) String() string {
	if c.requests > 0 {
		return strconv.FormatInt(c.requests, 10)
	}
	if c.uptime > 0 {
		return c.uptime.String()
	}
	return ""
}

func (c *crashAfter) Set(text string) error {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		*c = crashAfter{requests: n}
		return nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		*c = crashAfter{uptime: d}
		return nil
	}
	return errors.New("it must be a number of requests or a duration such as 30s")
}

// saboteur commits the faults. Its zero value with no faults does nothing.
type saboteur struct {
	faults
	seen atomic.Int64

	mu   sync.Mutex
	kept [][]byte
}

// crash ends the process as a crash would: no drain, no deferred calls.
func crash() { os.Exit(exitCrash) }

// request counts one and says whether it must fail. Failures are spread
// evenly, not drawn: with a rate of 0.1 it is every tenth.
func (s *saboteur) request() (fail bool) {
	n := s.seen.Add(1)
	if s.crash.requests > 0 && n > s.crash.requests {
		crash()
	}
	if s.leakKiB > 0 {
		b := make([]byte, s.leakKiB<<10)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1 // touched, so that it is resident
		}
		s.mu.Lock()
		s.kept = append(s.kept, b)
		s.mu.Unlock()
	}
	return math.Floor(float64(n)*s.failRate) > math.Floor(float64(n-1)*s.failRate)
}
