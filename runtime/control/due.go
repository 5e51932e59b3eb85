package control

import (
	"cmp"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime/observe"
)

// isDue reports whether a rule is to be evaluated now: as often as it says, but
// what was just measured is not left lying for up to that long. So evaluations fall
// in step with the readings.
func (c *Controller) isDue(r *ruled, now time.Time) bool {
	if !now.Before(r.due) {
		return true
	}
	soonest := r.rule.Every - observe.Interval/2
	return c.told && !r.last.At.IsZero() && now.Sub(r.last.At) >= soonest && c.fresh(r)
}

// nextDue is when a rule is due that is evaluated now. One that goes by readings
// waits for the next of them a little longer, so that it is not evaluated just
// before it comes.
func (c *Controller) nextDue(r *ruled, now time.Time) time.Time {
	due := now.Add(r.rule.Every)
	if c.fresh(r) {
		due = due.Add(cmp.Or(c.Beat, DefaultBeat))
	}
	return due
}

// fresh reports whether something was measured since the rule was evaluated last.
func (c *Controller) fresh(r *ruled) bool {
	return r.rule.Target.Kind == engine.KindFunction && c.Collector.Newest(r.rule.Name).After(r.last.At)
}
