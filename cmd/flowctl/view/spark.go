package view

import (
	"math"
	"strings"
	"time"

	"github.com/flowctl/flowctl/state"
)

// bars are the heights of a sparkline, the lowest first.
var bars = []rune("▁▂▃▄▅▆▇█")

// Spark draws values as a line of bars from 0 to the greatest of them; NaN, which
// is no value, as a gap.
func Spark(values []float64) string {
	most := 0.0
	for _, v := range values {
		most = max(most, nan(v))
	}
	var b strings.Builder
	for _, v := range values {
		switch {
		case math.IsNaN(v):
			b.WriteByte(' ')
		case most == 0:
			b.WriteRune(bars[0])
		default:
			b.WriteRune(bars[min(len(bars)-1, int(v/most*float64(len(bars))))])
		}
	}
	return b.String()
}

func nan(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

// Grid is a stretch of time in steps of the same length, that begin at whole
// multiples of it: what is drawn moves on, and does not flicker.
type Grid struct {
	Begin time.Time
	Step  time.Duration
	N     int
}

// GridUntil is a grid of n steps, of which the last has now in it.
func GridUntil(now time.Time, step time.Duration, n int) Grid {
	return Grid{now.Truncate(step).Add(-time.Duration(n-1) * step), step, n}
}

func (g Grid) index(at time.Time) int {
	if at.Before(g.Begin) {
		return -1
	}
	return int(at.Sub(g.Begin) / g.Step)
}

// Means are the means of samples in each step, NaN where there is none.
func (g Grid) Means(samples []state.Rollup) []float64 {
	sums, counts := make([]float64, g.N), make([]int, g.N)
	for _, x := range samples {
		if i := g.index(x.At); i >= 0 && i < g.N {
			sums[i] += x.Mean * float64(x.Count)
			counts[i] += x.Count
		}
	}
	for i := range sums {
		sums[i] /= float64(counts[i]) // 0/0 is NaN
	}
	return sums
}

// Level is a value from one instant on.
type Level struct {
	At    time.Time
	Value float64
}

// Levels are the values at the end of each step, NaN before the first level. Levels
// come in the order of time.
func (g Grid) Levels(levels []Level) []float64 {
	values := make([]float64, g.N)
	last, next := math.NaN(), 0
	for i := range values {
		for next < len(levels) && g.index(levels[next].At) <= i {
			last = levels[next].Value
			next++
		}
		values[i] = last
	}
	return values
}
