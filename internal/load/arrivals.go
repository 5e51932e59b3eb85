package load

import (
	"iter"
	"math"
	"math/rand/v2"
	"time"
)

// Arrivals yields the instants at which requests arrive, in order, counted
// from the start of the shape.
//
// With a nil rng the k-th arrival (k from 1) is where Sum passes k-1/2: evenly
// spaced while the rate holds, and never more than half a request away from
// the integral. With an rng they are a Poisson process of that rate: the
// steps of Sum between arrivals are drawn from an exponential distribution of
// mean 1 (inversion of the cumulative rate; Çinlar, 1975). The sequence then
// draws from rng as it is consumed.
func (s Shape) Arrivals(rng *rand.Rand) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		gap, first := func() float64 { return 1 }, 0.5
		if rng != nil {
			gap, first = rng.ExpFloat64, rng.ExpFloat64()
		}
		end := s.end().Seconds()
		total := s.sum(end)
		at := 0.0
		for want := first; want < total; want += gap() {
			at = s.reach(want, at, end)
			if !yield(time.Duration(math.Round(at * float64(time.Second)))) {
				return
			}
		}
	}
}

// reach finds the instant in [lo, hi] at which sum is want, by Newton's method
// kept inside a bracket that halves when a step would leave it.
func (s Shape) reach(want, lo, hi float64) float64 {
	const near = 1e-7 // of a request
	x := lo
	for range 200 { // 64 halvings exhaust a float; steps of Newton are extra
		off := s.sum(x) - want
		if math.Abs(off) <= near {
			return x
		}
		if off < 0 {
			lo = x
		} else {
			hi = x
		}
		if next := x - off/s.rate(x); next > lo && next < hi { // false for NaN and Inf
			x = next
		} else {
			x = lo + (hi-lo)/2
		}
	}
	return x
}
