package place

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/flowctl/flowctl/engine"
)

// item is one replica to be placed.
type item struct {
	fn, n int
	was   engine.Address
	why   string // it cannot stay
}

// pack places all replicas on a given number of machines.
func pack(in Input, machines map[engine.Address][]int) Result {
	s := newState(in, machines)
	r := Result{state: s}
	var movers, seconds, turns []item
	for i, f := range in.Functions {
		for _, n := range in.Replicas[f.Address] {
			replica := f.Address.At(n)
			was, exists := in.Was[replica]
			if !exists {
				movers = append(movers, item{fn: i, n: n})
				continue
			}
			b := s.byAddr[was]
			if b == nil {
				movers = append(movers, item{i, n, was, "its machine goes away"})
				continue
			}
			why := s.allowed(i, b)
			if why == "" && in.Lost[replica] {
				why = b.closed
			}
			if why != "" {
				movers = append(movers, item{i, n, was, why})
				continue
			}
			if in.Second[replica] {
				b.hold(s.needs[i], i)
				if in.Turn[replica] > 0 {
					turns = append(turns, item{i, n, was, ""})
					continue
				}
				seconds = append(seconds, item{i, n, was, "there is no room beside it"})
				continue
			}
			b.take(s.needs[i], i, 1)
			s.placed[i]++
			r.Placings = append(r.Placings, engine.Placing{Replica: replica, Machine: was, Was: was})
		}
	}
	s.holdOld()
	s.settle(movers, &r)
	s.settle(s.beside(seconds, &r), &r)
	s.takeTurns(turns, &r)
	slices.SortFunc(r.Placings, func(a, b engine.Placing) int { return a.Replica.Compare(b.Replica) })
	slices.SortFunc(r.Unplaced, func(a, b Unplaced) int { return a.Replica.Compare(b.Replica) })
	return r
}

// settle places replicas, the hardest to place first.
func (s *state) settle(movers []item, r *Result) {
	in := s.in
	s.sortBySize(movers)
	for _, it := range movers {
		replica := in.Functions[it.fn].Address.At(it.n)
		b, why := s.choose(it.fn)
		if was := s.byAddr[it.was]; b == nil && in.Lost[replica] && was != nil && s.allowed(it.fn, was) == "" {
			b, it.why = was, "" // it waits for its machine
		}
		s.placed[it.fn]++
		if b == nil {
			r.Unplaced = append(r.Unplaced, Unplaced{replica, s.whyNot(it.fn)})
			continue
		}
		b.take(s.needs[it.fn], it.fn, 1)
		if it.why != "" {
			why = it.why
		}
		r.Placings = append(r.Placings, engine.Placing{Replica: replica, Machine: b.addr, Was: it.was, Why: why})
	}
}

// holdOld takes room for replicas of an earlier revision that stay for now.
func (s *state) holdOld() {
	for replica, machine := range s.in.Old {
		if b, i := s.byAddr[machine], s.function(replica.Group()); b != nil && i >= 0 {
			b.hold(s.needs[i], i)
		}
	}
}

// beside places second replicas where the first ones are, and returns those that find
// no room there.
func (s *state) beside(seconds []item, r *Result) (rest []item) {
	for _, it := range seconds {
		b := s.byAddr[it.was]
		if s.takes(it.fn, b) != "" {
			rest = append(rest, it)
			continue
		}
		b.take(s.needs[it.fn], it.fn, 1)
		s.placed[it.fn]++
		r.Placings = append(r.Placings, engine.Placing{Replica: s.in.Functions[it.fn].Address.At(it.n), Machine: it.was, Was: it.was})
	}
	return rest
}

// sortBySize puts the replicas that are hardest to place first, and colocated
// functions next to each other.
func (s *state) sortBySize(items []item) {
	share := make([]float64, len(s.needs))
	for i, n := range s.needs {
		var most amount // of the machines that it may be on
		for _, on := range s.in.Functions[i].On {
			for _, b := range s.onGroup[on] {
				most.milli, most.bytes = max(most.milli, b.size.milli), max(most.bytes, b.size.bytes)
			}
		}
		share[i] = max(ratio(float64(n.milli), float64(most.milli)), ratio(float64(n.bytes), float64(most.bytes)))
	}
	team := make([]float64, len(s.needs)) // the largest share among the colocated
	for i := range share {
		team[i] = share[i]
		for _, p := range s.partners[i] {
			team[i] = max(team[i], share[p])
		}
	}
	slices.SortStableFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(team[b.fn], team[a.fn]), cmp.Compare(a.n, b.n), cmp.Compare(share[b.fn], share[a.fn]), cmp.Compare(a.fn, b.fn))
	})
}

// score says how good a machine is for a replica; greater is better, from the
// first difference on.
type score struct {
	unit    int // its colocated functions fit, too
	partner int // colocated replicas that wait for one of this function
	spread  int // replicas of this function there, negative
	fill    float64
}

func (s score) better(t score) bool {
	return cmp.Or(cmp.Compare(s.unit, t.unit), cmp.Compare(s.partner, t.partner), cmp.Compare(s.spread, t.spread), cmp.Compare(s.fill, t.fill)) > 0
}

// choose picks the best machine for a replica of function i, nil if none has
// room, and says why it was picked.
func (s *state) choose(i int) (*box, string) {
	var best *box
	var top score
	for _, on := range s.in.Functions[i].On {
		for _, b := range s.onGroup[on] {
			if s.takes(i, b) != "" {
				continue
			}
			if sc := s.score(i, b); best == nil || sc.better(top) {
				best, top = b, sc
			}
		}
	}
	switch {
	case best == nil:
		return nil, ""
	case len(s.partners[i]) > 0 && top.partner > 0:
		return best, "colocated"
	case s.in.Functions[i].Spread:
		return best, "spread"
	default:
		return best, "best fit"
	}
}

func (s *state) score(i int, b *box) score {
	sc := score{fill: b.fill()}
	if s.in.Functions[i].Spread {
		sc.spread = -b.count[i]
	}
	if len(s.partners[i]) == 0 {
		return sc
	}
	rest := *b
	rest.used.milli += s.needs[i].milli
	rest.used.bytes += s.needs[i].bytes
	rest.used.slots++
	sc.unit = 1
	for _, p := range s.partners[i] {
		if surplus := b.count[p] - b.count[i]; surplus > 0 {
			sc.partner += surplus
			continue
		}
		if s.placed[p] >= s.wanted[p] {
			continue // it will not send another
		}
		if !rest.room(s.needs[p]) {
			sc.unit = 0
		}
		rest.used.milli += s.needs[p].milli
		rest.used.bytes += s.needs[p].bytes
		rest.used.slots++
	}
	if sc.partner > 0 {
		sc.unit = 1
	}
	return sc
}

// whyNot says why no machine takes a replica of function i.
func (s *state) whyNot(i int) string {
	f := s.in.Functions[i]
	machines, counts := 0, map[string]int{}
	for _, on := range f.On {
		for _, b := range s.onGroup[on] {
			machines++
			counts[s.takes(i, b)]++
		}
	}
	if machines == 0 {
		return "there are no machines"
	}
	text := fmt.Sprintf("none of %d machines can take it", machines)
	for _, why := range slices.Sorted(maps.Keys(counts)) {
		text += fmt.Sprintf("; %d: %s", counts[why], why)
	}
	return text
}
