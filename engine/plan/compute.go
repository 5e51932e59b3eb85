package plan

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
	"github.com/zclconf/go-cty/cty"
)

// Input is all that a plan depends on.
type Input struct {
	Desired  engine.Desired
	Recorded engine.Snapshot
	Observed map[engine.Key]engine.Observation // what is missing is taken as recorded
	Destroy  bool                              // plan to delete everything
	Targets  []engine.Address                  // plan only these and what they need; nil means all
	Replace  []engine.Address                  // replace these even if nothing about them changed
	Sizes    map[engine.Address]int            // sizes ordered by the loop, of autoscaled groups
	Pins     []engine.Pin                      // functions that go back to a revision
	Now      time.Time                         // what is kept for a rollback until then is not any more
	Live     *Live                             // with what the loop plans; nil for everybody else

	// Refine lets the provider of that name refine the default comparison. It
	// must be pure. nil refines nothing.
	Refine func(provider string, p engine.Proposal) engine.Proposal

	// Spread calls f with each of 0 to n-1, several at a time, and returns when all
	// have. nil has everything done in turn; the plan is the same.
	Spread func(n int, f func(i int))
}

// Compute returns the plan. With errors among the findings it is incomplete and
// must not be applied.
func Compute(in Input) (engine.Plan, engine.Diagnostics) {
	seconds, tight := map[engine.Address]second{}, map[engine.Address]tightness{}
	for {
		c := newComputer(in)
		c.seconds, c.tight = seconds, tight
		p := c.compute()
		if len(c.crowded) == 0 && len(c.tighter) == 0 {
			return p, c.diags
		}
		maps.Copy(seconds, c.crowded) // of functions that were not among them, or not in turn
		for f, t := range c.tighter { // each more than it was
			tight[f] = t
			maps.DeleteFunc(seconds, func(a engine.Address, _ second) bool { return a.Group() == f })
		}
	}
}

func (c *computer) compute() engine.Plan {
	in := c.in
	if !in.Destroy {
		c.place()
		c.changes = make([]engine.Change, 0, c.about())
		c.declareAll(in.Desired.Decls)
		c.backends()
		c.roll()
		c.sharing()
	}
	c.deletions()
	c.outputs()
	p := c.finish()
	if len(in.Targets) > 0 {
		narrow(&p, in.Targets, in.Destroy)
	}
	return p
}

// declareAll plans all blocks, which come in an order in which each depends on
// earlier ones only.
func (c *computer) declareAll(decls []engine.Decl) {
	for len(decls) > 0 {
		if decls[0].Address.Kind == engine.KindCluster {
			c.cluster(&decls[0])
			decls = decls[1:]
			continue
		}
		wave := c.wave(decls)
		for i, is := range wave {
			c.declare(&decls[i], is)
		}
		decls = decls[len(wave):]
	}
}

// about is how many changes there will be, backends aside: they are large, and
// many.
func (c *computer) about() int {
	n := len(c.in.Desired.Decls)
	for _, m := range c.members {
		n += len(m)
	}
	return n
}

// computer is a plan in the making.
type computer struct {
	in      Input
	objects map[engine.Address][]engine.Object // by generation, without those that are gone
	last    map[engine.Address]int             // the greatest generation that was ever recorded
	seen    map[engine.Address]engine.Observation
	gone    map[engine.Address]engine.Object
	replace map[engine.Address]bool

	placement place.Result
	machine   map[engine.Address]engine.Placing      // by replica
	members   map[engine.Address][]engine.Address    // instances by group, in order
	homes     map[engine.Address]engine.Address      // by image, the host that makes it
	warms     map[engine.Address]engine.MachineGroup // the groups that keep machines ready
	leaving   map[engine.Address]bool                // replicas that a run under way ends: they still take room
	seconds   map[engine.Address]second              // replicas that are placed beside those that they take over from
	cramped   map[string]bool                        // ids of old replicas without room where they are
	crowded   map[engine.Address]second              // those that are to be, for they found no room there
	tight     map[engine.Address]tightness           // of functions whose canaries find no room beside all old replicas
	tighter   map[engine.Address]tightness           // of those that found none so

	changes []engine.Change
	at      map[engine.Address]int // of changes
	values  map[engine.Address]cty.Value
	outs    []engine.OutputChange
	rolls   []engine.Rollout
	kept    map[string]bool // ids of old replicas that stay for a rollback
	diags   engine.Diagnostics
}

func newComputer(in Input) *computer {
	c := &computer{
		in:      in,
		objects: map[engine.Address][]engine.Object{}, last: map[engine.Address]int{},
		seen: map[engine.Address]engine.Observation{}, gone: map[engine.Address]engine.Object{},
		replace: map[engine.Address]bool{}, machine: map[engine.Address]engine.Placing{},
		members: map[engine.Address][]engine.Address{}, homes: map[engine.Address]engine.Address{},
		at:     make(map[engine.Address]int, len(in.Recorded.Objects)),
		values: map[engine.Address]cty.Value{}, cramped: map[string]bool{}, warms: map[engine.Address]engine.MachineGroup{},
	}
	for _, m := range in.Desired.Machines {
		if m.Warm > 0 {
			c.warms[m.Address] = m
		}
	}
	for _, o := range in.Recorded.Objects {
		c.record(o)
	}
	for _, a := range in.Replace {
		c.replace[a] = true
	}
	return c
}

// record files an object as it was observed.
func (c *computer) record(o engine.Object) {
	a := o.Address
	c.last[a] = max(c.last[a], o.Gen)
	obs, ok := c.in.Observed[o.Key()]
	if !ok {
		c.objects[a] = append(c.objects[a], o)
		return
	}
	switch obs.Presence {
	case engine.Gone:
		c.gone[a] = o
		c.seen[a] = obs
		return
	case engine.Unreachable:
		obs.Object = o
	}
	c.objects[a] = append(c.objects[a], obs.Object)
	c.seen[a] = obs
}

func (c *computer) fault(a engine.Address, source *engine.Range, summary, detail string) {
	c.diags = append(c.diags, engine.Diagnostic{Summary: summary, Detail: detail, Address: a, Source: source})
}

// Placement is what the places of replicas are decided from.
func Placement(in Input) place.Input { return newComputer(in).premises() }

// premises are what placement decides from.
func (c *computer) premises() place.Input {
	d := c.in.Desired
	have := map[engine.Address][]int{}
	was := map[engine.Address]engine.Address{}
	count := func(o engine.Object) {
		n, ok := o.Address.Index()
		if !ok || o.Address.Kind == engine.KindBackend {
			return
		}
		have[o.Address.Group()] = append(have[o.Address.Group()], n)
		if m, err := engine.ParseAddress(o.Attr("machine")); err == nil && o.Address.Kind == engine.KindFunction {
			was[o.Address] = m
		}
	}
	for _, o := range c.in.Recorded.Objects {
		count(o) // what is gone counts, too: it is to be made again, where it was
	}
	for a, objects := range c.objects {
		if cur, _ := engine.Current(objects); cur != nil && a.Kind == engine.KindFunction {
			count(*cur) // of several generations, the current one tells the place
		}
	}
	in := place.Input{Machines: slices.Clone(d.Machines), Functions: d.Functions, Replicas: map[engine.Address][]int{}, Have: have, Was: was}
	in.Closed, in.Kept = c.suspendedMachines(), c.keepers()
	c.besides(&in)
	for i := range in.Machines {
		in.Machines[i].Each = c.capacity(in.Machines[i])
	}
	if c.in.Live != nil {
		c.live(&in)
		return in
	}
	for i := range in.Machines {
		m := &in.Machines[i]
		m.Count = c.ordered(m.Address, m.Count, have)
	}
	for _, f := range d.Functions {
		in.Replicas[f.Address] = c.sized(f.Address, f.Replicas).Indexes(have[f.Address])
	}
	return in
}

// place decides about the sizes of groups and the places of replicas.
func (c *computer) place() {
	c.placement = place.Compute(c.premises())
	c.placement.Placings = slices.DeleteFunc(c.placement.Placings, func(p engine.Placing) bool { return c.leaving[p.Replica] })
	for _, p := range c.placement.Placings {
		c.machine[p.Replica] = p
		c.members[p.Replica.Group()] = append(c.members[p.Replica.Group()], p.Replica)
	}
	for group, numbers := range c.placement.Machines {
		if !group.Kind.Sized() {
			c.members[group] = []engine.Address{group}
			continue
		}
		for _, n := range numbers {
			c.members[group] = append(c.members[group], group.At(n))
		}
	}
	c.reportPlacement()
}

// ordered makes the number of machines that the loop ordered the least that there
// are: those above it go, and more come if the replicas need them.
func (c *computer) ordered(group engine.Address, b engine.Bounds, have map[engine.Address][]int) engine.Bounds {
	n, ok := c.in.Sizes[group]
	if !ok || !b.Autoscaled {
		return c.sized(group, b)
	}
	n = b.Clamp(n)
	numbers := slices.Compact(slices.Sorted(slices.Values(have[group])))
	have[group] = numbers[:min(len(numbers), n)]
	return engine.Bounds{Min: n, Max: b.Max, Autoscaled: true}
}

// sized narrows the bounds of a group to the size that the loop ordered, or that
// was set by hand.
func (c *computer) sized(group engine.Address, b engine.Bounds) engine.Bounds {
	if n, ok := c.in.Sizes[group]; ok && b.Autoscaled {
		n = b.Clamp(n)
		return engine.Bounds{Min: n, Max: n, Autoscaled: true}
	}
	if n, ok := c.byHand(group, b); ok {
		return engine.Bounds{Min: n, Max: n}
	}
	return b
}

// byHand returns the size that was set by hand, if the spec still says what it
// said then.
func (c *computer) byHand(group engine.Address, b engine.Bounds) (int, bool) {
	for _, h := range c.in.Recorded.Sizes {
		if h.Group == group && !b.Autoscaled && h.Spec == b.Min {
			return h.Size, true
		}
	}
	return 0, false
}

// capacity fills in what a host's block leaves to the host: it was read there.
func (c *computer) capacity(m engine.MachineGroup) engine.Capacity {
	if m.Address.Kind != engine.KindHost {
		return m.Each
	}
	cur, _ := engine.Current(c.objects[m.Address])
	if obs, ok := c.in.Observed[engine.Key{Address: m.Address, Gen: 1}]; ok && cur == nil && obs.Presence == engine.Present {
		cur = &obs.Object // it exists without having been recorded yet
	}
	if cur != nil {
		h := engine.MustDecode[engine.Host](cur.Value)
		if m.Each.CPU == 0 {
			m.Each.CPU = h.CPUs
		}
		if m.Each.Memory == 0 {
			m.Each.Memory = h.Memory
		}
	}
	return m.Each
}

func (c *computer) reportPlacement() {
	byFunction := map[engine.Address][]place.Unplaced{}
	var order []engine.Address
	for _, u := range c.placement.Unplaced {
		if c.waits(u.Replica) {
			continue
		}
		g := u.Replica.Group()
		if byFunction[g] == nil {
			order = append(order, g)
		}
		byFunction[g] = append(byFunction[g], u)
	}
	for _, g := range order {
		us := byFunction[g]
		if i := slices.IndexFunc(us, func(u place.Unplaced) bool { _, second := c.seconds[u.Replica]; return second }); i >= 0 {
			c.noSecond(g, c.seconds[us[i].Replica], us[i:])
			continue
		}
		c.fault(g, c.sourceOf(g), "No room for replicas", fmt.Sprintf(
			"%d of the replicas of %s have no place: %s. Raise the number or the size of the machines, or ask for less.", len(us), g, us[0].Why))
	}
	for _, s := range c.placement.Short {
		c.diags = append(c.diags, engine.Diagnostic{
			Severity: engine.Warning, Summary: "Less headroom than wanted", Address: s.Group, Source: c.sourceOf(s.Group),
			Detail: fmt.Sprintf("%s is to keep %d slots free, but at its largest it has %d.", s.Group, s.Want, s.Have),
		})
	}
}

func (c *computer) sourceOf(group engine.Address) *engine.Range {
	for i := range c.in.Desired.Decls {
		if c.in.Desired.Decls[i].Address == group {
			return &c.in.Desired.Decls[i].Source
		}
	}
	return nil
}

// finish sorts everything into a plan.
func (c *computer) finish() engine.Plan {
	slices.SortFunc(c.changes, func(a, b engine.Change) int { return a.Address.Compare(b.Address) })
	p := engine.Plan{
		Flow: c.in.Desired.Flow, Lineage: c.in.Recorded.Lineage, Serial: c.in.Recorded.Serial,
		Destroy: c.in.Destroy, Changes: c.changes, Outputs: c.outs, Placings: c.placement.Placings, Rollouts: c.rolls,
	}
	groups := map[engine.Address]engine.Bounds{}
	for _, m := range c.in.Desired.Machines {
		groups[m.Address] = m.Count
	}
	for _, f := range c.in.Desired.Functions {
		groups[f.Address] = f.Replicas
	}
	for a, b := range groups {
		n, hand := c.byHand(a, b)
		if b.Autoscaled {
			n = len(c.members[a])
		}
		if (b.Autoscaled || hand) && !c.in.Destroy {
			p.Sizes = append(p.Sizes, engine.GroupSize{Group: a, Size: n, Bounds: b, ByHand: hand})
		}
	}
	slices.SortFunc(p.Rollouts, func(a, b engine.Rollout) int { return a.Function.Compare(b.Function) })
	slices.SortFunc(p.Sizes, func(a, b engine.GroupSize) int { return a.Group.Compare(b.Group) })
	sortDiags(c.diags)
	return p
}

func sortDiags(ds engine.Diagnostics) {
	slices.SortStableFunc(ds, func(a, b engine.Diagnostic) int { return a.Address.Compare(b.Address) })
}
