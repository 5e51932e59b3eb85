package view

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowctl/flowctl/runtime/api"
)

// LiveStatus is a flow's status with what its rules have seen and done of late.
type LiveStatus struct {
	FlowStatus
	Rules []LiveRule
}

// LiveRule is one rule: the last minutes of it.
type LiveRule struct {
	api.Rule
	Sizes   []float64 // by step of time
	Metrics []LiveMetric
	Last    *api.Decision // that changed the size; nil if none is remembered
}

// LiveMetric is what was measured.
type LiveMetric struct {
	Wish   api.Wish
	Values []float64 // as LiveRule.Sizes
}

// Live renders a flow for a terminal of so many lines: if not every replica has
// room, groups stand for them.
func Live(st LiveStatus, now time.Time, height int, s Style) []string {
	rules := liveRules(st, now, s)
	flow := st.FlowStatus
	flow.NoRules, flow.Outputs = true, nil
	lines := strings.Split(strings.TrimRight(Status(flow, now, s), "\n"), "\n")
	if len(lines)+len(rules) > height {
		flow.Groups = true
		lines = strings.Split(strings.TrimRight(Status(flow, now, s), "\n"), "\n")
	}
	return append(lines, rules...)
}

// liveRules tells of each rule in some lines.
func liveRules(st LiveStatus, now time.Time, s Style) []string {
	if st.Controller == nil || st.Controller.Held != "" {
		return nil // what was decided before is not what would be decided now
	}
	var lines []string
	for _, r := range st.Rules {
		d := r.Decision
		lines = append(lines, "", fmt.Sprintf("%s  %s  %s", s.bold("scaling."+r.Rule.Rule), r.Target, liveMode(r, s)))
		var t Table
		t.Row("  size", s.note(Spark(r.Sizes)), s.bold(fmt.Sprint(d.To)), fmt.Sprintf("%d to %d", r.Min, r.Max))
		for _, m := range r.Metrics {
			value := wishValue(m.Wish, s)
			target := ""
			if m.Wish.Target > 0 {
				target = "target " + wishTarget(m.Wish)
				if ratio := wishRatio(m.Wish); ratio != "-" {
					target += ", at " + ratio
				}
			}
			t.Row("  "+m.Wish.Name, s.note(Spark(m.Values)), s.bold(value), target)
		}
		lines = append(lines, strings.Split(strings.TrimRight(t.String(), "\n"), "\n")...)
		lines = append(lines, "  now   "+Why(d, now))
		if l := r.Last; l != nil {
			lines = append(lines, s.dim(fmt.Sprintf("  last  %d -> %d, %s ago: %s", l.From, l.To, ago(now.Sub(l.At)), Why(*l, now))))
		}
		if until := heldUntil(d, now); !until.IsZero() {
			lines = append(lines, "  "+s.warn(fmt.Sprintf("holds until %s (%s)", timeOfDay(until, now), until.Sub(now).Round(time.Second))))
		}
	}
	return lines
}

func liveMode(r LiveRule, s Style) string {
	if r.Mode == "on" {
		return ""
	}
	return s.warn("mode " + r.Mode)
}

// heldUntil is when the first of the limiters that hold may let go; zero if none
// tells.
func heldUntil(d api.Decision, now time.Time) time.Time {
	var first time.Time
	for _, l := range d.Limits {
		if l.Until.After(now) && (first.IsZero() || l.Until.Before(first)) {
			first = l.Until
		}
	}
	return first
}

// Why is the reason of a decision in one line, with times as the operator's clock
// shows them.
func Why(d api.Decision, now time.Time) string {
	why := d.Why
	for _, l := range d.Limits {
		if l.Until.IsZero() {
			continue
		}
		bare, _, _ := strings.Cut(l.Text, " until ")
		why = strings.Replace(why, l.Text, bare+" until "+timeOfDay(l.Until, now), 1)
	}
	return why
}

// LevelsOf are the sizes that decisions came to, in the order of time.
func LevelsOf(decisions []api.Decision) []Level {
	levels := make([]Level, 0, len(decisions))
	for _, d := range decisions {
		n := d.From
		if d.Act {
			n = d.To
		}
		levels = append(levels, Level{d.At, float64(n)})
	}
	slices.SortStableFunc(levels, func(a, b Level) int { return a.At.Compare(b.At) })
	return levels
}
