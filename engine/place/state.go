package place

import (
	"fmt"
	"math"
	"slices"

	"github.com/flowctl/flowctl/engine"
)

// amount is a capacity in whole units, so that sums are exact.
type amount struct {
	milli, bytes, slots int64
}

func amountOf(c engine.Capacity) amount {
	return amount{int64(math.Round(c.CPU * 1000)), int64(c.Memory), int64(c.Slots)}
}

// box is one machine while it is filled.
type box struct {
	addr, group engine.Address
	size, used  amount // a size of 0 means no limit
	closed      string // why it takes no further replica; "" if it does
	count       map[int]int
	total       int
	old         map[int]bool // functions of which one stays there until another has taken over
}

func (b *box) room(need amount) bool {
	fits := func(size, used, need int64) bool { return size == 0 || used+need <= size }
	return fits(b.size.milli, b.used.milli, need.milli) &&
		fits(b.size.bytes, b.used.bytes, need.bytes) &&
		fits(b.size.slots, b.used.slots, need.slots)
}

func (b *box) take(need amount, fn, n int) {
	b.used.milli += need.milli
	b.used.bytes += need.bytes
	b.used.slots += need.slots
	if b.count == nil {
		b.count = map[int]int{}
	}
	b.count[fn] += n
	b.total += n
}

// hold takes room for a replica that stays until another has taken over.
func (b *box) hold(need amount, fn int) {
	b.take(need, fn, 0)
	if b.old == nil {
		b.old = map[int]bool{}
	}
	b.old[fn] = true
}

// fill is how full the machine is in its scarcest dimension, from 0 to 1.
func (b *box) fill() float64 {
	share := func(size, used int64) float64 {
		if size == 0 {
			return 0
		}
		return float64(used) / float64(size)
	}
	return max(share(b.size.milli, b.used.milli), share(b.size.bytes, b.used.bytes), share(b.size.slots, b.used.slots))
}

// state is a packing under way.
type state struct {
	in       Input
	boxes    []*box // by group, then number
	byAddr   map[engine.Address]*box
	onGroup  map[engine.Address][]*box
	needs    []amount
	index    map[engine.Address]int // of functions
	partners [][]int                // colocated functions
	enemies  [][]int                // functions to avoid
	wanted   []int
	placed   []int
}

func newState(in Input, machines map[engine.Address][]int) *state {
	s := &state{
		in: in, byAddr: map[engine.Address]*box{}, onGroup: map[engine.Address][]*box{},
		index: map[engine.Address]int{}, placed: make([]int, len(in.Functions)),
		partners: make([][]int, len(in.Functions)), enemies: make([][]int, len(in.Functions)),
	}
	for _, m := range in.Machines {
		for _, i := range machines[m.Address] {
			addr := m.Address
			if addr.Kind.Sized() {
				addr = addr.At(i)
			}
			b := &box{addr: addr, group: m.Address, size: amountOf(m.Each), closed: in.Closed[addr]}
			s.boxes = append(s.boxes, b)
			s.byAddr[addr] = b
			s.onGroup[m.Address] = append(s.onGroup[m.Address], b)
		}
	}
	for i, f := range in.Functions {
		s.index[f.Address] = i
		need := amountOf(f.Each)
		need.slots = 1
		s.needs = append(s.needs, need)
		s.wanted = append(s.wanted, len(in.Replicas[f.Address]))
	}
	for i, f := range in.Functions {
		s.relate(s.partners, i, f.Colocate)
		s.relate(s.enemies, i, f.Avoid)
	}
	return s
}

// relate makes a relation hold both ways.
func (s *state) relate(rel [][]int, i int, others []engine.Address) {
	for _, a := range others {
		j, ok := s.index[a]
		if !ok || i == j {
			continue
		}
		if !slices.Contains(rel[i], j) {
			rel[i] = append(rel[i], j)
		}
		if !slices.Contains(rel[j], i) {
			rel[j] = append(rel[j], i)
		}
	}
}

func (s *state) function(a engine.Address) int {
	if i, ok := s.index[a]; ok {
		return i
	}
	return -1
}

func (s *state) machine(a engine.Address) *box { return s.byAddr[a] }

// allowed says why a replica of function i may not go to b, "" if it may.
func (s *state) allowed(i int, b *box) string {
	f := s.in.Functions[i]
	switch {
	case !slices.Contains(f.On, b.group):
		return "it does not run on this kind of machine"
	case f.MaxPerMachine > 0 && b.count[i] >= f.MaxPerMachine:
		return fmt.Sprintf("max_per_machine = %d is reached", f.MaxPerMachine)
	case !b.room(s.needs[i]):
		return "no room"
	}
	for _, e := range s.enemies[i] {
		if b.count[e] > 0 || b.old[e] {
			return fmt.Sprintf("it avoids %s, which is there", s.in.Functions[e].Address)
		}
	}
	return ""
}

// takes says why no further replica of function i may go to b, "" if it may.
func (s *state) takes(i int, b *box) string {
	if b.closed != "" {
		return b.closed
	}
	return s.allowed(i, b)
}

// fitsEmpty reports whether an empty machine of group m could take a replica.
func (s *state) fitsEmpty(f engine.FunctionGroup, m engine.MachineGroup) bool {
	b := box{size: amountOf(m.Each)}
	return b.room(s.needs[s.index[f.Address]])
}

// free counts the further replicas that a group could take, each as large as
// the largest function on it.
func (s *state) free(group engine.Address, functions []engine.FunctionGroup) int {
	need := amount{slots: 1}
	for i, f := range functions {
		if slices.Contains(f.On, group) {
			need.milli = max(need.milli, s.needs[i].milli)
			need.bytes = max(need.bytes, s.needs[i].bytes)
		}
	}
	total := 0
	for _, b := range s.onGroup[group] {
		if b.closed != "" {
			continue
		}
		n := math.MaxInt32
		per := func(size, used, need int64) {
			if size > 0 && need > 0 {
				n = min(n, int(max(0, size-used)/need))
			}
		}
		per(b.size.milli, b.used.milli, need.milli)
		per(b.size.bytes, b.used.bytes, need.bytes)
		per(b.size.slots, b.used.slots, need.slots)
		total = min(total+n, math.MaxInt32)
	}
	return total
}
