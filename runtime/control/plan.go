package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/plan"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/state"
)

// order is a size that was decided.
type order struct {
	to    int
	leave []int // machines that are to be emptied
}

// trial is what an order was found to wait for, in which state of affairs.
type trial struct {
	stamp int
	until time.Time // when to try again, whatever there is
	why   string
}

// retry is the time between two tries to carry out an order that waits for
// something that nobody tells: that a busy replica is done.
const retry = time.Second

// job is what is planned at once: orders, or else what is not as it should be.
type job struct {
	orders  map[engine.Address]order
	stamp   int
	spec    string
	path    string
	request runtime.Request
	snap    engine.Snapshot
	seen    map[engine.Key]engine.Observation
}

// planned is what came of it.
type planned struct {
	plan  runtime.Planned
	parts []plan.Part
	err   error
}

// plan begins to plan what is due: orders of functions, else the order of one group
// of machines that shrinks, else repairs.
func (c *Controller) plan(ctx, hard context.Context, now time.Time) {
	orders := c.due(now)
	if len(orders) == 0 && (!c.eyes.mend || now.Before(c.blind.until)) {
		return
	}
	if len(orders) == 0 {
		c.eyes.mend = false
	}
	j := c.job(orders)
	c.planning = true
	c.aside(func() func(time.Time) {
		p := c.foresee(ctx, j)
		return func(now time.Time) {
			c.planning = false
			switch {
			case ctx.Err() != nil: // it is ending
			case p.err != nil:
				c.unplanned(j, p.err, now)
			case len(j.orders) > 0:
				c.obey(ctx, hard, j, p, now)
			default:
				c.mend(ctx, hard, j, p, now)
			}
			c.show(now)
		}
	})
}

// due lists the orders that can be tried now. One that failed, and one that empties
// machines, is by itself.
func (c *Controller) due(now time.Time) map[engine.Address]order {
	all := map[engine.Address]order{}
	var alone []engine.Address
	for _, group := range slices.SortedFunc(maps.Keys(c.orders), engine.Address.Compare) {
		o := c.orders[group]
		if t, ok := c.tried[group]; ok && t.stamp == c.stamp && now.Before(t.until) {
			continue
		}
		switch f := c.late[group]; {
		case f != nil && now.Before(f.until):
		case f != nil && f.n > 0 || len(o.leave) > 0:
			alone = append(alone, group)
		default:
			all[group] = o
		}
	}
	if len(all) == 0 && len(alone) > 0 {
		all[alone[0]] = c.orders[alone[0]]
	}
	return all
}

func (c *Controller) job(orders map[engine.Address]order) job {
	j := job{orders: orders, stamp: c.stamp, spec: c.spec, path: c.snap.SpecPath, snap: c.snap, seen: c.health().heeded(c.snap)}
	live := &plan.Live{Under: maps.Clone(c.under), Closed: c.health().closed, Leave: map[engine.Address][]int{}}
	for _, in := range c.snap.Open { // what nobody can say anything about yet
		if _, mine := live.Under[in.Address]; !mine && !c.mine(in.Run) {
			live.Under[in.Address] = engine.Change{Address: in.Address, Action: actionOf(in.Op), Planned: in.Planned}
		}
	}
	sizes := map[engine.Address]int{}
	for group, o := range orders {
		sizes[group] = o.to
		if live.Leave[group] = o.leave; group.Kind == engine.KindFunction {
			sizes[group], live.Leave[group] = c.leave(group, o.to)
		} else if have := len(c.members(group)); have > o.to {
			sizes[group] = max(o.to, have-len(o.leave)) // none but those that were picked
		}
	}
	j.request = runtime.Request{Desired: c.desired, Sizes: sizes, Pins: c.pins(), Live: live}
	return j
}

func actionOf(op engine.Op) engine.Action {
	switch op {
	case engine.OpCreate:
		return engine.Create
	case engine.OpDelete:
		return engine.Delete
	default:
		return engine.Update
	}
}

// mine reports whether a run is one of those under way.
func (c *Controller) mine(id int64) bool {
	return slices.ContainsFunc(c.runs, func(r *run) bool { return r.id.Load() == id })
}

// foresee computes the plan of a job.
func (c *Controller) foresee(ctx context.Context, j job) (p planned) {
	defer func() {
		if x := recover(); x != nil {
			p.err = fmt.Errorf("bug: %v", x)
		}
	}()
	var diags engine.Diagnostics
	if p.plan, diags = c.Flow.Foresee(ctx, j.request, j.snap, j.seen); diags.HasErrors() {
		p.err = diags.Err()
		return p
	}
	p.parts = plan.Parts(p.plan.Plan, j.request.Sizes)
	return p
}

// unplanned notes that a job could not be planned.
func (c *Controller) unplanned(j job, err error, now time.Time) {
	c.Log.Error("what was decided could not be planned", "err", err)
	if len(j.orders) == 0 {
		c.blind.again(err.Error(), now)
		return
	}
	for group, o := range j.orders {
		c.lateOf(group).again(err.Error(), now)
		if c.orders[group].to == o.to && len(o.leave) > 0 { // what can be emptied is found out anew
			delete(c.orders, group)
		}
	}
}

func (c *Controller) lateOf(key engine.Address) *failures {
	if c.late[key] == nil {
		c.late[key] = &failures{}
	}
	return c.late[key]
}

// obey begins what of some orders can be done now. What is left of one waits for
// what is under way, or for machines that come.
func (c *Controller) obey(ctx, hard context.Context, j job, p planned, now time.Time) {
	c.blind = failures{last: c.blind.last}
	waits := map[engine.Address]string{}
	others := false
	for _, part := range p.parts {
		sizes := j.of(part)
		if len(sizes) == 0 {
			others = true
			continue
		}
		if r := c.meeting(part); r != nil {
			for group := range sizes {
				waits[group] = "it waits for run " + fmt.Sprint(r.id.Load())
			}
			continue
		}
		c.start(ctx, hard, &run{plan: p.plan, part: part, orders: sizes, spec: j.spec, path: j.path})
	}
	for group, o := range j.orders {
		if c.orders[group].to != o.to {
			continue // another was given meanwhile
		}
		switch placed := sizeOf(p.plan.Plan, group); {
		case waits[group] != "":
		case group.Kind == engine.KindFunction && placed < o.to:
			waits[group] = fmt.Sprintf("%d of %d replicas wait for room on a machine", o.to-placed, o.to)
		case group.Kind == engine.KindFunction && j.request.Sizes[group] > o.to:
			waits[group] = "it waits until busy replicas are done"
		default:
			delete(c.orders, group)
			delete(c.tried, group)
			continue
		}
		if len(o.leave) > 0 { // what can be emptied is found out anew
			delete(c.orders, group)
			continue
		}
		c.tried[group] = trial{j.stamp, now.Add(retry), waits[group]}
	}
	if others {
		c.eyes.mend = true
	}
}

// mend begins what is to be put right.
func (c *Controller) mend(ctx, hard context.Context, j job, p planned, now time.Time) {
	c.blind = failures{last: c.blind.last}
	for _, part := range p.parts {
		if c.early(part, now) {
			continue
		}
		if c.meeting(part) != nil {
			c.eyes.again = true
			continue
		}
		c.start(ctx, hard, &run{plan: p.plan, part: part, spec: j.spec, path: j.path})
	}
	if len(p.parts) > 0 || len(c.runs) > 0 {
		return
	}
	switch {
	case slices.ContainsFunc(p.plan.Plan.Outputs, engine.OutputChange.Changed):
		c.writeOutputs(ctx, p.plan, j)
	case p.plan.Plan.Empty() && !unsettled(p.plan.Plan) && len(j.request.Live.Under) == 0 && !slices.ContainsFunc(j.snap.Objects, func(o engine.Object) bool { return !o.Kept.IsZero() }):
		c.calm = j.stamp
	}
}

// early reports whether a repair failed, or was made, so lately that it is to wait.
func (c *Controller) early(part plan.Part, now time.Time) bool {
	for a := range part.Changes {
		if f := c.late[keyOf(a)]; f != nil && now.Before(f.until) {
			return true
		}
		if f := c.rebuilt[a]; f != nil && now.Before(f.until) {
			return true
		}
	}
	return false
}

// meeting returns a run under way that a part must not be carried out beside, nil
// if there is none.
func (c *Controller) meeting(part plan.Part) *run {
	for _, r := range c.runs {
		if r.part.Meets(part) {
			return r
		}
	}
	return nil
}

// keyOf is what failures of a change are filed under: a function, a machine, or
// the resource itself.
func keyOf(a engine.Address) engine.Address {
	switch a.Kind {
	case engine.KindBackend:
		_, replica := a.Membership()
		return replica.Group()
	case engine.KindFunction:
		return a.Group()
	default:
		return a
	}
}

// sizeOf is the size that a group has in a plan.
func sizeOf(p engine.Plan, group engine.Address) int {
	for _, s := range p.Sizes {
		if s.Group == group {
			return s.Size
		}
	}
	return 0
}

// of lists the orders that a part carries out, as far as it goes.
func (j job) of(part plan.Part) map[engine.Address]int {
	sizes := map[engine.Address]int{}
	for a := range part.Changes {
		if o, ok := j.orders[keyOf(a).Group()]; ok {
			sizes[keyOf(a).Group()] = o.to
		}
	}
	return sizes
}

// leave picks the replicas that go when a function shrinks, and returns the size
// that it comes to: not the one that was ordered where busy replicas are let finish.
func (c *Controller) leave(group engine.Address, to int) (size int, numbers []int) {
	i := slices.IndexFunc(c.rules, func(r *ruled) bool { return r.rule.Target == group })
	if i < 0 {
		return to, nil
	}
	members := c.members(group)
	if len(members) <= to {
		return to, nil
	}
	usage, seen := c.Collector.Usage(), c.health().seen
	ill := func(o *engine.Object) bool { p := seen[o.Key()].Presence; return p == engine.Gone || p == engine.Down }
	byNumber := map[int]*decide.Unit{}
	for o := range runtime.Standing(c.snap.Objects) {
		n, _ := o.Address.Index()
		if _, under := c.under[o.Address]; under || !slices.Contains(members, o.Address) {
			continue
		}
		byNumber[n] = &decide.Unit{
			N: n, Started: time.Unix(runOf(o.Operation), 0), Ready: o.Lifecycle == engine.Ready && !ill(o),
			Load: usage[o.Address].CPUCores,
		}
	}
	var units []decide.Unit
	for a, u := range usage {
		if a.Kind == engine.KindBackend {
			_, replica := a.Membership()
			if n, ok := replica.Index(); ok && replica.Group() == group && byNumber[n] != nil {
				byNumber[n].InFlight += u.InFlight
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(byNumber)) {
		units = append(units, *byNumber[n])
	}
	numbers = decide.Victims(c.rules[i].rule, units, len(members)-to)
	return len(members) - len(numbers), numbers
}

// members lists the instances of a group as they will be when what is under way is
// done.
func (c *Controller) members(group engine.Address) []engine.Address {
	var all []engine.Address
	for o := range runtime.Standing(c.snap.Objects) {
		if u, under := c.under[o.Address]; o.Address.Group() == group && !(under && u.Action == engine.Delete) {
			all = append(all, o.Address)
		}
	}
	for a, u := range c.under {
		if a.Group() == group && u.Action != engine.Delete && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// runOf is the number of the run that made or last changed an object, which tells
// its age.
func runOf(operation string) int64 {
	var n int64
	text, _, _ := strings.Cut(strings.TrimPrefix(operation, "r"), "-")
	fmt.Sscan(text, &n)
	return n
}

// writeOutputs records outputs that changed by themselves.
func (c *Controller) writeOutputs(ctx context.Context, p runtime.Planned, j job) {
	c.eyes.settling = true
	c.aside(func() func(time.Time) {
		err := c.underLock(ctx, func(l *state.Lease) error {
			return c.Flow.ApplyOutputs(ctx, l, p, runtime.Options{Path: j.path})
		})
		return func(now time.Time) {
			if c.eyes.settling = false; err != nil && !runtime.IsLocked(err) {
				c.blind.again(err.Error(), now)
			}
		}
	})
}

// underLock does something under the flow's lock.
func (c *Controller) underLock(ctx context.Context, f func(*state.Lease) error) error {
	l, err := c.flow.hold(ctx)
	if err != nil {
		return err
	}
	return errors.Join(f(l), c.flow.leave(ctx))
}

func (c *Controller) parallelism() int {
	return cmp.Or(c.desired.Parallelism, runtime.DefaultParallelism)
}
