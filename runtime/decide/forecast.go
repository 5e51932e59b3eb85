package decide

import (
	"math"
	"time"

	"github.com/flowctl/flowctl/engine/rule"
)

// forecast extrapolates a metric by the straight line of least squares through
// its last samples, and by what there was a season ago. Of a slope, only what is
// beyond its standard error counts, so that noise forecasts nothing. It is never
// below the value.
func (t *turn) forecast(m rule.Metric, all []Sample, end time.Time, value float64) float64 {
	a := t.r.Ahead
	lookahead := t.span(a.Lookahead, t.o.Boot+t.r.Every)
	slope := rise(between(all, end.Add(-a.Over), end), end)
	ahead := max(value, value+slope*lookahead.Seconds())
	if a.Season > 0 {
		then := end.Add(lookahead - a.Season)
		around := max(m.Window/2, rollup)
		ahead = max(ahead, aggregate(between(all, then.Add(-around), then.Add(around)), m.Aggregate))
	}
	return ahead
}

// rollup is how far apart old samples may be.
const rollup = time.Minute

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
