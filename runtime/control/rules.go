package control

import (
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
	"github.com/flowctl/flowctl/engine/plan"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/runtime/fleet"
	"github.com/flowctl/flowctl/runtime/observe"
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
	slices.SortStableFunc(rules, func(a, b *ruled) int { return tier(a) - tier(b) })
	return rules, watched, unknown
}

func tier(r *ruled) int {
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

// decide evaluates a rule, and notes what it orders. Growth is bounded by what the
// machines can take at their largest, which is found out only then.
func (c *Controller) decide(r *ruled, now time.Time) {
	r.last, r.past = decide.Within(r.rule, r.past, c.observation(r), now, func() int { return c.room(r) })
	next := order{to: r.last.To}
	if r.last.Act && r.last.To < r.last.From && r.rule.Target.Kind == engine.KindVM {
		next = c.empty(r, now)
	}
	if !r.last.Act {
		return
	}
	r.acted = r.last
	c.orders[r.rule.Target] = next
	c.stamp++
	if r.rule.Target.Kind == engine.KindFunction { // the machines follow at once
		for _, m := range c.rules {
			if m.rule.Target.Kind == engine.KindVM {
				m.due = now
			}
		}
	}
	c.Log.Info("decided", "rule", r.rule.Name, "from", r.last.From, "to", r.last.To, "why", r.last.Why)
}

// empty picks the machines that go, as many as may at once, and makes the decision
// one about these.
func (c *Controller) empty(r *ruled, now time.Time) order {
	group := r.rule.Target
	s := c.health()
	leaving := 0
	for a, u := range c.under {
		if a.Group() == group && u.Action == engine.Delete {
			leaving++
		}
	}
	o := order{to: r.last.From}
	allowed := fleet.Allowed(r.rule.Budgets, now, len(c.members(group))+leaving, leaving, s.broken[group])
	for _, spare := range c.fleet(group).Spare {
		n, _ := spare.Machine.Index()
		if _, busy := c.under[spare.Machine]; !busy && len(o.leave) < allowed && o.to > r.last.To && s.halted[group] == "" {
			o.leave, o.to = append(o.leave, n), o.to-1
		}
	}
	if o.to == r.last.To {
		return o
	}
	why := fleet.OverBudget
	if s.halted[group] != "" {
		why = s.halted[group]
	}
	r.last, r.past = r.last.Only(r.past, o.to, why)
	return o
}

// observation is what is known about the target of a rule.
func (c *Controller) observation(r *ruled) decide.Observation {
	target := r.rule.Target
	o := decide.Observation{Boot: c.times.of(way{group: target}), Drain: r.drain, Ready: c.counts[target]}
	ill := c.health().ill[target]
	o.Ready, o.Starting = o.Ready-ill, ill+c.coming(target) // they are being put right
	if want, ok := c.ordered(target); ok {
		o.Ready = min(o.Ready, want)
		o.Starting = max(0, want-o.Ready)
	}
	if target.Kind == engine.KindVM {
		o.Demand, o.Drain = c.fleet(target).Need, c.times.of(way{target, true})
		return o
	}
	o.Samples = c.Collector.Samples(r.rule.Name)
	return o
}

// coming counts the instances of a group that runs under way make, and that are not
// recorded yet.
func (c *Controller) coming(group engine.Address) int {
	n := 0
	for a, u := range c.under {
		if a.Group() != group || u.Action == engine.Delete {
			continue
		}
		if _, there := slices.BinarySearchFunc(c.snap.Objects, a, func(o engine.Object, a engine.Address) int { return o.Address.Compare(a) }); !there {
			n++
		}
	}
	return n
}

// fleetAt is the demand for machines in some state of affairs.
type fleetAt struct {
	stamp int
	fleet fleet.Fleet
}

// placement is what all demands are worked out from, in some state of affairs.
type placement struct {
	stamp int
	input place.Input
}

// fleet works out the demand for a group of machines.
func (c *Controller) fleet(group engine.Address) fleet.Fleet {
	f, ok := c.fleets[group]
	if !ok || f.stamp != c.stamp {
		if c.premises.stamp != c.stamp || c.premises.input.Have == nil {
			c.premises = placement{c.stamp, plan.Placement(c.input(c.wanted()))}
		}
		f = fleetAt{c.stamp, fleet.Of(c.premises.input.Around(group), group)}
		c.fleets[group] = f
	}
	return f.fleet
}

// room is how many replicas of a rule's function fit onto the machines at their
// largest, beside what else is wanted.
func (c *Controller) room(r *ruled) int {
	sizes := c.wanted()
	sizes[r.rule.Target] = r.rule.Max
	in := plan.Placement(c.input(sizes))
	for _, f := range in.Functions {
		if f.Address == r.rule.Target && len(f.On) > 0 {
			return fleet.Room(in.Around(f.On[0]), f.Address)
		}
	}
	return 0
}

// counted is how many there are of each group. What is suspended does no work.
func counted(objects []engine.Object) map[engine.Address]int {
	n := map[engine.Address]int{}
	for o := range runtime.Standing(objects) {
		if o.Lifecycle != engine.Tainted && o.Lifecycle != engine.Suspended {
			n[o.Address.Group()]++
		}
	}
	return n
}

// ordered is the size that a group is to get.
func (c *Controller) ordered(group engine.Address) (int, bool) {
	if o, ok := c.orders[group]; ok {
		return o.to, true
	}
	for _, r := range slices.Backward(c.runs) {
		if n, ok := r.orders[group]; ok {
			return n, true
		}
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
	return plan.Input{Desired: c.desired, Recorded: c.snap, Sizes: sizes, Now: c.Now()}
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
	values := c.Flow.Recorded(c.snap.Objects)
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
