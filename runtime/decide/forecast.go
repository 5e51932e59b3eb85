package decide

import (
	"math"
	"time"
)

// forecast extrapolates a metric by the straight line of least squares through
// its last samples. Of a slope, only what is beyond its standard error counts,
// so that noise forecasts nothing. It is never below the value.
func (t *turn) forecast(all []Sample, end time.Time, value float64) float64 {
	in := between(all, end.Add(-t.r.Ahead.Over), end)
	slope := rise(in, end)
	lookahead := t.span(t.r.Ahead.Lookahead, t.o.Boot+t.r.Every)
	// The value is that of the middle of its window, the line is told at its end.
	return max(value, value+slope*lookahead.Seconds())
}

// rise is how much a metric grows in a second, less its standard error; 0 if it
// does not, or if there are too few samples to tell.
func rise(in []Sample, end time.Time) float64 {
	var n, sx, sy, sxx, sxy, syy float64
	for _, s := range in {
		if !sound(s) {
			continue
		}
		x, y := s.At.Sub(end).Seconds(), s.Value
		n, sx, sy, sxx, sxy, syy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y, syy+y*y
	}
	spread := sxx - sx*sx/max(n, 1)
	if n < 4 || spread <= 0 {
		return 0
	}
	slope := (sxy - sx*sy/n) / spread
	rest := max(0, syy-sy*sy/n-slope*slope*spread)
	return max(0, slope-math.Sqrt(rest/(n-2)/spread))
}
