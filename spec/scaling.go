package spec

import (
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// owner is the scaling block that owns a group's size.
type owner struct {
	inst  *instance
	value engine.Scaling
}

func (l *loader) declareScaling(inst *instance, decl *engine.Decl, value cty.Value) {
	var s engine.Scaling
	mustDecode(value, &s)
	l.checkScaling(inst, s, value)
	if s.Target.IsZero() {
		return
	}
	target := inst.block.attribute("target")
	decl.Needs = append(decl.Needs, engine.Need{Target: s.Target, Source: rangeOf(target)})
	if first := l.owners[s.Target]; first != nil {
		l.faultOf(inst, target, "Two scaling blocks on one target", fmt.Sprintf("%s already belongs to %s at %s, and only one can own its size. Put the rules into one block: of several metrics, the one that asks for the most wins.", s.Target, first.inst.addr, place(first.inst.block.def)))
		return
	}
	l.owners[s.Target] = &owner{inst, s}
}

// bounds returns the size of a group: that of its scaling block, or its own.
func (l *loader) bounds(inst *instance, attr string, own int) engine.Bounds {
	size := engine.Bounds{Min: own, Max: own}
	o := l.owners[inst.addr]
	if o != nil {
		if a := inst.block.body.Attributes[attr]; a != nil {
			l.faultOf(inst, a.NameRange, "Two owners of one size", fmt.Sprintf("%s belongs to %s at %s, which owns its size. Remove %s here; the bounds are min and max there.", inst.addr, o.inst.addr, place(o.inst.block.def), attr))
		}
		size = engine.Bounds{Min: o.value.Min, Max: o.value.Max, Autoscaled: true}
		inst.faulty = inst.faulty || !o.inst.sound() // its size is not known
	}
	if inst.sound() {
		l.sizes[inst.addr] = size
	}
	return size
}

// builtinMetrics are those whose source is known.
var builtinMetrics = []string{"rps", "in_flight", "latency", "error_rate", "queue", "cpu", "memory"}

// frontMetrics are those that frontends measure.
var frontMetrics = []string{"rps", "in_flight", "latency", "error_rate", "queue"}

// askedSources are those that answer a query.
var askedSources = []string{"prometheus", "http", "exec"}

func (l *loader) checkScaling(inst *instance, s engine.Scaling, value cty.Value) {
	b := inst.block
	if value.GetAttr("min").IsKnown() && value.GetAttr("max").IsKnown() && s.Min > s.Max {
		l.faultOf(inst, b.attribute("min"), "Empty range", fmt.Sprintf("%s has min = %d above max = %d, so no size is allowed. Exchange them.", inst.addr, s.Min, s.Max))
	}
	metrics := nestedBlocks(b.body, engine.SchemaOf[engine.Scaling]().Attribute("metric"))
	switch {
	case s.Target.Kind == engine.KindVM && len(metrics) > 0:
		l.faultOf(inst, metrics[0].DefRange(), "Metric of machines", fmt.Sprintf("%s scales machines, which follow the replicas placed on them. Move its metrics into the scaling block of a function; headroom keeps free slots ready.", inst.addr))
		return
	case s.Target.Kind == engine.KindFunction && s.Headroom > 0:
		l.faultOf(inst, b.attribute("headroom"), "Headroom of a function", "headroom counts free slots on machines. Move it into the scaling block of the vm.")
	case s.Target.Kind == engine.KindFunction && len(metrics) == 0 && len(s.Schedules) == 0 && s.Min != s.Max:
		l.warnOf(inst, b.def, "Scaling without a metric", fmt.Sprintf("%s measures nothing, so it never asks for more than min = %d. Add a block such as metric \"rps\" { target = 50 }.", inst.addr, s.Min))
	}
	first := map[string]hcl.Range{}
	for i, blk := range metrics {
		m := s.Metrics[i]
		if was, again := first[m.Name]; again {
			l.faultOf(inst, blk.DefRange(), "Duplicate metric", fmt.Sprintf("%s has two metrics called %q; the first is at %s. Give each a name of its own.", inst.addr, m.Name, place(was)))
			continue
		}
		first[m.Name] = blk.DefRange()
		used := s.Formula != "" || slices.ContainsFunc(s.Steps, func(step engine.ScalingStep) bool { return step.Metric == m.Name })
		l.checkMetric(inst, blk.DefRange(), m, element0(value, "metric", i), used)
	}
	l.checkRule(inst, s, value)
}

// checkRule reports what makes no sense in a block that is known.
func (l *loader) checkRule(inst *instance, s engine.Scaling, value cty.Value) {
	if !rule.Known(value) || s.Target.IsZero() {
		return
	}
	_, problems := rule.Of(inst.addr.Name, s)
	for _, p := range problems {
		report := l.faultOf
		if p.Warning {
			report = l.warnOf
		}
		report(inst, inst.block.part(p.Block, p.Index, p.Attribute), p.Summary, p.Detail)
	}
}

// part returns the place of an attribute of a nested block; of the nested block
// if it does not have the attribute; of b if it does not have the block.
func (b *block) part(nested string, i int, attribute string) hcl.Range {
	if nested == "" {
		return b.attribute(attribute)
	}
	for _, blk := range b.body.Blocks {
		switch {
		case blk.Type != nested:
		case i > 0:
			i--
		case blk.Body.Attributes[attribute] != nil:
			return blk.Body.Attributes[attribute].Expr.Range()
		default:
			return blk.DefRange()
		}
	}
	return b.def
}

// element0 returns element i of a list attribute.
func element0(v cty.Value, name string, i int) cty.Value {
	return v.GetAttr(name).Index(cty.NumberIntVal(int64(i)))
}

// given reports whether an attribute is set, known or not.
func isGiven(v cty.Value, name string) bool {
	a, _ := v.GetAttr(name).Unmark()
	return !a.IsNull()
}

func (l *loader) checkMetric(inst *instance, where hcl.Range, m engine.Metric, v cty.Value, used bool) {
	builtin := slices.Contains(builtinMetrics, m.Name)
	usage := m.Name == "cpu" || m.Name == "memory"
	switch {
	case !builtin && !isGiven(v, "source"):
		l.faultOf(inst, where, "Unknown metric", fmt.Sprintf("No metric %q is built in.%s A metric of your own needs a source and a query.", m.Name, didYouMean(m.Name, builtinMetrics, "")))
	case !isGiven(v, "query") && (!builtin || slices.Contains(askedSources, m.Source)):
		l.faultOf(inst, where, "Metric without a query", fmt.Sprintf("The metric %q of %s has a source, but nothing to ask it. Write query = and what to ask.", m.Name, inst.addr))
	case isGiven(v, "target") && isGiven(v, "utilisation"), !used && !isGiven(v, "target") && !isGiven(v, "utilisation"):
		l.faultOf(inst, where, "Metric without one target", fmt.Sprintf("The metric %q of %s needs either target (how much of it one replica should have) or, for cpu and memory, utilisation (how much of its limit should be in use). Only a metric that a step or the formula names may go without.", m.Name, inst.addr))
	case isGiven(v, "utilisation") && !usage:
		l.faultOf(inst, where, "Utilisation of no limit", fmt.Sprintf("A replica has a limit of cpu and memory only, so the metric %q has no utilisation. Write target = and how much of it one replica should have.", m.Name))
	case isGiven(v, "target") && m.Target == 0 && v.GetAttr("target").IsKnown():
		l.faultOf(inst, where, "Metric without one target", fmt.Sprintf("The metric %q of %s has target = 0, which no number of replicas reaches. Write how much of it one replica should have.", m.Name, inst.addr))
	}
}

// checkMeasured finds metrics that nothing measures: shares of a limit that is
// not set, requests of a function that no frontend sends any to.
func (l *loader) checkMeasured() {
	behind := l.behindFrontends()
	for _, f := range l.desired.Functions {
		o := l.owners[f.Address]
		if o == nil || !o.inst.sound() || !l.groups[f.Address].sound() {
			continue
		}
		blocks := nestedBlocks(o.inst.block.body, engine.SchemaOf[engine.Scaling]().Attribute("metric"))
		for i, m := range o.value.Metrics {
			where := blocks[i].DefRange()
			unlimited := m.Source != "machine" && (m.Name == "cpu" && f.Each.CPU == 0 || m.Name == "memory" && f.Each.Memory == 0)
			switch {
			case m.Target == 0 && unlimited:
				l.faultOf(o.inst, where, "Utilisation of no limit", fmt.Sprintf("The metric measures %s against the limit of %s, which has none. Set %s there, or write target = instead of utilisation.", m.Name, f.Address, m.Name))
			case m.Source == "" && slices.Contains(frontMetrics, m.Name) && !behind[f.Address]:
				l.warnOf(o.inst, where, "Metric without a frontend", fmt.Sprintf("Frontends measure %s, and none balances to %s, so the metric has no value. Add a frontend with to = %s, or give the metric a source.", m.Name, f.Address, f.Address))
			}
		}
	}
}
