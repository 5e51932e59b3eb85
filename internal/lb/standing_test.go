package lb

import (
	"testing"
	"time"
)

const second = int64(time.Second)

func TestChecksPutInAndOutOfService(t *testing.T) {
	h := Health{HealthyAfter: 2, UnhealthyAfter: 3}
	var s standing
	for i, step := range []struct {
		ok   bool
		want string
	}{
		{true, Joining}, {false, Joining}, {true, Joining}, {true, Ready},
		{false, Ready}, {false, Ready}, {true, Ready}, {false, Ready}, {false, Ready}, {false, Unhealthy},
		{true, Unhealthy}, {true, Ready},
	} {
		before := s.state(0)
		changed := s.check(step.ok, &h, 0)
		if got := s.state(0); got != step.want || changed != (got != before) {
			t.Fatalf("step %d: %s (changed %t), want %s", i, got, changed, step.want)
		}
	}
}

func TestSlowStartGrowsByTenths(t *testing.T) {
	var s standing
	s.trust(100 * second)
	for _, c := range []struct {
		at         int64
		part       float64
		nextSecond int64
	}{{100, 0.1, 101}, {101, 0.1, 102}, {102, 0.2, 103}, {105, 0.5, 106}, {109, 0.9, 110}, {110, 1, 0}, {999, 1, 0}} {
		part, next := s.warmth(c.at*second, 10*time.Second)
		if part != c.part || next != c.nextSecond*second {
			t.Errorf("at %d s: part %v, next %v, want %v, %v s", c.at, part, time.Duration(next), c.part, c.nextSecond)
		}
	}
	if part, next := s.warmth(100*second, 0); part != 1 || next != 0 {
		t.Errorf("without slow start: %v %v", part, next)
	}
	s.warm = true
	if part, _ := s.warmth(100*second, 10*time.Second); part != 1 {
		t.Errorf("restored backend starts at %v", part)
	}
	h := Health{HealthyAfter: 1, UnhealthyAfter: 1}
	s.check(false, &h, 200*second)
	s.check(true, &h, 300*second)
	if part, _ := s.warmth(300*second, 10*time.Second); part != 0.1 {
		t.Errorf("recovered backend starts at %v", part)
	}
}

func TestEjectionsDoubleAndAreForgotten(t *testing.T) {
	var s standing
	s.trust(0)
	base := 5 * time.Second
	now := int64(0)
	for _, want := range []int64{5, 10, 20, 40, 80, 160, 160} {
		s.eject(now, base)
		if got := (s.ejectedUntil - now) / second; got != want {
			t.Errorf("ejected for %d s, want %d", got, want)
		}
		if s.state(now) != Ejected || s.state(s.ejectedUntil) != Ready {
			t.Errorf("state %s, then %s", s.state(now), s.state(s.ejectedUntil))
		}
		now = s.ejectedUntil + second
	}
	now = s.ejectedUntil + 161*second
	s.eject(now, base)
	if got := (s.ejectedUntil - now) / second; got != 5 {
		t.Errorf("after a quiet time ejected for %d s, want 5", got)
	}
	if part, _ := s.warmth(s.ejectedUntil, 10*time.Second); part != 0.1 {
		t.Errorf("comes back with %v of its weight, want a slow start", part)
	}
}

func TestHowManyMayBeEjected(t *testing.T) {
	for _, c := range []struct {
		n, ejected, percent int
		want                bool
	}{
		{1, 0, 100, false}, {2, 0, 10, true}, {2, 1, 50, false}, {4, 1, 50, true}, {4, 2, 50, false}, {10, 0, 0, false}, {3, 2, 100, true},
	} {
		if got := mayEject(c.n, c.ejected, c.percent); got != c.want {
			t.Errorf("mayEject(%d, %d, %d) = %t", c.n, c.ejected, c.percent, got)
		}
	}
	for _, c := range []struct {
		n, in, percent int
		want           bool
	}{
		{4, 1, 25, false}, {4, 0, 25, true}, {5, 1, 25, true}, {1, 0, -1, false}, {0, 0, 25, false}, {1, 1, 100, false},
	} {
		if got := inPanic(c.n, c.in, c.percent); got != c.want {
			t.Errorf("inPanic(%d, %d, %d) = %t", c.n, c.in, c.percent, got)
		}
	}
}
