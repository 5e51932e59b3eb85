package decide

import (
	"cmp"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine/rule"
)

// Unit is one replica that may have to go.
type Unit struct {
	N        int // its number
	Started  time.Time
	Ready    bool
	InFlight int     // requests or jobs that it works on
	Load     float64 // how busy it is, by any measure that is the same for all
}

// Victims picks the replicas that go when n must, in that order. Those that do
// not run go first. It returns fewer where busy ones are protected: they go when
// they are done.
func Victims(r rule.Rule, units []Unit, n int) []int {
	units = slices.Clone(units)
	if r.Protect {
		units = slices.DeleteFunc(units, func(u Unit) bool { return u.InFlight > 0 })
	}
	newest := func(a, b Unit) int { return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(b.N, a.N)) }
	busy := func(a, b Unit) int { return cmp.Or(cmp.Compare(a.InFlight, b.InFlight), cmp.Compare(a.Load, b.Load)) }
	slices.SortFunc(units, func(a, b Unit) int {
		if a.Ready != b.Ready {
			if b.Ready {
				return -1
			}
			return 1
		}
		switch r.Victim {
		case "oldest":
			return newest(b, a)
		case "idle":
			return cmp.Or(cmp.Compare(min(a.InFlight, 1), min(b.InFlight, 1)), newest(a, b))
		case "least_busy":
			return cmp.Or(busy(a, b), newest(a, b))
		default:
			return newest(a, b)
		}
	})
	gone := []int{}
	for _, u := range units[:max(0, min(n, len(units)))] {
		gone = append(gone, u.N)
	}
	return gone
}
