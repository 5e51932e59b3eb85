package control

import (
	"iter"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/plan"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/runtime/fleet"
	"github.com/flowctl/flowctl/runtime/observe"
	"github.com/flowctl/flowctl/tasks"
)

// rulesOf makes the rules of a spec, those of functions first: machines follow
// what is decided about replicas.
func rulesOf(d engine.Desired, values engine.Values) (rules []*ruled, watched []observe.Watched, unknown []string) {
	for _, decl := range d.Decls {
		if decl.Address.Kind != engine.KindScaling {
			continue
		}
		v, diags := decl.Config.Eval(values)
		bare, _ := v.UnmarkDeep()
		var s engine.Scaling
		if diags.HasErrors() || !bare.IsWhollyKnown() || engine.Decode(bare, &s) != nil {
			unknown = append(unknown, decl.Address.String())
			continue
		}
		r, _ := rule.Of(name(decl.Address), s)
		rules = append(rules, &ruled{rule: r, drain: drainOf(d, r.Target)})
		if r.Target.Kind == engine.KindFunction {
			watched = append(watched, observe.Watched{Rule: r, Metrics: s.Metrics, Limit: limitOf(d, r.Target)})
		}
	}
	slices.SortStableFunc(rules, func(a, b *ruled) int { return order(a) - order(b) })
	return rules, watched, unknown
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
	c.orders[r.rule.Target] = r.last.To
	c.Log.Info("decided", "rule", r.rule.Name, "from", r.last.From, "to", r.last.To, "why", r.last.Why)
}

// observation is what is known about the target of a rule.
func (c *Controller) observation(r *ruled) decide.Observation {
	target := r.rule.Target
	o := decide.Observation{Boot: c.times.of(target), Drain: r.drain, Ready: c.counts[target]}
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

// standing goes through what there is: of several generations of one resource, the
// one that stands for it.
func standing(objects []engine.Object) iter.Seq[*engine.Object] {
	return func(yield func(*engine.Object) bool) {
		for i := 0; i < len(objects); {
			j := i + 1
			for j < len(objects) && objects[j].Address == objects[i].Address {
				j++
			}
			if o, _ := engine.Current(objects[i:j]); !yield(o) {
				return
			}
			i = j
		}
	}
}

// counted is how many there are of each group. What is suspended does no work.
func counted(objects []engine.Object) map[engine.Address]int {
	n := map[engine.Address]int{}
	for o := range standing(objects) {
		if o.Lifecycle != engine.Tainted && o.Lifecycle != engine.Suspended {
			n[o.Address.Group()]++
		}
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

// recorded are the values of what exists.
func (c *Controller) recorded() engine.Values {
	var p engine.Plan
	for o := range standing(c.snap.Objects) {
		p.Changes = append(p.Changes, engine.Change{Address: o.Address, Action: engine.NoOp, Prior: o})
	}
	return tasks.NewRunner(p, c.Flow.Providers, c.Now)
}

// pins keeps functions at the revision that they run if what the spec asks for is
// known not to be good, or was gone back from: only an apply tries it again.
func (c *Controller) pins() []engine.Pin {
	current := map[engine.Address]engine.Revision{}
	withdrawn := map[string]bool{}
	for _, r := range c.snap.Revisions {
		switch {
		case r.Current:
			current[r.Function] = r
		case r.Verdict == engine.Bad || r.Verdict == engine.RolledBack:
			withdrawn[r.Function.String()+" "+r.Digest] = true
		}
	}
	if len(withdrawn) == 0 {
		return nil
	}
	values := c.recorded()
	var pins []engine.Pin
	for _, d := range c.desired.Decls {
		r, ok := current[d.Address]
		if !ok {
			continue
		}
		v, diags := d.Config.Eval(values)
		bare, _ := v.UnmarkDeep()
		if !diags.HasErrors() && withdrawn[d.Address.String()+" "+engine.DigestOf(bare)] {
			pins = append(pins, engine.Pin{Function: r.Function, Value: r.Value, Sensitive: r.Sensitive})
		}
	}
	return pins
}
