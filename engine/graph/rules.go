package graph

import (
	"slices"

	"github.com/flowctl/flowctl/engine"
)

// frontendUpdates lets a frontend change its routes when the new backends are in
// and before those that it drops leave.
func (b *builder) frontendUpdates() {
	for i := range b.plan.Changes {
		c := &b.plan.Changes[i]
		if c.Address.Kind != engine.KindFrontend || c.Action != engine.Update {
			continue
		}
		for _, j := range b.backends[c.Address] {
			if m := &b.plan.Changes[j]; m.Action == engine.Create || m.Action == engine.Replace && m.CreateFirst {
				b.prefer(b.made[c.Address], b.made[m.Address])
			}
		}
	}
}

// rolling lets only so many replacements of one function be under way.
func (b *builder) rolling() {
	moving := map[engine.Address][]*engine.Change{}
	var order []engine.Address
	for i := range b.plan.Changes {
		c := &b.plan.Changes[i]
		if (c.Action == engine.Replace || c.Pauses()) && c.Window > 0 {
			g := c.Address.Group()
			if r := b.plan.Rollout(g); r != nil && slices.Contains(r.Replicas, c.Address) {
				continue // at its stage
			}
			if moving[g] == nil {
				order = append(order, g)
			}
			moving[g] = append(moving[g], c)
		}
	}
	for _, g := range order {
		slices.SortStableFunc(moving[g], func(x, y *engine.Change) int { return b.absent(y) - b.absent(x) })
		b.spaced(moving[g])
		b.afterMissing(g, moving[g])
		b.afterLeft(g, moving[g])
	}
}

// afterMissing lets old replicas that leave first stay while others of their function do
// not serve: those count as missing, too.
func (b *builder) afterMissing(function engine.Address, moving []*engine.Change) {
	if moving[0].CreateFirst {
		return
	}
	var ids []int
	missing := 0
	for _, i := range b.groups[function] {
		if some := b.returns(&b.plan.Changes[i]); len(some) > 0 {
			ids = append(ids, some...)
			missing++
		}
	}
	if missing == 0 {
		return
	}
	back := b.meet(function, ids)
	for i, c := range moving {
		if i < c.Window-missing || i >= 2*c.Window {
			continue // so many more may be missing, or it waits for one that waits
		}
		for _, first := range b.firstOf(c) {
			b.prefer(first, back)
		}
	}
}

// afterLeft lets what an update that did not end has left leave before others come, which
// may need its room.
func (b *builder) afterLeft(function engine.Address, moving []*engine.Change) {
	var ids []int
	for _, i := range b.groups[function] {
		if c := &b.plan.Changes[i]; c.Action == engine.NoOp || c.Action == engine.Update {
			for _, j := range b.oldBy[c.Address] {
				ids = append(ids, b.old[j].step)
			}
		}
	}
	left := b.meet(function, ids)
	for i, c := range moving {
		if left < 0 || i >= c.Window {
			return
		}
		for _, first := range b.firstOf(c) {
			b.prefer(first, left)
		}
	}
}

// absent is 1 for a replica that does not serve, or not everywhere: its replacement comes
// first, so that it counts among those that may be missing.
func (b *builder) absent(c *engine.Change) int {
	if c.Broken || slices.ContainsFunc(b.backends[c.Address], func(i int) bool { return b.plan.Changes[i].Action == engine.Create }) {
		return 1
	}
	return 0
}

// returns lists the steps after which a replica serves that does not now, or not
// everywhere.
func (b *builder) returns(c *engine.Change) []int {
	var ids []int
	switch c.Action {
	case engine.Create:
		ids = append(ids, b.made[c.Address])
	case engine.Update:
		if c.Broken {
			ids = append(ids, b.made[c.Address])
		}
	case engine.NoOp:
	default:
		return nil
	}
	for _, i := range b.backends[c.Address] {
		if m := &b.plan.Changes[i]; m.Action == engine.Create {
			ids = append(ids, b.made[m.Address])
		}
	}
	return ids
}

// spaced lets each replacement begin when the one that is its window before has ended.
func (b *builder) spaced(moving []*engine.Change) {
	for i, c := range moving {
		if i < c.Window {
			continue
		}
		ends := b.lastOf(moving[i-c.Window])
		for _, first := range b.firstOf(c) {
			b.edge(first, ends...)
		}
	}
}

// firstOf lists the steps with which the replacement of a replica begins: making
// the new one, or taking the old one out of its frontends.
func (b *builder) firstOf(c *engine.Change) []int {
	if c.CreateFirst {
		return []int{b.made[c.Address]}
	}
	var ids []int
	if c.Pauses() {
		ids = append(ids, b.made[c.Address])
	}
	for _, i := range b.oldBy[c.Address] {
		ids = append(ids, b.old[i].step)
	}
	for _, i := range b.backends[c.Address] {
		for _, j := range b.oldBy[b.plan.Changes[i].Address] {
			ids = append(ids, b.old[j].step)
		}
	}
	return ids
}

// lastOf lists the steps with which it ends: the end of the old one, and the new
// one in all its frontends.
func (b *builder) lastOf(c *engine.Change) []int {
	ids := []int{b.made[c.Address]}
	if c.CreateFirst {
		for _, i := range b.oldBy[c.Address] {
			ids = append(ids, b.old[i].step)
		}
	}
	for _, i := range b.backends[c.Address] {
		if id, ok := b.made[b.plan.Changes[i].Address]; ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// taskGates orders tasks by phase: no step of a later phase before them, but for
// those that they themselves need.
func (b *builder) taskGates() {
	for i := range b.plan.Changes {
		c := &b.plan.Changes[i]
		id, ok := b.made[c.Address]
		if c.Address.Kind != engine.KindTask || !ok {
			continue
		}
		if !slices.ContainsFunc(c.Needs, func(n engine.Need) bool { return n.Kind != engine.Member }) {
			mine := b.descendants(id)
			for j := range b.steps {
				if s := &b.steps[j]; s.Phase < c.Phase && s.Op != engine.OpGate && !mine[j] {
					b.edge(id, j)
				}
			}
		}
		mine := b.ancestors(id)
		for j := range b.steps {
			if s := &b.steps[j]; s.Phase > c.Phase && s.Op != engine.OpGate && !mine[j] {
				b.edge(j, id)
			}
		}
	}
}

// shrinking lets a machine become smaller only when the replicas that move away
// have left it.
func (b *builder) shrinking() {
	leaving := map[string][]int{}
	for _, o := range b.old {
		if o.object.Address.Kind == engine.KindFunction {
			m := o.object.Attr("machine")
			leaving[m] = append(leaving[m], o.step)
		}
	}
	for i := range b.plan.Changes {
		c := &b.plan.Changes[i]
		if c.Address.Kind != engine.KindVM || c.Action != engine.Update || !shrinks(c) {
			continue
		}
		for _, d := range leaving[c.Address.String()] {
			b.prefer(b.made[c.Address], d)
		}
	}
}

func shrinks(c *engine.Change) bool {
	was, will := engine.MustDecode[engine.VM](c.Prior.Value), engine.MustDecode[engine.VM](c.Planned)
	return will.CPUs < was.CPUs || will.Memory < was.Memory || will.Slots < was.Slots
}

// descendants returns all steps that need id, directly or not.
func (b *builder) descendants(id int) map[int]bool {
	users := make([][]int, len(b.steps))
	for i := range b.steps {
		for _, n := range b.steps[i].Needs {
			users[n] = append(users[n], i)
		}
	}
	return closure(id, func(v int) []int { return users[v] })
}

// ancestors returns all steps that id needs, directly or not.
func (b *builder) ancestors(id int) map[int]bool {
	return closure(id, func(v int) []int { return b.steps[v].Needs })
}

func closure(start int, next func(int) []int) map[int]bool {
	seen := map[int]bool{}
	stack := []int{start}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, n := range next(v) {
			if !seen[n] {
				seen[n] = true
				stack = append(stack, n)
			}
		}
	}
	return seen
}
