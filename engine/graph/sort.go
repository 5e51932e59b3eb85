package graph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dominikbraun/graph"
	"github.com/flowctl/flowctl/engine"
)

// soften adds the soft edges, but for those that close a circle: where adding all
// of them does, those among the steps of one circle are left out again.
func (b *builder) soften() {
	if len(b.soft) == 0 {
		return
	}
	for _, e := range b.soft {
		b.edge(e.from, e.need)
	}
	if b.acyclic() {
		return
	}
	circle := b.circles()
	hard := make([][]int, len(b.steps))
	for i := range b.steps {
		hard[i] = b.steps[i].Needs
	}
	soft := map[softEdge]int{}
	for _, e := range b.soft {
		if circle[e.from] == circle[e.need] {
			soft[e]++
		}
	}
	for i := range b.steps {
		b.steps[i].Needs = slices.DeleteFunc(hard[i], func(need int) bool {
			e := softEdge{i, need}
			if soft[e] == 0 {
				return false
			}
			soft[e]-- // the same edge may be there as a hard one, too
			return true
		})
	}
}

// acyclic reports whether counting open needs comes to an end.
func (b *builder) acyclic() bool {
	open := make([]int, len(b.steps))
	users := make([][]int, len(b.steps))
	var free []int
	for i := range b.steps {
		open[i] = len(b.steps[i].Needs)
		for _, n := range b.steps[i].Needs {
			users[n] = append(users[n], i)
		}
		if open[i] == 0 {
			free = append(free, i)
		}
	}
	done := 0
	for ; len(free) > 0; done++ {
		v := free[len(free)-1]
		free = free[:len(free)-1]
		for _, u := range users[v] {
			if open[u]--; open[u] == 0 {
				free = append(free, u)
			}
		}
	}
	return done == len(b.steps)
}

// circles gives each step the number of its strongly connected component. The
// vertices count from 1: the library takes the zero value of a vertex for the
// end of a component (v0.23.0, findSCC), and so would lose it.
func (b *builder) circles() []int {
	g := graph.New(graph.IntHash, graph.Directed())
	for i := range b.steps {
		_ = g.AddVertex(i + 1)
	}
	for i := range b.steps {
		for _, n := range b.steps[i].Needs {
			_ = g.AddEdge(i+1, n+1) // a second edge between the same two is refused, which is as well
		}
	}
	components, err := graph.StronglyConnectedComponents(g)
	if err != nil {
		panic("bug: " + err.Error())
	}
	of := make([]int, len(b.steps))
	for n, c := range components {
		for _, v := range c {
			of[v-1] = n
		}
	}
	return of
}

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
