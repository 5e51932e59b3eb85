package decide

import (
	"math"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
)

// Decide evaluates a rule. It changes neither h nor o.
func Decide(r rule.Rule, h History, o Observation, now time.Time) (Decision, History) {
	t := newTurn(r, h, o, now)
	t.wish()
	t.n = t.combine()
	t.hold()
	t.rest()
	t.d.Want = t.n
	t.schedules()
	t.stabilise()
	t.cooldown()
	t.rate()
	t.bounds()
	t.finish()
	return t.d, t.h
}

// Within is Decide, of what may not fit onto the machines at their largest. How many do
// is asked only when it matters.
func Within(r rule.Rule, h History, o Observation, now time.Time, room func() int) (Decision, History) {
	d, next := Decide(r, h, o, now)
	if !d.Act || d.To < d.From || r.Target.Kind != engine.KindFunction {
		return d, next
	}
	if o.Room = room(); o.Room == 0 || o.Room >= d.To {
		return d, next
	}
	return Decide(r, h, o, now)
}

// turn is one evaluation under way.
type turn struct {
	r    rule.Rule
	h    History // the new one
	o    Observation
	now  time.Time
	size int
	n    int // the size that the stages so far came to
	peak int // what a burst asks for; 0 without one
	low  int // bounds, with schedules
	high int
	d    Decision

	values map[string]float64 // of the metrics that are measured, for the formula
	wants  map[string]int
}

func newTurn(r rule.Rule, h History, o Observation, now time.Time) *turn {
	h.Highs, h.Lows = slices.Clone(h.Highs), slices.Clone(h.Lows)
	h.Actions = slices.Clone(h.Actions)
	h.Metrics = slices.DeleteFunc(slices.Clone(h.Metrics), func(s Seen) bool {
		return !slices.ContainsFunc(r.Metrics, func(m rule.Metric) bool { return m.Name == s.Name })
	})
	h.Steps = slices.DeleteFunc(slices.Clone(h.Steps), func(s Stepped) bool {
		return !slices.ContainsFunc(r.Steps, func(x engine.ScalingStep) bool { return x.Name == s.Name })
	})
	if h.Since.IsZero() {
		h.Since, h.Active = now, now
	}
	size := o.Size()
	d := Decision{
		Rule: r.Name, Target: r.Target, At: now, From: size, Ready: o.Ready, Demand: o.Demand, Room: o.Room,
		BootS: o.Boot.Seconds(), DrainS: o.Drain.Seconds(), Wishes: make([]Wish, 0, len(r.Metrics)+len(r.Steps)), Limits: []Limit{},
	}
	return &turn{r: r, h: h, o: o, now: now, size: size, low: r.Min, high: r.Max, d: d}
}

// limit moves the number, and notes who did it.
func (t *turn) limit(by Limiter, what string, to int, until time.Time) {
	if to != t.n {
		t.d.Limits = append(t.d.Limits, Limit{by, what, t.n, to, until})
		t.n = to
	}
}

// span is how long a stretch of time is, given how long replicas take to come
// and go.
func (t *turn) span(s rule.Span, auto time.Duration) time.Duration {
	if s.Auto {
		return auto
	}
	return s.Time
}

// leastWindow is the shortest automatic stabilisation when shrinking: below it,
// load that comes again within minutes costs more than it saves.
const leastWindow = time.Minute

func (t *turn) downWindow() time.Duration {
	return t.span(t.r.Down.Stabilise, max(leastWindow, 2*(t.o.Boot+t.o.Drain)))
}

// combine makes one size of all wishes.
func (t *turn) combine() int {
	if t.r.Target.Kind == engine.KindVM {
		return t.o.Demand
	}
	if len(t.r.Metrics) == 0 {
		return t.r.Min
	}
	n, voted := 0, false
	for _, w := range t.d.Wishes {
		if w.Voted {
			n, voted = max(n, w.Want), true
		}
	}
	if f := t.r.Formula; f != nil {
		return max(t.formula(f), t.stepped())
	}
	if !voted {
		return t.size
	}
	return n
}

// stepped is the most that a step asks for.
func (t *turn) stepped() int {
	n := 0
	for _, w := range t.d.Wishes[len(t.r.Metrics):] {
		if w.Voted {
			n = max(n, w.Want)
		}
	}
	return n
}

// formula asks the formula; it keeps the size if it cannot tell.
func (t *turn) formula(f *rule.Formula) int {
	x, err := f.Eval(rule.Inputs{Values: t.values, Wants: t.wants, Replicas: t.size}, t.r.Metrics)
	if err != nil {
		t.block("the formula cannot tell: " + err.Error())
		return t.size
	}
	if t.size > 0 && t.tolerated(x/float64(t.size)) {
		return t.size
	}
	return ceil(x)
}

func (t *turn) block(why string) {
	if t.d.Blocked == "" {
		t.d.Blocked = why
	}
}

// hold keeps the size while it may not shrink.
func (t *turn) hold() {
	for i, m := range t.r.Metrics {
		w := &t.d.Wishes[i]
		if !w.Missing || t.size == 0 && m.Average {
			continue // of nothing there is no average
		}
		last := t.seen(m.Name).Last
		if t.now.Sub(last) < m.Missing.After.Std() {
			t.block(m.Name + " is missing")
			continue
		}
		if n := m.Missing.Replicas; n > t.n {
			t.limit(ByMissing, m.Name, n, time.Time{})
		}
		switch m.Missing.Then {
		case "ignore":
		case "max":
			t.limit(ByMissing, m.Name, max(t.n, t.r.Max), time.Time{})
			t.block(m.Name + " is missing")
		default:
			t.block(m.Name + " is missing")
		}
	}
	if len(t.r.Metrics) > 0 && len(t.values) == 0 {
		t.block("nothing is measured")
	}
	if t.d.Blocked != "" && t.n < t.size {
		t.limit(ByMissing, "", t.size, time.Time{})
	}
}

// rest lets a function with Min = 0 rest, or wakes it.
func (t *turn) rest() {
	if t.r.Min > 0 || t.r.Target.Kind != engine.KindFunction || len(t.r.Metrics) == 0 {
		return
	}
	active := false
	for _, m := range t.r.Metrics {
		v, ok := t.values[m.Name]
		active = active || ok && v > m.Activate
	}
	if active {
		t.h.Active = t.now
	}
	sleeps := t.h.Active.Add(t.r.ZeroAfter)
	switch {
	case active:
		t.limit(ByZero, "", max(t.n, 1), sleeps)
	case t.size > 0 && t.now.Before(sleeps):
		t.limit(ByZero, "", max(t.n, 1), sleeps)
	case t.d.Blocked == "":
		t.limit(ByZero, "", 0, time.Time{})
		t.peak = 0
	}
}

// kept is the size while nothing may shrink.
func (t *turn) kept() int {
	if t.d.Blocked == "" {
		return 0
	}
	return t.size
}

// schedules narrows the bounds. Where two clash, the larger floor holds: too
// much is better than too little.
func (t *turn) schedules() {
	for _, s := range t.r.Schedules {
		until, on := s.InForce(t.now)
		if !on {
			continue
		}
		t.low, t.high = max(t.low, s.Min), min(t.high, s.Max)
		switch {
		case t.n < s.Min:
			t.limit(BySchedule, s.Name, s.Min, until)
		case t.n > s.Max:
			t.limit(BySchedule, s.Name, max(s.Max, t.low, t.kept()), until)
		}
	}
	if t.high = max(t.high, t.low, min(t.kept(), t.r.Max)); t.n > t.high {
		t.limit(ByBounds, "", t.high, time.Time{})
	}
}

func ceil(x float64) int {
	// What is over by rounding alone asks for no replica more; what is beyond any
	// size is as good as the greatest.
	return int(min(math.Ceil(x-1e-9), math.MaxInt32))
}
