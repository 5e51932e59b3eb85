package observe

import (
	"math"
	"slices"
	"time"

	"github.com/flowctl/flowctl/runtime/decide"
)

// series are the samples of one metric of one rule, in the order of time.
type series struct {
	samples []decide.Sample
	keep    time.Duration
}

// add takes a sample; one that is no number, or negative, is a lie and is dropped,
// and so is one that is not newer than the last. It reports whether x was taken.
func (s *series) add(x decide.Sample) bool {
	if math.IsNaN(x.Value) || math.IsInf(x.Value, 0) || x.Value < 0 {
		return false
	}
	if n := len(s.samples); n > 0 && !x.At.After(s.samples[n-1].At) {
		return false
	}
	s.samples = append(s.samples, x) // past what readers of all have
	old := 0
	for old < len(s.samples) && s.samples[old].At.Before(x.At.Add(-s.keep)) {
		old++
	}
	if old > len(s.samples)/2 { // seldom, so that adding stays cheap; never in place, since readers have the old ones
		s.samples = slices.Clone(s.samples[old:])
	}
	return true
}

// all are the samples as they are now: what comes later changes none of them.
func (s *series) all() []decide.Sample { return slices.Clip(s.samples) }
