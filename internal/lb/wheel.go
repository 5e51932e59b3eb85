package lb

import "slices"

// wheel lays out indices by weight so that each is spread evenly over one turn:
// nginx's smooth weighted round robin, computed ahead so that a turn of it needs
// no lock. Weights are relative, with two decimals.
func wheel(weights []float64) []int32 {
	steps := wholeWeights(weights)
	turn := 0
	for _, s := range steps {
		turn += s
	}
	order := make([]int32, 0, turn)
	if turn == len(steps) { // all alike
		for i := range steps {
			order = append(order, int32(i))
		}
		return order
	}
	current := make([]int, len(steps))
	for range turn {
		best := 0
		for i, s := range steps {
			if current[i] += s; current[i] > current[best] {
				best = i
			}
		}
		current[best] -= turn
		order = append(order, int32(best))
	}
	return order
}

// wheelWork bounds turn × candidates, the cost of a wheel.
const wheelWork = 1 << 22

// wholeWeights scales weights to small integers of at least 1.
func wholeWeights(weights []float64) []int {
	if len(weights) == 0 {
		return nil
	}
	steps := make([]int, len(weights))
	if slices.Min(weights) == slices.Max(weights) {
		for i := range steps {
			steps[i] = 1
		}
		return steps
	}
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	scale := 100.0 // the gcd takes it back when weights are whole
	if most := wheelWork / float64(len(weights)); sum*scale > most {
		scale = most / sum
	}
	for i, w := range weights {
		steps[i] = max(1, int(w*scale+0.5))
	}
	g := steps[0]
	for _, s := range steps[1:] {
		for s != 0 {
			g, s = s, g%s
		}
	}
	for i := range steps {
		steps[i] /= g
	}
	return steps
}
