package plan

import (
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
)

// Live is what the loop knows besides the state, for it plans while earlier plans
// are carried out. In such a plan the groups keep the sizes that they have unless
// one is ordered, replicas go only to machines that work now, and those that find
// no room wait: they are not in the plan.
type Live struct {
	Under  map[engine.Address]engine.Change // what runs that are under way do
	Closed map[engine.Address]string        // machines that take no further replica: why
	Leave  map[engine.Address][]int         // by group: the numbers that go first when it shrinks
}

// live completes what placement decides from.
func (c *computer) live(in *place.Input) {
	c.leaving, in.Lost = map[engine.Address]bool{}, map[engine.Address]bool{}
	going := map[engine.Address][]int{}
	for a, u := range c.in.Live.Under {
		n, ok := a.Index()
		switch {
		case !ok || !a.Kind.Sized():
		case u.Action == engine.Delete:
			going[a.Group()] = append(going[a.Group()], n)
			c.leaving[a] = a.Kind == engine.KindFunction
		default:
			in.Have[a.Group()] = append(in.Have[a.Group()], n)
			if m, err := engine.ParseAddress(engine.Object{Value: u.Planned}.Attr("machine")); err == nil {
				in.Was[a] = m
			}
		}
	}
	for i := range in.Machines {
		c.liveMachines(in, &in.Machines[i], going)
	}
	for _, f := range in.Functions {
		in.Replicas[f.Address] = c.numbers(f.Address, c.sized(f.Address, f.Replicas), in.Have[f.Address], going[f.Address])
		for _, n := range in.Replicas[f.Address] {
			a := f.Address.At(n)
			in.Lost[a] = in.Closed[in.Was[a]] != "" && c.lost(a)
		}
	}
	c.occupy(in, going)
}

// liveMachines fixes a group of machines at what it has, or what was ordered, and
// closes those that do not work.
func (c *computer) liveMachines(in *place.Input, m *engine.MachineGroup, going map[engine.Address][]int) {
	if !m.Address.Kind.Sized() {
		c.close(in, m.Address)
		return
	}
	b := c.sized(m.Address, m.Count)
	if m.Count.Autoscaled {
		in.Have[m.Address] = c.numbers(m.Address, b, in.Have[m.Address], going[m.Address])
		n := len(in.Have[m.Address])
		b = engine.Bounds{Min: n, Max: n, Autoscaled: true}
	}
	m.Count = b
	for _, n := range b.Indexes(in.Have[m.Address]) {
		c.close(in, m.Address.At(n))
	}
}

// numbers are those of a group's instances. Those that are to leave first do, and
// what is new takes no number of one that is still leaving.
func (c *computer) numbers(group engine.Address, b engine.Bounds, have, going []int) []int {
	if !b.Autoscaled {
		return b.Indexes(have)
	}
	sorted := func(all []int) []int { return slices.Compact(slices.Sorted(slices.Values(all))) }
	have = slices.DeleteFunc(sorted(have), func(n int) bool { return slices.Contains(going, n) })
	want := b.Clamp(len(have))
	for _, n := range c.in.Live.Leave[group] {
		if i := slices.Index(have, n); i >= 0 && len(have) > want {
			have = slices.Delete(have, i, i+1)
		}
	}
	have = have[:min(len(have), want)]
	all := engine.Grow(sorted(append(slices.Clone(have), going...)), want-len(have))
	return slices.DeleteFunc(slices.Clone(all), func(n int) bool { return slices.Contains(going, n) })
}

// close notes why a machine takes no further replica now, if it does not.
func (c *computer) close(in *place.Input, a engine.Address) {
	cur, _ := engine.Current(c.objects[a])
	obs := c.seen[a]
	why := c.in.Live.Closed[a]
	switch {
	case why != "" || in.Closed[a] != "":
	case cur == nil:
		why = nonEmpty(obs.Why, "it is not there yet")
	case obs.Presence != engine.Present:
		why = nonEmpty(obs.Why, "it does not work")
	case cur.Lifecycle == engine.Tainted || cur.Lifecycle == engine.Unverified:
		why = "it is not known to work"
	}
	if u, ok := c.in.Live.Under[a]; ok && u.Action != engine.Update {
		why = nonEmpty(why, "it is being replaced")
	}
	if why != "" {
		in.Closed[a] = why
	}
}

// lost reports whether a replica is known not to work.
func (c *computer) lost(a engine.Address) bool {
	if _, under := c.in.Live.Under[a]; under {
		return false
	}
	cur, _ := engine.Current(c.objects[a])
	return cur == nil || c.seen[a].Presence == engine.Down
}

// occupy lets replicas that are leaving take their room until they are gone.
func (c *computer) occupy(in *place.Input, going map[engine.Address][]int) {
	for f, numbers := range going {
		if f.Kind == engine.KindFunction && in.Replicas[f] != nil {
			in.Replicas[f] = append(slices.Clone(in.Replicas[f]), numbers...)
			slices.Sort(in.Replicas[f])
		}
	}
}

// waits reports whether a replica without a place may wait for one: it is new, or
// is no more.
func (c *computer) waits(a engine.Address) bool {
	return c.in.Live != nil && (c.leaving[a] || len(c.objects[a]) == 0)
}

// busy reports whether a run under way changes a resource, or what it joins.
func (c *computer) busy(a engine.Address) bool {
	if c.in.Live == nil {
		return false
	}
	is := func(a engine.Address) bool { _, under := c.in.Live.Under[a]; return under }
	switch a.Kind {
	case engine.KindBackend:
		frontend, replica := a.Membership()
		return is(a) || is(frontend) || is(replica)
	case engine.KindDelivery:
		image, machine := a.Consignment()
		return is(a) || is(image) || is(machine) || machine.Kind == engine.KindWarm && c.becomes(machine)
	case engine.KindWarm:
		return is(a) || c.becomes(a)
	default:
		return is(a)
	}
}

// becomes reports whether a run under way makes another machine of a warm one.
func (c *computer) becomes(warm engine.Address) bool {
	for _, u := range c.in.Live.Under {
		if u.From != nil && u.From.Address == warm {
			return true
		}
	}
	return false
}

// passes leaves a resource that a run under way changes as it is.
func (c *computer) passes(a engine.Address, source engine.Range) bool {
	if !c.busy(a) {
		return false
	}
	for _, ch := range c.held(a, source) {
		c.add(ch)
	}
	return true
}

// held is the change of a resource that a run under way changes: none, and none at
// all if it does not exist.
func (c *computer) held(a engine.Address, source engine.Range) []engine.Change {
	cur, _ := engine.Current(c.objects[a])
	if cur == nil {
		return nil
	}
	return []engine.Change{{
		Address: a, Phase: phaseOf(subject{addr: a, want: cur.Value}), Provider: cur.Provider, Prior: cur, Planned: cur.Value,
		Sensitive: cur.Sensitive, Gen: cur.Gen, Hold: "another run changes it", Source: source,
	}}
}

// homeless reports whether a run under way has yet to make a replica's machine.
func (c *computer) homeless(replica engine.Address) bool {
	return c.in.Live != nil && c.changeOf(c.machine[replica].Machine) == nil
}
