package control

import (
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/plan"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/runtime/fleet"
	"github.com/flowctl/flowctl/runtime/observe"
)

// rulesOf makes the rules of a spec, those of functions first: machines follow
// what is decided about replicas.
func rulesOf(d engine.Desired) (rules []*ruled, watched []observe.Watched) {
	for _, decl := range d.Decls {
		if decl.Address.Kind != engine.KindScaling {
			continue
		}
		v, diags := decl.Config.Eval(engine.Unmade{})
		bare, _ := v.UnmarkDeep()
		var s engine.Scaling
		if diags.HasErrors() || !bare.IsWhollyKnown() || engine.Decode(bare, &s) != nil {
			continue // the spec was applied, so its planner has said why
		}
		r, _ := rule.Of(name(decl.Address), s)
		rules = append(rules, &ruled{rule: r, drain: drainOf(d, r.Target)})
		if r.Target.Kind == engine.KindFunction {
			watched = append(watched, observe.Watched{Rule: r, Metrics: s.Metrics, Limit: limitOf(d, r.Target)})
		}
	}
	slices.SortStableFunc(rules, func(a, b *ruled) int { return order(a) - order(b) })
	return rules, watched
}

func order(r *ruled) int {
	if r.rule.Target.Kind == engine.KindVM {
		return 1
	}
	return 0
}

// name is what a rule is called: web, or web["eu"].
func name(a engine.Address) string {
	return a.String()[len(a.Kind)+1:]
}

func limitOf(d engine.Desired, function engine.Address) engine.Capacity {
	for _, f := range d.Functions {
		if f.Address == function {
			return f.Each
		}
	}
	return engine.Capacity{}
}

// drainOf is how long a replica may take to leave.
func drainOf(d engine.Desired, function engine.Address) time.Duration {
	for _, decl := range d.Decls {
		if decl.Address != function || function.Kind != engine.KindFunction {
			continue
		}
		if v, diags := decl.Config.Eval(engine.Unmade{}); !diags.HasErrors() {
			bare, _ := v.UnmarkDeep()
			if a := bare.GetAttr("drain"); a.IsKnown() && !a.IsNull() {
				t, _ := engine.ParseDuration(a.AsString())
				return t.Std()
			}
		}
	}
	return 0
}

// decide evaluates a rule, and notes what it orders.
func (c *Controller) decide(r *ruled, now time.Time) {
	o := c.observation(r)
	r.last, r.past = decide.Decide(r.rule, r.past, o, now)
	if !r.last.Act {
		return
	}
	r.acted = r.last
	if r.rule.Target.Kind == engine.KindVM && r.last.To > r.last.From {
		c.repair = now // the planner makes the machines that the replicas need, and their headroom
	} else {
		c.orders[r.rule.Target] = r.last.To
	}
	c.Log.Info("decided", "rule", r.rule.Name, "from", r.last.From, "to", r.last.To, "why", r.last.Why)
}

// observation is what is known about the target of a rule.
func (c *Controller) observation(r *ruled) decide.Observation {
	target := r.rule.Target
	o := decide.Observation{Boot: c.times.of(target), Drain: r.drain, Ready: c.ready(target)}
	if want, ok := c.ordered(target); ok {
		o.Starting = max(0, want-o.Ready)
		o.Ready = min(o.Ready, want)
	}
	if target.Kind == engine.KindVM {
		o.Demand = fleet.Of(plan.Placement(c.input(c.wanted())), target).Need
		return o
	}
	o.Samples = c.Collector.Samples(r.rule.Name)
	return o
}

// ready counts what works of a group.
func (c *Controller) ready(group engine.Address) int {
	n := 0
	for i, o := range c.snap.Objects {
		if o.Address.Group() != group || o.Lifecycle == engine.Tainted {
			continue
		}
		if i > 0 && c.snap.Objects[i-1].Address == o.Address {
			continue // another generation of the same
		}
		n++
	}
	return n
}

// ordered is the size that a group is to get.
func (c *Controller) ordered(group engine.Address) (int, bool) {
	if n, ok := c.orders[group]; ok {
		return n, true
	}
	if c.running != nil {
		n, ok := c.running.sizes[group]
		return n, ok
	}
	return 0, false
}

// wanted are the sizes of the functions as they are to be.
func (c *Controller) wanted() map[engine.Address]int {
	sizes := map[engine.Address]int{}
	for _, r := range c.rules {
		if n, ok := c.ordered(r.rule.Target); ok && r.rule.Target.Kind == engine.KindFunction {
			sizes[r.rule.Target] = n
		}
	}
	return sizes
}

// input is what a plan is made from, as far as the state tells.
func (c *Controller) input(sizes map[engine.Address]int) plan.Input {
	return plan.Input{Desired: c.desired, Recorded: c.snap, Sizes: sizes}
}
