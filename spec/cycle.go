package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
)

// reportCycles names a shortest cycle of each knot of declarations that need
// each other, with the source of every edge on it.
func (l *loader) reportCycles(decls []engine.Decl, g dependencies) {
	members := map[int][]int{}
	component := g.components()
	for i, c := range component {
		members[c] = append(members[c], i)
	}
	for i, c := range component {
		if knot := members[c]; knot[0] == i && len(knot) > 1 {
			l.reportCycle(decls, g, component, i)
		}
	}
}

// maxCycle is how many lines of a cycle are shown.
const maxCycle = 12

func (l *loader) reportCycle(decls []engine.Decl, g dependencies, component []int, start int) {
	steps := g.shortestCycle(component, start)
	var lines []string
	for _, s := range steps {
		lines = append(lines, fmt.Sprintf("  %s needs %s (%s)", decls[s.from].Address, decls[s.edge.to].Address, s.edge.source))
	}
	if n := len(lines); n > maxCycle {
		lines = slices.Concat(lines[:maxCycle-2], []string{fmt.Sprintf("  … and so on, by way of %d more", n-maxCycle+1)}, lines[n-1:])
	}
	l.add(engine.Diagnostic{
		Summary: "Dependency cycle",
		Detail:  "These blocks wait for each other, so none could ever be made:\n" + strings.Join(lines, "\n") + "\nRemove one of these references.",
		Address: decls[start].Address,
		Source:  &steps[0].edge.source,
	})
}

// walk is one edge with its start.
type walk struct {
	from int
	edge edge
}

// shortestCycle finds a shortest way from a declaration back to itself, within
// its component.
func (g dependencies) shortestCycle(component []int, start int) []walk {
	came := map[int]walk{}
	queue := []int{start}
	for _, returned := came[start]; !returned; _, returned = came[start] {
		v := queue[0]
		queue = queue[1:]
		for _, e := range g[v] {
			if _, seen := came[e.to]; !seen && component[e.to] == component[start] {
				came[e.to] = walk{v, e}
				queue = append(queue, e.to)
			}
		}
	}
	var back []walk
	for w := came[start]; ; w = came[w.from] {
		back = append(back, w)
		if w.from == start {
			break
		}
	}
	slices.Reverse(back)
	return back
}
