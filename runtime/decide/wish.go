package decide

import (
	"math"
	"slices"
	"sort"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
)

// wish finds out what each metric and each step asks for.
func (t *turn) wish() {
	t.values, t.wants = map[string]float64{}, map[string]int{}
	for _, m := range t.r.Metrics {
		t.d.Wishes = append(t.d.Wishes, t.metric(m))
	}
	for _, s := range t.r.Steps {
		t.d.Wishes = append(t.d.Wishes, t.step(s))
	}
}

func (t *turn) metric(m rule.Metric) Wish {
	end := t.now.Add(-m.Offset)
	all := t.o.Samples[m.Name]
	in := between(all, end.Add(-m.Window), end)
	w := Wish{Name: m.Name, Target: m.Target, Each: m.Target > 0 && !m.Average, Samples: len(in)}
	seen := t.seen(m.Name)
	newest := len(in) - 1
	for newest >= 0 && !sound(in[newest]) {
		newest--
	}
	if w.Missing = newest < 0 || end.Sub(in[newest].At) > max(2*t.r.Every, m.Window) || m.Average && t.o.Ready == 0; w.Missing {
		return w
	}
	seen.Last = t.now
	w.Newest = in[newest].At
	if m.Average {
		all = shared(all, in[newest].Units)
		in = between(all, end.Add(-m.Window), end)
	}
	w.Value = aggregate(in, m.Aggregate)
	t.values[m.Name] = w.Value
	if m.Target == 0 {
		return w
	}
	w.Voted = true
	value := w.Value
	if t.r.Ahead != nil {
		w.Ahead = t.forecast(m, all, end, value)
		value = max(value, w.Ahead)
	}
	if m.Average {
		w.Ratio = min(value/m.Target, most)
		w.Want, w.Held = t.average(w.Ratio, in[newest].Units)
	} else {
		w.Ratio = min(value/m.Target/float64(max(t.size, 1)), most)
		w.Want, w.Held = t.total(value/m.Target, w.Ratio)
	}
	w.Burst = t.burst(m, all, end, seen)
	t.wants[m.Name] = w.Want
	return w
}

// shared is what averages over other numbers of replicas would have been over so
// many: of a load that replicas share, an average falls as they are added, and
// without this a window would go on to ask for what has been done.
func shared(samples []Sample, units int) []Sample {
	same := func(s Sample) bool { return s.Units == units || s.Units == 0 }
	if units == 0 || !slices.ContainsFunc(samples, func(s Sample) bool { return !same(s) }) {
		return samples
	}
	all := slices.Clone(samples)
	for i, s := range all {
		if !same(s) {
			all[i].Value, all[i].Units = s.Value*float64(s.Units)/float64(units), units
		}
	}
	return all
}

// tolerated reports whether a ratio of what is to what should be is near
// enough to 1.
func (t *turn) tolerated(ratio float64) bool {
	const eps = 1e-9 // the edges belong to it
	return ratio >= 1-t.r.Down.Tolerance-eps && ratio <= 1+t.r.Up.Tolerance+eps
}

// total is the size for a sum that replicas share.
func (t *turn) total(exact, ratio float64) (want int, held bool) {
	if t.size > 0 && t.tolerated(ratio) {
		return t.size, true
	}
	return ceil(exact), false
}

// average is the size for an average over measured replicas, 0 standing for all
// that are ready. Those that are not measured have what they should when it
// would shrink, and nothing when it would grow; those that start have nothing.
func (t *turn) average(ratio float64, measured int) (want int, held bool) {
	ready := t.o.Ready
	if measured <= 0 || measured > ready {
		measured = ready
	}
	missing := ready - measured
	if missing == 0 && (t.o.Starting == 0 || ratio <= 1) {
		if t.tolerated(ratio) {
			return t.size, true
		}
		return ceil(ratio * float64(ready)), false
	}
	sum, units := ratio*float64(measured), measured+missing
	if ratio <= 1 {
		sum += float64(missing)
	} else {
		units += t.o.Starting
	}
	filled := sum / float64(units)
	want = ceil(filled * float64(units))
	if t.tolerated(filled) || (filled > 1) != (ratio > 1) || ratio > 1 && want < t.size || ratio < 1 && want > t.size {
		return t.size, true
	}
	return want, false
}

// burst looks at the short window, and returns its value.
func (t *turn) burst(m rule.Metric, all []Sample, end time.Time, seen *Seen) (value float64) {
	if m.Burst.Factor == 0 {
		return 0
	}
	in := between(all, end.Add(-m.Burst.Window.Std()), end)
	if len(in) > 0 {
		value = aggregate(in, m.Aggregate)
		want := ceil(value / m.Target)
		if m.Average {
			want, _ = t.average(min(value/m.Target, most), in[len(in)-1].Units)
		}
		want = min(want, t.r.Max)
		if float64(want) >= m.Burst.Factor*float64(max(t.size, 1)) {
			seen.Until = t.now.Add(m.Burst.Hold.Std())
		}
		seen.Peak = max(seen.Peak, want)
	}
	if !t.now.Before(seen.Until) {
		seen.Peak = 0
		return value
	}
	t.peak = max(t.peak, seen.Peak)
	return value
}

// step asks for another size if its metric has been in its range for long enough.
func (t *turn) step(s engine.ScalingStep) Wish {
	w := Wish{Name: s.Name}
	i := slices.IndexFunc(t.r.Metrics, func(m rule.Metric) bool { return m.Name == s.Metric })
	m := &t.d.Wishes[i]
	w.Value, w.Missing, w.Newest = m.Value, m.Missing, m.Newest
	if w.Missing || t.now.Before(t.actedAt(s.Name).Add(s.For.Std())) {
		return w
	}
	end := t.now.Add(-t.r.Metrics[i].Offset)
	begin := end.Add(-s.For.Std())
	all := t.o.Samples[s.Metric]
	in := between(all, begin.Add(-time.Nanosecond), end)
	if len(in) == 0 || s.For == 0 {
		in = all[len(all)-1:]
	}
	if in[0].At.After(begin.Add(t.r.Every)) && s.For > 0 {
		return w // it has not been measured for so long
	}
	hits := 0
	for _, x := range in {
		if sound(x) && x.Value >= s.Above && (s.Below == 0 || x.Value < s.Below) {
			hits++
		}
	}
	if float64(hits) >= s.Share*float64(len(in))-1e-9 {
		w.Voted, w.Want = true, t.after(s)
	}
	return w
}

// after is the size that a step makes of the present one.
func (t *turn) after(s engine.ScalingStep) int {
	switch {
	case s.To != 0:
		return s.To
	case s.Percent != 0:
		return max(0, ceil(float64(t.size)*(1+s.Percent/100)))
	default:
		return max(0, t.size+s.Add)
	}
}

// between returns the samples after begin, up to end.
func between(all []Sample, begin, end time.Time) []Sample {
	i := sort.Search(len(all), func(i int) bool { return all[i].At.After(begin) })
	j := sort.Search(len(all), func(j int) bool { return all[j].At.After(end) })
	return all[i:max(i, j)]
}

// most is more than anything that is measured comes to.
const most = 1e18

// sound reports whether a sample can be true.
func sound(s Sample) bool {
	return s.Value >= 0 && s.Value <= most // not for NaN
}

// aggregate makes one value of samples, 0 of none that are sound.
func aggregate(in []Sample, how string) float64 {
	sum, top, last, n := 0.0, 0.0, 0.0, 0
	for _, s := range in {
		if sound(s) {
			sum, top, last = sum+s.Value, max(top, s.Value), s.Value
			n++
		}
	}
	switch how {
	case "max":
		return top
	case "last":
		return last
	case "p95":
		return percentile(in, 0.95)
	default:
		return sum / float64(max(n, 1))
	}
}

// percentile is the smallest value that the given share of the samples does not
// exceed.
func percentile(in []Sample, share float64) float64 {
	var all []float64
	for _, s := range in {
		if sound(s) {
			all = append(all, s.Value)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[max(0, int(math.Ceil(share*float64(len(all))))-1)]
}

// seen is what is remembered of a metric; the pointer is good until the next one
// is asked for.
func (t *turn) seen(name string) *Seen {
	for i := range t.h.Metrics {
		if t.h.Metrics[i].Name == name {
			return &t.h.Metrics[i]
		}
	}
	t.h.Metrics = append(t.h.Metrics, Seen{Name: name, Last: t.h.Since})
	return &t.h.Metrics[len(t.h.Metrics)-1]
}

// actedAt is when a step acted last.
func (t *turn) actedAt(name string) time.Time {
	for _, s := range t.h.Steps {
		if s.Name == name {
			return s.At
		}
	}
	return time.Time{}
}
