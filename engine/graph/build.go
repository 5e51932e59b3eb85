package graph

import (
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
)

// Build returns the steps that carry out a plan, in topological order. An error
// means that the plan contradicts itself, which is a bug in what made it.
func Build(p engine.Plan) ([]engine.Step, error) {
	b := newBuilder(p)
	for i := range p.Rollouts {
		b.rolloutVertices(&p.Rollouts[i])
	}
	for i := range p.Changes {
		b.vertices(&p.Changes[i])
	}
	for i := range p.Changes {
		b.makeEdges(&p.Changes[i])
	}
	b.deleteEdges()
	b.rolling()
	b.rollouts()
	b.taskGates()
	b.frontendUpdates()
	b.shrinking()
	b.partings()
	b.warming()
	b.soften()
	return b.sorted()
}

// builder is a graph in the making. A vertex is a step whose Needs are not in
// order yet.
type builder struct {
	plan     engine.Plan
	steps    []engine.Step
	made     map[engine.Address]int   // the step after which a resource is as wanted
	noops    map[engine.Address]int   // the same for those that do not change; -1 for nothing to wait for
	groups   map[engine.Address][]int // instances (places in plan.Changes) by group
	backends map[engine.Address][]int // backends (places in plan.Changes) by frontend and by replica
	gates    map[gate]int
	soft     []softEdge
	old      []oldObject
	oldBy    map[engine.Address][]int  // places in old, by address
	moves    map[engine.Address]*moves // by function
	switched map[engine.Address][]int  // by frontend: the last steps of rollouts there
	kept     map[engine.Key]int        // what is kept for a rollback, and the step that records it; -1 before
}

// gate names a meeting point.
type gate struct {
	target  engine.Address
	serving bool
	now     bool // nobody waits for more of what serves already
}

// oldObject is an object that a plan deletes.
type oldObject struct {
	object  engine.Object
	change  *engine.Change
	step    int
	surplus bool // a leftover, not what the change replaces or deletes
}

func newBuilder(p engine.Plan) *builder {
	b := &builder{
		plan: p, made: map[engine.Address]int{}, noops: map[engine.Address]int{},
		groups: map[engine.Address][]int{}, backends: map[engine.Address][]int{},
		gates: map[gate]int{}, oldBy: map[engine.Address][]int{}, moves: map[engine.Address]*moves{},
		switched: map[engine.Address][]int{}, kept: map[engine.Key]int{},
	}
	for i, c := range p.Changes {
		if g := c.Address.Group(); g != c.Address {
			b.groups[g] = append(b.groups[g], i)
		}
		if c.Address.Kind == engine.KindBackend {
			f, r := c.Address.Membership()
			b.backends[f] = append(b.backends[f], i)
			b.backends[r] = append(b.backends[r], i)
		}
	}
	return b
}

func (b *builder) step(op engine.Op, c *engine.Change, gen int, provider string, timeout engine.Duration) int {
	id := len(b.steps)
	b.steps = append(b.steps, engine.Step{
		ID: id, Op: op, Address: c.Address, Gen: gen, Phase: c.Phase, Provider: provider,
		Timeout: limit(timeout, op, c), Attempts: attempts(c, op),
	})
	return id
}

// DefaultTimeout is how long one attempt at a step may take when its block says
// nothing.
const DefaultTimeout = 10 * time.Minute

func limit(t engine.Duration, op engine.Op, c *engine.Change) time.Duration {
	if t > 0 {
		return t.Std()
	}
	if c.Address.Kind == engine.KindTask && op != engine.OpDelete {
		return engine.MustDecode[engine.Task](c.Planned).Timeout.Std()
	}
	return DefaultTimeout
}

// DefaultAttempts is how often a step that fails in passing is tried.
const DefaultAttempts = 3

func attempts(c *engine.Change, op engine.Op) int {
	if c.Address.Kind == engine.KindTask && op != engine.OpDelete {
		return 1 + engine.MustDecode[engine.Task](c.Planned).Retries
	}
	return DefaultAttempts
}

// vertices makes the steps of one change, without edges.
func (b *builder) vertices(c *engine.Change) {
	switch c.Action {
	case engine.Create, engine.Replace:
		op := engine.OpCreate
		if c.Address.Kind == engine.KindTask {
			op = engine.OpRun
		}
		b.made[c.Address] = b.step(op, c, c.Gen, c.Provider, c.Timeouts.Create)
	case engine.Update:
		op := engine.OpUpdate
		if c.Address.Kind == engine.KindTask {
			op = engine.OpRun
		}
		b.made[c.Address] = b.step(op, c, c.Gen, c.Provider, c.Timeouts.Update)
	case engine.Run:
		b.made[c.Address] = b.step(engine.OpRun, c, c.Gen, c.Provider, c.Timeouts.Update)
	}
	if c.Action.Ordered() {
		b.ordered(c)
	}
	if c.Action == engine.Delete || c.Action == engine.Replace {
		b.deletion(c, *c.Prior, false)
	}
	for _, o := range c.Leftovers {
		b.deletion(c, o, true)
	}
}

func (b *builder) deletion(c *engine.Change, o engine.Object, surplus bool) {
	if _, keep := b.kept[o.Key()]; keep {
		if c.Address.Kind == engine.KindFunction { // its backends stay with it
			b.kept[o.Key()] = b.step(engine.OpKeep, c, o.Gen, o.Provider, 0)
		}
		return
	}
	b.oldBy[o.Address] = append(b.oldBy[o.Address], len(b.old))
	b.old = append(b.old, oldObject{o, c, b.step(engine.OpDelete, c, o.Gen, o.Provider, c.Timeouts.Delete), surplus})
}

func (b *builder) edge(from int, needs ...int) {
	for _, n := range needs {
		if n >= 0 && n != from {
			b.steps[from].Needs = append(b.steps[from].Needs, n)
		}
	}
}

// softEdge is an order that is good to keep, but gives way where it would close
// a circle.
type softEdge struct{ from, need int }

func (b *builder) prefer(from, need int) {
	if from != need {
		b.soft = append(b.soft, softEdge{from, need})
	}
}

// makeEdges orders the making of a resource after what it needs.
func (b *builder) makeEdges(c *engine.Change) {
	made, ok := b.made[c.Address]
	switch {
	case !ok:
	case c.Action.Ordered():
		b.orderEdges(c, made)
	default:
		b.edge(made, b.needs(c)...)
	}
	if ok {
		b.pause(c, made)
	}
}

// needs lists the steps that the making of c waits for.
func (b *builder) needs(c *engine.Change) []int {
	var ids []int
	for _, n := range c.Needs {
		if n.Kind == engine.Member {
			continue
		}
		if c.Address.Kind == engine.KindBackend && n.Target.Kind == engine.KindFrontend {
			// A backend joins a frontend that exists before that changes its routes.
			if f := b.plan.Find(n.Target); f == nil || f.Action != engine.Create && f.Action != engine.Replace {
				continue
			}
		}
		ids = append(ids, b.target(n.Target, n.Kind == engine.Serving, c.Address.Kind == engine.KindFunction))
	}
	return ids
}

// target returns the step that stands for a resource or a group being as
// wanted, or -1 if there is nothing to wait for. Whoever needs it now does not wait for
// more replicas behind a frontend while others serve.
func (b *builder) target(a engine.Address, serving, now bool) int {
	members, group := b.groups[a]
	if !group && !serving {
		return b.resource(a)
	}
	key := gate{a, serving, now}
	if id, ok := b.gates[key]; ok {
		return id
	}
	b.gates[key] = -1 // a promise without Member edges has no cycles; this ends one all the same
	var ids []int
	if !group {
		ids = append(ids, b.resource(a))
	}
	switch {
	case serving && now:
		members = append(slices.Clone(members), b.awaited(a)...)
	case serving:
		members = append(slices.Clone(members), b.backends[a]...)
	}
	for _, i := range members {
		if c := &b.plan.Changes[i]; c.Action != engine.Delete {
			ids = append(ids, b.resource(c.Address))
		}
	}
	if serving {
		ids = append(ids, b.switched[a]...)
	}
	b.gates[key] = b.meet(a, ids)
	return b.gates[key]
}

// resource returns the step after which one resource is as wanted. For one that
// does not change, that is when what it needs is.
func (b *builder) resource(a engine.Address) int {
	if id, ok := b.made[a]; ok {
		return id
	}
	if id, ok := b.noops[a]; ok {
		return id
	}
	b.noops[a] = -1
	if c := b.plan.Find(a); c != nil && c.Action == engine.NoOp {
		b.noops[a] = b.meet(a, b.needs(b.undisturbed(c)))
	}
	return b.noops[a]
}

// undisturbed returns a change that does nothing without its needs of what it
// stands on, as far as that changes in place: a replica is as it was while its
// machine grows.
func (b *builder) undisturbed(c *engine.Change) *engine.Change {
	calm := *c
	calm.Needs = slices.DeleteFunc(slices.Clone(c.Needs), func(n engine.Need) bool {
		return c.Address.Kind.StandsOn(n.Target.Kind) && b.updates(n.Target)
	})
	return &calm
}

// meet returns one step that stands for all of ids: none, the only one, or a
// gate.
func (b *builder) meet(a engine.Address, ids []int) int {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for len(ids) > 0 && ids[0] < 0 {
		ids = ids[1:]
	}
	switch len(ids) {
	case 0:
		return -1
	case 1:
		return ids[0]
	}
	id := len(b.steps)
	b.steps = append(b.steps, engine.Step{ID: id, Op: engine.OpGate, Address: a, Phase: a.Kind.Phase(), Needs: ids})
	return id
}
