package lb

import (
	"math"
	"time"
)

// standing is what is known of a backend's fitness. All times are ns of the
// clock. Pure; its pool guards it.
type standing struct {
	admitted bool  // has been in service, or was trusted from the start
	healthy  bool  // by active checks
	passes   int   // active checks in a row
	fails    int   // likewise
	warmFrom int64 // when it came into service; slow start counts from here
	warm     bool  // slow start does not apply

	ejectedUntil int64
	ejections    int // the last one's number
}

// State of a backend, as Stats says it.
const (
	Joining   = "joining"   // has not passed its first checks
	Ready     = "ready"     // in service
	Unhealthy = "unhealthy" // fails its checks
	Ejected   = "ejected"   // out for a while after errors in a row
	Draining  = "draining"  // chosen by nobody, requests in flight
	Drained   = "drained"   // chosen by nobody, nothing in flight
	Standby   = "standby"   // chosen by nobody for now
)

func (s *standing) state(now int64) string {
	switch {
	case !s.admitted:
		return Joining
	case !s.healthy:
		return Unhealthy
	case s.ejectedUntil > now:
		return Ejected
	default:
		return Ready
	}
}

// trust puts the backend into service without a check.
func (s *standing) trust(now int64) {
	if !s.healthy {
		s.warmFrom = now
	}
	s.admitted, s.healthy, s.fails = true, true, 0
}

// check takes in the outcome of an active check and says whether it put the
// backend into or out of service.
func (s *standing) check(ok bool, h *Health, now int64) bool {
	if ok {
		s.passes, s.fails = s.passes+1, 0
		if !s.healthy && s.passes >= h.HealthyAfter {
			s.trust(now)
			return true
		}
		return false
	}
	s.passes, s.fails = 0, s.fails+1
	if s.healthy && s.fails >= h.UnhealthyAfter {
		s.healthy, s.warm = false, false
		return true
	}
	return false
}

// eject takes the backend out for a time that doubles with each ejection, and
// that starts over after as long a time without one.
func (s *standing) eject(now int64, base time.Duration) {
	if quiet := now - s.ejectedUntil; s.ejections > 0 && quiet > int64(ejectionTime(base, s.ejections)) {
		s.ejections = 0
	}
	s.ejections++
	s.ejectedUntil = now + int64(ejectionTime(base, s.ejections))
	s.warm, s.warmFrom = false, s.ejectedUntil
}

func ejectionTime(base time.Duration, nth int) time.Duration {
	return base * time.Duration(min(1<<min(nth-1, 30), maxEjection))
}

// warmth is the part of its weight that a backend gets, in tenths up to 1, and
// when the next tenth is due (0: no more).
func (s *standing) warmth(now int64, slow time.Duration) (part float64, next int64) {
	if slow <= 0 || s.warm {
		return 1, 0
	}
	step := max(1, int64(slow)/10)
	tenths := (now - s.warmFrom) / step
	if tenths >= 10 {
		return 1, 0
	}
	return math.Max(1, float64(tenths)) / 10, s.warmFrom + (tenths+1)*step
}

// mayEject reports whether one more of n backends, of which already some are
// ejected, may be.
func mayEject(n, ejected, maxPercent int) bool {
	if n < 2 || maxPercent <= 0 {
		return false
	}
	return ejected == 0 || (ejected+1)*100 <= n*maxPercent
}

// inPanic reports whether so few of n backends are in service that all are used.
func inPanic(n, inService, panicPercent int) bool {
	return panicPercent > 0 && inService*100 < n*panicPercent
}
