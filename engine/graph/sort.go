package graph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
)

// sorted numbers the steps in topological order, by counting open needs; among
// those that are free, the one made first comes first.
func (b *builder) sorted() ([]engine.Step, error) {
	n := len(b.steps)
	open := make([]int, n)
	users := make([][]int, n)
	for i := range b.steps {
		s := &b.steps[i]
		slices.Sort(s.Needs)
		s.Needs = slices.Compact(s.Needs)
		open[i] = len(s.Needs)
		for _, need := range s.Needs {
			users[need] = append(users[need], i)
		}
	}
	var level, order []int
	for i := range n {
		if open[i] == 0 {
			level = append(level, i)
		}
	}
	for len(level) > 0 {
		var next []int
		for _, i := range level {
			order = append(order, i)
			for _, u := range users[i] {
				if open[u]--; open[u] == 0 {
					next = append(next, u)
				}
			}
		}
		slices.Sort(next)
		level = next
	}
	if len(order) < n {
		return nil, fmt.Errorf("the plan's steps wait for each other: %s", b.stuck(open))
	}
	place := make([]int, n)
	for at, i := range order {
		place[i] = at
	}
	out := make([]engine.Step, n)
	for at, i := range order {
		s := b.steps[i]
		s.ID = at
		needs := make([]int, len(s.Needs))
		for j, need := range s.Needs {
			needs[j] = place[need]
		}
		slices.Sort(needs)
		s.Needs = needs
		out[at] = s
	}
	return out, nil
}

// stuck names the steps that are on a cycle or behind one.
func (b *builder) stuck(open []int) string {
	var names []string
	for i, n := range open {
		if n > 0 {
			var needs []string
			for _, need := range b.steps[i].Needs {
				if open[need] > 0 {
					needs = append(needs, fmt.Sprintf("%s #%d", b.steps[need].Name(), b.steps[need].Gen))
				}
			}
			names = append(names, fmt.Sprintf("%s #%d needs %s", b.steps[i].Name(), b.steps[i].Gen, strings.Join(needs, " and ")))
		}
	}
	return strings.Join(names, "; ")
}
