package rule

import (
	"math"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
)

// names lists the metrics of the block.
func (b *builder) names() []string {
	var all []string
	for _, m := range b.from.Metrics {
		all = append(all, m.Name)
	}
	return all
}

// steps finds steps that do nothing, or contradict each other.
func (b *builder) steps() {
	names := b.names()
	for i, s := range b.from.Steps {
		if !slices.Contains(names, s.Metric) {
			b.problem("step", i, "metric", "Unknown metric", "The block has no metric %q. Add a block metric %q, or name one that it has.", s.Metric, s.Metric)
		}
		if s.Below > 0 && s.Above >= s.Below {
			b.problem("step", i, "above", "Empty range", "The step %q begins at %v, which is not below its end %v, so it never acts.", s.Name, s.Above, s.Below)
		}
		if s.Above == 0 && s.Below == 0 {
			b.problem("step", i, "", "Step without a range", "The step %q holds for every value. Write above = and the value from which it acts, or below =.", s.Name)
		}
		if actions(s) != 1 {
			b.problem("step", i, "", "Step without one action", "The step %q needs one of add, percent and to, and it must not be 0. (To let a function rest at 0, write min = 0.)", s.Name)
		}
		for _, t := range b.from.Steps[:i] {
			if t.Name == s.Name {
				b.problem("step", i, "", "Duplicate step", "The block has two steps called %q. Give each a name of its own.", s.Name)
			}
			if t.Metric == s.Metric && max(t.Above, s.Above) < min(end(t), end(s)) {
				b.problem("step", i, "", "Steps that overlap", "The steps %q and %q both hold for values of %s from %v on, so it would not be clear which one acts. Let one end (below) where the other begins (above).", t.Name, s.Name, s.Metric, max(t.Above, s.Above))
			}
		}
	}
}

// end is where the range of a step ends.
func end(s engine.ScalingStep) float64 {
	if s.Below == 0 {
		return math.Inf(1)
	}
	return s.Below
}

func actions(s engine.ScalingStep) int {
	n := 0
	for _, set := range []bool{s.Add != 0, s.Percent != 0, s.To != 0} {
		if set {
			n++
		}
	}
	return n
}

// aims finds settings of a function that never act.
func (b *builder) aims() {
	for i, m := range b.from.Metrics {
		if m.Activate > 0 && b.from.Min > 0 {
			b.idle("metric", i, "activate", "A function with min = %d never rests, so nothing wakes it. Write min = 0, or remove the line.", b.from.Min)
		}
		if m.Source == "machine" && m.Name != "cpu" && m.Name != "memory" {
			b.problem("metric", i, "source", "Unknown metric of machines", "Of machines cpu and memory are measured, not %q.", m.Name)
		}
		if m.Burst != nil && m.Burst.Factor > 0 && m.Burst.Window > m.Window {
			b.problem("metric", i, "", "Burst longer than the window", "The burst window of %q is %s, longer than the window of the metric itself, %s, so it sees a rise later. Make it shorter.", m.Name, m.Burst.Window, m.Window)
		}
	}
	if b.from.Min == 0 && len(b.from.Metrics) > 0 && len(b.from.Schedules) == 0 && !slices.ContainsFunc(b.from.Metrics, wakes) {
		b.problem("", 0, "min", "Function that could not wake", "With min = 0 it may rest at no replica, and %s can be measured of replicas only, so nothing would ever wake it. Write min = 1, or add a metric that tells of work without them: rps, in_flight or queue of its frontend, or one with a source of its own.", strings.Join(b.names(), " and "))
	}
	if len(b.from.Budgets) > 0 {
		b.problem("budget", 0, "", "Budget of a function", "A budget limits how many machines are emptied at once. Move it into the scaling block of the vm.")
	}
	if b.from.Zero != nil && b.from.Min > 0 {
		b.idle("zero", 0, "", "A function with min = %d never rests. Write min = 0, or remove the block.", b.from.Min)
	}
}

// wakes reports whether a metric can tell of work for a function that rests.
func wakes(m engine.Metric) bool {
	return m.Source != "" || !slices.Contains(averages, m.Name)
}

// machines finds settings of functions in a block about machines.
func (b *builder) machines() {
	s := b.from
	for _, c := range []struct {
		block, attribute string
		set              bool
	}{
		{"step", "", len(s.Steps) > 0}, {"", "formula", s.Formula != ""}, {"forecast", "", s.Forecast != nil}, {"zero", "", s.Zero != nil},
	} {
		if c.set {
			b.problem(c.block, 0, c.attribute, "Metric of machines", "Machines follow the replicas placed on them. Move it into the scaling block of a function.")
		}
	}
}
