package place

import (
	"cmp"
	"slices"

	"github.com/flowctl/flowctl/engine"
)

// turn is one replica that takes over in its turn.
type turn struct {
	at    int // which turn it is
	n     int // of the replica
	was   *box
	there bool // it has its place, and what it takes over from has another
}

// takeTurns places replicas that take over one turn after the other: what those of one
// turn take over from leaves before the next turn, and its room is free then.
func (s *state) takeTurns(items []item, r *Result) {
	if len(s.in.Turn) == 0 {
		return
	}
	turns := make([][]turn, len(s.needs))
	for _, it := range items {
		at := s.in.Turn[s.in.Functions[it.fn].Address.At(it.n)]
		turns[it.fn] = append(turns[it.fn], turn{at: at, n: it.n, was: s.byAddr[it.was]})
	}
	for replica, machine := range s.in.Old {
		n, _ := replica.Index()
		if i, at := s.function(replica.Group()), s.in.Turn[replica]; i >= 0 && at > 0 && s.byAddr[machine] != nil {
			turns[i] = append(turns[i], turn{at, n, s.byAddr[machine], true})
		}
	}
	for i, all := range turns {
		slices.SortFunc(all, func(a, b turn) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.n, b.n)) })
		s.takeTurnsOf(i, all, r)
	}
}

// takeTurnsOf places the replicas of function i. What room they leave in the meantime is
// not for others: these move at the same time.
func (s *state) takeTurnsOf(i int, all []turn, r *Result) {
	need := s.needs[i]
	more, most := map[*box]int{}, map[*box]int{} // replicas than before: now, and at the most crowded moment
	move := func(b *box, by int) {
		k := int64(by)
		b.take(amount{k * need.milli, k * need.bytes, k * need.slots}, i, 0)
		more[b] += by
		most[b] = max(most[b], more[b])
	}
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].at == all[0].at {
			n++
		}
		for _, t := range all[:n] {
			if t.there {
				continue
			}
			replica, b, why := s.in.Functions[i].Address.At(t.n), t.was, ""
			if s.takes(i, b) != "" {
				b, _ = s.choose(i)
				why = "there is no room beside it"
			}
			s.placed[i]++
			if b == nil {
				r.Unplaced = append(r.Unplaced, Unplaced{replica, s.whyNot(i)})
				continue
			}
			move(b, 1)
			b.take(amount{}, i, 1)
			r.Placings = append(r.Placings, engine.Placing{Replica: replica, Machine: b.addr, Was: t.was.addr, Why: why})
		}
		for _, t := range all[:n] {
			move(t.was, -1)
		}
		all = all[n:]
	}
	for b, n := range most {
		if rest := n - more[b]; rest > 0 {
			move(b, rest)
		}
	}
}
