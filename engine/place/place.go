package place

import (
	"math"
	"slices"

	"github.com/flowctl/flowctl/engine"
)

// Input is what placement decides from.
type Input struct {
	Machines  []engine.MachineGroup
	Functions []engine.FunctionGroup
	Replicas  map[engine.Address][]int          // numbers of the replicas wanted, by function, sorted
	Have      map[engine.Address][]int          // numbers of the machines that there are, by group
	Was       map[engine.Address]engine.Address // where each existing replica is
	Closed    map[engine.Address]string         // machines that take no further replica: why
	Lost      map[engine.Address]bool           // replicas that work no more where they are: they go elsewhere, if they can
	Second    map[engine.Address]bool           // replicas that are made again beside the one that there is, wherever there is room
	Old       map[engine.Address]engine.Address // where one of an earlier revision stays for now, by replica: it takes room there
	Turn      map[engine.Address]int            // when one of Second or Old has its turn: what it takes over from leaves after it, and its room is free for later turns; 0 if that stays to the end
	Kept      map[engine.Address]engine.Address // where one is that is kept for a rollback, by replica: its room is free for what needs it
}

// Result is where everything goes.
type Result struct {
	Placings []engine.Placing         // of all replicas that have a place, sorted by replica
	Machines map[engine.Address][]int // numbers of the machines needed, by group, within its bounds
	Unplaced []Unplaced               // sorted by replica
	Short    []Shortage               // groups with less headroom than wanted, at their largest

	state *state
}

// Unplaced is a replica for which no machine has room.
type Unplaced struct {
	Replica engine.Address
	Why     string
}

// Shortage is missing headroom.
type Shortage struct {
	Group      engine.Address
	Want, Have int
}

// Compute places all replicas, with as few more machines as will do.
func Compute(in Input) Result {
	machines := map[engine.Address][]int{}
	for _, m := range in.Machines {
		machines[m.Address] = m.Count.Indexes(in.Have[m.Address])
	}
	in.Functions = slices.Clone(in.Functions)
	slices.SortFunc(in.Functions, func(a, b engine.FunctionGroup) int { return a.Address.Compare(b.Address) })
	in.Machines = slices.Clone(in.Machines)
	slices.SortFunc(in.Machines, func(a, b engine.MachineGroup) int { return a.Address.Compare(b.Address) })
	grow(in, machines)
	for {
		r := pack(in, machines)
		group := r.wantsMore(in, machines)
		if group == nil {
			r.Machines = machines
			return r
		}
		machines[*group] = engine.Grow(machines[*group], 1)
	}
}

// grow raises the numbers of autoscaled groups to what their replicas need in
// sum, so that Compute packs few times.
func grow(in Input, machines map[engine.Address][]int) {
	for _, m := range in.Machines {
		if !m.Count.Autoscaled {
			continue
		}
		var cpu, memory, slots float64
		for _, f := range in.Functions {
			if len(f.On) != 1 || f.On[0] != m.Address {
				continue
			}
			n := float64(len(in.Replicas[f.Address]) + in.besides(f.Address))
			cpu += n * f.Each.CPU
			memory += n * float64(f.Each.Memory)
			slots += n
		}
		need := max(ratio(cpu, m.Each.CPU), ratio(memory, float64(m.Each.Memory)), ratio(slots+float64(m.Headroom), float64(m.Each.Slots)))
		have := machines[m.Address]
		machines[m.Address] = engine.Grow(have, m.Count.Clamp(int(math.Ceil(need-1e-9)))-len(have))
	}
}

// besides is how many replicas of a function run beside those that are wanted, at the
// most crowded moment.
func (in Input) besides(function engine.Address) int {
	n, most, turns := 0, 0, map[int]int{}
	count := func(a engine.Address) {
		switch turn := in.Turn[a]; {
		case a.Group() != function:
		case turn == 0:
			n++
		default:
			turns[turn]++
			most = max(most, turns[turn])
		}
	}
	for a := range in.Second {
		count(a)
	}
	for a := range in.Old {
		count(a)
	}
	return n + most
}

func ratio(need, have float64) float64 {
	if have <= 0 {
		return 0
	}
	return need / have
}

// wantsMore returns the group that should have one machine more, or nil.
func (r *Result) wantsMore(in Input, machines map[engine.Address][]int) *engine.Address {
	for _, u := range r.Unplaced {
		f := in.Functions[r.state.function(u.Replica.Group())]
		for _, on := range f.On {
			for i := range in.Machines {
				m := &in.Machines[i]
				if m.Address == on && m.Count.Autoscaled && len(machines[on]) < m.Count.Max && r.state.fitsEmpty(f, *m) {
					return &m.Address
				}
			}
		}
	}
	r.Short = nil
	for i := range in.Machines {
		m := &in.Machines[i]
		if m.Headroom == 0 {
			continue
		}
		if have := r.state.free(m.Address, in.Functions); have < m.Headroom {
			if len(machines[m.Address]) < m.Count.Max {
				return &m.Address
			}
			r.Short = append(r.Short, Shortage{m.Address, m.Headroom, have})
		}
	}
	return nil
}

// Reserve takes room for one more replica of a function on a machine, for the
// time that an old and a new one run side by side. It reports whether there was
// room.
func (r *Result) Reserve(function, machine engine.Address) bool {
	m := r.state.machine(machine)
	fi := r.state.function(function)
	if m == nil || fi < 0 || m.closed != "" || !m.room(r.state.needs[fi]) {
		return false
	}
	m.take(r.state.needs[fi], fi, 0)
	return true
}

// Move puts a replica of a function from one machine onto another, if that takes it,
// and reports whether it does.
func (r *Result) Move(function, from, to engine.Address) bool {
	a, b, fi := r.state.machine(from), r.state.machine(to), r.state.function(function)
	if a == nil || b == nil || fi < 0 || r.state.takes(fi, b) != "" {
		return false
	}
	need := r.state.needs[fi]
	a.take(amount{-need.milli, -need.bytes, -need.slots}, fi, -1)
	b.take(need, fi, 1)
	return true
}

// Around is what of an input has to do with a group of machines: the functions that
// may run on it or that are bound to these or keep away from them, the machines that
// those may run on, and so forth. What becomes of it does not depend on the rest.
func (in Input) Around(group engine.Address) Input {
	near := []engine.Address{group} // few, so that comparing is quicker than hashing
	mine := make([]bool, len(in.Functions))
	for grew := true; grew; {
		grew = false
		for i := range in.Functions { // not copied: there may be many
			f := &in.Functions[i]
			if mine[i] || !touches(near, f.On, f.Colocate, f.Avoid) && !slices.Contains(near, f.Address) {
				continue
			}
			mine[i], grew = true, true
			near = append(near, f.Address)
			for _, others := range [][]engine.Address{f.On, f.Colocate, f.Avoid} {
				for _, a := range others {
					if !slices.Contains(near, a) {
						near = append(near, a)
					}
				}
			}
		}
	}
	part := Input{Replicas: map[engine.Address][]int{}, Have: in.Have, Was: map[engine.Address]engine.Address{}, Closed: in.Closed, Lost: in.Lost, Second: in.Second, Old: in.Old, Turn: in.Turn, Kept: in.Kept}
	for i := range in.Machines {
		if m := &in.Machines[i]; slices.Contains(near, m.Address) {
			part.Machines = append(part.Machines, *m)
		}
	}
	for i, yes := range mine {
		if !yes {
			continue
		}
		f := in.Functions[i]
		part.Functions = append(part.Functions, f)
		part.Replicas[f.Address] = in.Replicas[f.Address]
		for _, n := range in.Replicas[f.Address] {
			if m, ok := in.Was[f.Address.At(n)]; ok {
				part.Was[f.Address.At(n)] = m
			}
		}
	}
	return part
}

func touches(near []engine.Address, lists ...[]engine.Address) bool {
	for _, list := range lists {
		for _, a := range list {
			if slices.Contains(near, a) {
				return true
			}
		}
	}
	return false
}
