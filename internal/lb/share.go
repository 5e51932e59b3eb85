package lb

import "sync/atomic"

// shared is a view in two parts: those with a share of their own, and the rest.
type shared struct {
	some, rest *view
	percent    int
	turn       *atomic.Uint32
}

// choose chooses with balance: within the part whose turn it is, if the view has
// parts, or else the other one.
func (v *view) choose(balance balancer, q *query) *backend {
	s := v.shared
	if s == nil {
		return balance(v, q)
	}
	n := uint64(s.turn.Add(1) - 1)
	if q.hasKey {
		n = mix(q.key + 2) // the same client, the same part
	}
	first, second := s.rest, s.some
	if before := n % 100 * uint64(s.percent) / 100; before != (n%100+1)*uint64(s.percent)/100 {
		first, second = second, first
	}
	if b := balance(first, q); b != nil {
		return b
	}
	return balance(second, q)
}

// split makes the parts of a view whose candidates differ in share.
func (p *pool) split(v *view, of string) *view {
	var some, rest []candidate
	percent := 0
	for _, c := range v.candidates {
		if c.b.share > 0 {
			some = append(some, c)
			percent = max(percent, c.b.share)
		} else {
			rest = append(rest, c)
		}
	}
	if len(some) > 0 && len(rest) > 0 {
		v.shared = &shared{
			some: newView(some, p.turn("some of "+of)), rest: newView(rest, p.turn("rest of "+of)),
			percent: percent, turn: p.turn("parts of " + of),
		}
	}
	return v
}
