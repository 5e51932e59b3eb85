package elastic

import "slices"

// oracles returns the unit-seconds that whoever knows the future pays, and the
// share of time in which whoever does not, but orders at the first need, misses
// units. Needs beyond Max cost nothing and are missed by everybody.
//
// The cost separates by level: the k-th unit is needed while the need is k or
// more. It is kept over a gap that is no longer than what a start costs, else
// stopped and started again, which is optimal for a cost that is linear.
func (s Series) oracles() (cost, missed float64) {
	if len(s.Need) == 0 {
		return 0, 0
	}
	top := min(slices.Max(s.Need), s.Max)
	boot := int(s.Boot/s.Step + 0.5)
	late := make([]int, len(s.Need)+1) // +1 where a start begins, -1 where it is ready
	total := 0.0
	for k := 1; k <= top; k++ {
		total += s.level(k, func(start, end int) {
			if start > 0 || !s.Warm {
				late[start]++
				late[min(start+boot, end)]--
			}
		})
	}
	lacking, steps := 0, 0
	for _, d := range late[:len(s.Need)] {
		if lacking += d; lacking > 0 {
			steps++
		}
	}
	return total, 100 * float64(steps) / float64(len(s.Need))
}

// level is the cost of the k-th unit. It tells of each stretch for which the
// unit is started.
func (s Series) level(k int, started func(start, end int)) float64 {
	cost, start, last := 0.0, -1, -1 // of the stretch under way
	for i, need := range s.Need {
		if need < k {
			continue
		}
		gap := float64(i-last-1) * s.Step
		switch {
		case last < 0:
			start = i
			if i > 0 || !s.Warm {
				cost += s.Over
			}
		case gap > s.Over:
			started(start, last+1)
			start, cost = i, cost+s.Over
		default:
			cost += gap
		}
		cost += s.Step
		last = i
	}
	if last >= 0 {
		started(start, last+1)
	}
	return cost
}
