package decide

import (
	"math"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine/rule"
)

// stabilise moves no further than what was wanted in a window allows. A burst
// is above it.
func (t *turn) stabilise() {
	down := t.downWindow()
	up := t.span(t.r.Up.Stabilise, t.o.Boot)
	most, falls := t.remember(&t.h.Highs, max(down, up), down, func(a, b int) bool { return a <= b })
	least, rises := t.remember(&t.h.Lows, max(down, up), up, func(a, b int) bool { return a >= b })
	switch {
	case t.n < t.size && most > t.n:
		t.limit(ByStabilise, "", min(most, t.size), falls)
	case t.n > t.size && least < t.n:
		t.limit(ByStabilise, "", max(least, t.size), rises)
	}
	if ready := t.h.Since.Add(down); t.n < t.size && t.now.Before(ready) {
		t.limit(ByHistory, "", t.size, ready)
	}
	if peak := max(t.peak, t.heldPeak()); peak > t.n {
		t.limit(ByBurst, "", peak, t.burstEnd())
	}
}

// heldPeak is the size while a burst goes on: it does not shrink.
func (t *turn) heldPeak() int {
	if t.peak == 0 {
		return 0
	}
	return min(t.size, t.high)
}

// burstEnd is when the last burst ends.
func (t *turn) burstEnd() time.Time {
	var end time.Time
	for _, s := range t.h.Metrics {
		if s.Until.After(end) {
			end = s.Until
		}
	}
	return end
}

// remember adds the present wish to a list that keeps just what can still be the
// extreme of a window, and returns that of a window, and when it leaves it.
func (t *turn) remember(list *[]Wanted, keep, window time.Duration, beaten func(old, new int) bool) (int, time.Time) {
	l := *list
	for len(l) > 0 && beaten(l[len(l)-1].N, t.n) {
		l = l[:len(l)-1]
	}
	l = append(l, Wanted{t.now, t.n})
	first := 0
	for l[first].At.Before(t.now.Add(-keep)) {
		first++
	}
	l = l[first:]
	*list = l
	i := 0
	for l[i].At.Before(t.now.Add(-window)) {
		i++
	}
	return l[i].N, l[i].At.Add(window)
}

// cooldown holds still for some time after a change.
func (t *turn) cooldown() {
	if len(t.h.Actions) == 0 || t.n == t.size || t.n > t.size && t.n <= t.peak {
		return
	}
	cool, last := t.r.Down.Cooldown, t.h.Actions[len(t.h.Actions)-1].At
	if t.n > t.size {
		cool, last = t.r.Up.Cooldown, t.lastGrowth()
	}
	if until := last.Add(cool); t.now.Before(until) {
		t.limit(ByCooldown, "", t.size, until)
	}
}

func (t *turn) lastGrowth() time.Time {
	for _, a := range slices.Backward(t.h.Actions) {
		if a.To > a.From {
			return a.At
		}
	}
	return time.Time{}
}

// rate limits how far it moves in a time. The start of the time is the size
// without what was done in it.
func (t *turn) rate() {
	switch {
	case t.n > t.size && t.r.Up.Limited():
		done, until := t.done(t.r.Up.Per, func(a Action) int { return max(0, a.To-a.From) })
		start := t.size - done
		most := max(start+t.r.Up.Replicas, ceil(float64(start)*(1+t.r.Up.Percent/100)), 1)
		most = max(most, min(t.peak, t.n), t.size)
		if t.n > most {
			t.limit(ByRate, "", most, until)
		}
	case t.n < t.size && t.r.Down.Limited():
		done, until := t.done(t.r.Down.Per, func(a Action) int { return max(0, a.From-a.To) })
		start := t.size + done
		least := min(start-t.r.Down.Replicas, lower(start, t.r.Down))
		least = min(least, t.size)
		if t.n < least {
			t.limit(ByRate, "", least, until)
		}
	}
}

func lower(start int, d rule.Direction) int {
	return int(math.Floor(float64(start)*(1-d.Percent/100) + 1e-9))
}

// done sums up what was changed in a time, and says when the first of it is
// forgotten.
func (t *turn) done(per time.Duration, change func(Action) int) (int, time.Time) {
	sum, until := 0, t.now.Add(per)
	for _, a := range slices.Backward(t.h.Actions) {
		if !a.At.After(t.now.Add(-per)) {
			break
		}
		if n := change(a); n > 0 {
			sum, until = sum+n, a.At.Add(per)
		}
	}
	return sum, until
}

// bounds keeps the size where it may be. A floor holds at once, a cap of a
// schedule is approached as any smaller size is; the bounds of the rule hold
// always.
func (t *turn) bounds() {
	if t.n < t.low {
		t.limit(ByBounds, "", t.low, time.Time{})
	}
	if most := max(t.high, min(t.size, t.r.Max)); t.n > most {
		t.limit(ByBounds, "", most, time.Time{})
	}
	if t.o.Room > 0 && t.n > t.o.Room && t.n > t.size {
		t.limit(ByRoom, "", max(t.o.Room, t.size, t.r.Min), time.Time{})
	}
	if t.r.Mode == "up_only" && t.n < t.size {
		t.limit(ByMode, "", min(t.size, t.r.Max), time.Time{})
	}
}

// memory is how long actions are remembered: as long as the longest cooldown or
// limit can be.
const memory = time.Hour

// finish fills in the result, and remembers what is done.
func (t *turn) finish() {
	t.d.To = t.n
	t.d.Limits = settled(t.d.Limits)
	acts := t.r.Mode == "on" || t.r.Mode == "up_only"
	t.d.Act = acts && t.n != t.size
	old := 0
	for old < len(t.h.Actions) && t.h.Actions[old].At.Before(t.now.Add(-memory)) {
		old++
	}
	t.h.Actions = t.h.Actions[old:]
	if t.d.Act {
		t.h.Actions = append(t.h.Actions, Action{t.now, t.size, t.n})
		t.markSteps()
	}
	t.d.Why = t.why()
}

// settled leaves out what came to nothing: limiters after which a later one came
// back to the number from before them.
func settled(limits []Limit) []Limit {
	kept := limits[:0]
	for _, l := range limits {
		kept = append(kept, l)
		if i := slices.IndexFunc(kept, func(k Limit) bool { return k.From == l.To }); i >= 0 {
			kept = kept[:i]
		}
	}
	return kept
}

// markSteps remembers which steps acted.
func (t *turn) markSteps() {
	for i, s := range t.r.Steps {
		w := t.d.Wishes[len(t.r.Metrics)+i]
		if !w.Voted || (w.Want > t.size) != (t.n > t.size) {
			continue
		}
		j := slices.IndexFunc(t.h.Steps, func(x Stepped) bool { return x.Name == s.Name })
		if j < 0 {
			t.h.Steps = append(t.h.Steps, Stepped{s.Name, t.now})
		} else {
			t.h.Steps[j].At = t.now
		}
	}
}
