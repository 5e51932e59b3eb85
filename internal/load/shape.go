package load

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Mode names how the rate moves over time.
type Mode int

// The modes. Low, High and Steady keep BaseRPS; Low and High differ by what
// Preset fills in.
const (
	Steady Mode = iota // BaseRPS all the time
	Low                // as Steady; the classic light client
	High               // as Steady; the classic heavy client
	Step               // BaseRPS, then PeakRPS from At on
	Spike              // BaseRPS, but PeakRPS from At for one Period
	Sine               // BaseRPS at 0, PeakRPS half a Period later, and so on
	Replay             // what Trace says; named "trace"
)

var modeNames = [...]string{"steady", "low", "high", "step", "spike", "sine", "trace"}

// Modes lists the names of all modes.
func Modes() []string { return modeNames[:] }

// ParseMode reads the name of a mode.
func ParseMode(name string) (Mode, error) {
	for i, n := range modeNames {
		if n == name {
			return Mode(i), nil
		}
	}
	return 0, fmt.Errorf("mode %q is not known; use one of %s", name, strings.Join(modeNames[:], ", "))
}

func (m Mode) String() string {
	if m < 0 || int(m) >= len(modeNames) {
		return fmt.Sprintf("Mode(%d)", int(m))
	}
	return modeNames[m]
}

// MarshalText writes the name of the mode.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the name of a mode.
func (m *Mode) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMode(string(text))
	return err
}

// Shape says how many requests a second arrive at each instant. It is a value,
// its methods are pure, and fields that its mode does not use are ignored.
type Shape struct {
	Mode     Mode
	BaseRPS  float64       // requests a second outside the peak
	PeakRPS  float64       // requests a second at the peak: step, spike, sine; it may be below BaseRPS
	At       time.Duration // when a step or a spike begins
	Period   time.Duration // how long a spike lasts; one wave of a sine
	Duration time.Duration // the whole; 0 = without end, or for a trace until its last point
	Trace    Trace         // what "trace" replays
}

// forever stands in for the end of a shape without one.
const forever = 100 * 365 * 24 * time.Hour

// Validate says what is wrong with the shape.
func (s Shape) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	rate := func(name string, v float64) {
		if v < 0 || math.IsNaN(v) || v > maxRPS {
			bad("%s is %g requests a second; it must be from 0 to %g", name, v, maxRPS)
		}
	}
	if s.Mode < 0 || int(s.Mode) >= len(modeNames) {
		bad("%v is not known", s.Mode)
	}
	if s.Duration < 0 || s.Duration > forever || s.At < 0 {
		bad("duration %v and start %v must not be negative or beyond a century", s.Duration, s.At)
	}
	switch s.Mode {
	case Replay:
		if len(s.Trace.points) == 0 {
			bad("the trace is empty")
		} else if s.end() == 0 {
			bad("the trace ends where it begins; give it a later point or a duration")
		}
		return errors.Join(errs...)
	case Step, Spike, Sine:
		rate("the peak", s.PeakRPS)
		if s.Mode != Step && s.Period <= 0 {
			bad("a %s needs a period above 0, not %v", s.Mode, s.Period)
		}
	}
	rate("the base", s.BaseRPS)
	return errors.Join(errs...)
}

// maxRPS bounds every rate, so that sums stay exact to a small part of one request.
const maxRPS = 1e6

// Rate is the wanted number of requests a second at t. It is never negative,
// and 0 before the start and from the end on.
func (s Shape) Rate(t time.Duration) float64 {
	if t < 0 || t >= s.end() {
		return 0
	}
	return s.rate(t.Seconds())
}

// Sum is the number of requests wanted from the start to t: the integral of
// Rate. It is rarely a whole number.
func (s Shape) Sum(t time.Duration) float64 {
	return s.sum(min(max(t, 0), s.end()).Seconds())
}

// end is the instant from which the rate is 0.
func (s Shape) end() time.Duration {
	switch {
	case s.Duration > 0:
		return s.Duration
	case s.Mode == Replay:
		return s.Trace.Duration()
	}
	return forever
}

func (s Shape) rate(x float64) float64 {
	switch s.Mode {
	case Steady, Low, High:
		return s.BaseRPS
	case Step:
		if x >= s.At.Seconds() {
			return s.PeakRPS
		}
		return s.BaseRPS
	case Spike:
		if at := s.At.Seconds(); x >= at && x < at+s.Period.Seconds() {
			return s.PeakRPS
		}
		return s.BaseRPS
	case Sine:
		wave := 2 * math.Pi / s.Period.Seconds()
		return s.BaseRPS + (s.PeakRPS-s.BaseRPS)*(1-math.Cos(wave*x))/2
	case Replay:
		return s.Trace.rate(x)
	default:
		panic(fmt.Sprintf("bug: mode %d", s.Mode))
	}
}

// sum is the antiderivative of rate that is 0 at 0.
func (s Shape) sum(x float64) float64 {
	more := s.PeakRPS - s.BaseRPS
	switch s.Mode {
	case Steady, Low, High:
		return s.BaseRPS * x
	case Step:
		return s.BaseRPS*x + more*max(0, x-s.At.Seconds())
	case Spike:
		return s.BaseRPS*x + more*min(max(0, x-s.At.Seconds()), s.Period.Seconds())
	case Sine:
		wave := 2 * math.Pi / s.Period.Seconds()
		return s.BaseRPS*x + more/2*(x-math.Sin(wave*x)/wave)
	case Replay:
		return s.Trace.sum(x)
	default:
		panic(fmt.Sprintf("bug: mode %d", s.Mode))
	}
}
