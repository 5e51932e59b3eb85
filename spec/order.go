package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dominikbraun/graph"
	"github.com/flowctl/flowctl/engine"
)

// order sorts the declarations so that each comes after those that it needs,
// otherwise in the order of their addresses, and reports cycles.
func (l *loader) order() {
	decls := l.desired.Decls
	slices.SortFunc(decls, func(a, b engine.Decl) int { return a.Address.Compare(b.Address) })
	at := make(map[engine.Address]int, len(decls))
	for i, d := range decls {
		at[d.Address] = i
	}
	edges := l.edges(decls, at)
	sorted := topological(edges)
	if len(sorted) < len(decls) {
		l.reportCycles(decls, edges)
		return
	}
	l.promoteServing(decls, edges, at)
	out := make([]engine.Decl, len(decls))
	for i, d := range sorted {
		out[i] = decls[d]
	}
	l.desired.Decls = out
}

// edge leads from a declaration to one that it needs.
type edge struct {
	to     int
	source engine.Range
}

// edges lists, for each declaration, what must be planned before it: its needs,
// and for a function its machines.
func (l *loader) edges(decls []engine.Decl, at map[engine.Address]int) [][]edge {
	edges := make([][]edge, len(decls))
	for i, d := range decls {
		for _, n := range d.Needs {
			if n.Kind != engine.Member {
				edges[i] = append(edges[i], edge{at[n.Target.Group()], n.Source})
			}
		}
	}
	for _, f := range l.desired.Functions {
		from := at[f.Address]
		source := rangeOf(attrRange(l.groups[f.Address].block, "on"))
		for _, on := range f.On {
			edges[from] = append(edges[from], edge{at[on], source})
		}
	}
	return edges
}

// topological sorts by counting open edges, always taking the smallest number
// that is free; what is on a cycle is left out. O(V+E) but for the heap.
func topological(edges [][]edge) []int {
	open := make([]int, len(edges))
	users := make([][]int, len(edges))
	for from, es := range edges {
		open[from] = len(es)
		for _, e := range es {
			users[e.to] = append(users[e.to], from)
		}
	}
	var level, sorted []int
	for i, n := range open {
		if n == 0 {
			level = append(level, i)
		}
	}
	for len(level) > 0 {
		var next []int
		for _, i := range level {
			sorted = append(sorted, i)
			for _, u := range users[i] {
				if open[u]--; open[u] == 0 {
					next = append(next, u)
				}
			}
		}
		slices.Sort(next)
		level = next
	}
	return sorted
}

// reportCycles names each cycle with the source of every edge on it.
func (l *loader) reportCycles(decls []engine.Decl, edges [][]edge) {
	g := graph.New(func(i int) int { return i }, graph.Directed())
	for i := range decls {
		_ = g.AddVertex(i)
	}
	for from, es := range edges {
		for _, e := range es {
			_ = g.AddEdge(from, e.to) // a second edge between the same two is refused, which is as well
		}
	}
	components, err := graph.StronglyConnectedComponents(g)
	if err != nil {
		panic("bug: " + err.Error())
	}
	for _, c := range components {
		slices.Sort(c)
	}
	slices.SortFunc(components, slices.Compare)
	for _, c := range components {
		if len(c) > 1 {
			l.reportCycle(decls, edges, c)
		}
	}
}

// reportCycle finds a shortest way from the first member of a component back to
// itself.
func (l *loader) reportCycle(decls []engine.Decl, edges [][]edge, members []int) {
	in := map[int]bool{}
	for _, m := range members {
		in[m] = true
	}
	start := members[0]
	came := map[int]struct {
		from int
		e    edge
	}{}
	queue := []int{start}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		for _, e := range edges[v] {
			if _, seen := came[e.to]; seen || !in[e.to] {
				continue
			}
			came[e.to] = struct {
				from int
				e    edge
			}{v, e}
			if e.to == start {
				queue = nil
				break
			}
			queue = append(queue, e.to)
		}
	}
	var lines []string
	for v := start; ; {
		c := came[v]
		lines = append(lines, fmt.Sprintf("  %s needs %s (%s)", decls[c.from].Address, decls[v].Address, c.e.source))
		if v = c.from; v == start {
			break
		}
	}
	slices.Reverse(lines)
	source := came[start].e.source
	l.diags = append(l.diags, engine.Diagnostic{
		Summary: "Dependency cycle",
		Detail:  "These blocks wait for each other, so none could ever be made:\n" + strings.Join(lines, "\n") + "\nRemove one of these references.",
		Source:  &source,
	})
}

// promoteServing makes a need of a frontend wait for its backends, too, unless
// one of these (by way of its function) waits for the one that has the need.
func (l *loader) promoteServing(decls []engine.Decl, edges [][]edge, at map[engine.Address]int) {
	members := map[int][]int{}
	for i, d := range decls {
		for _, n := range d.Needs {
			if n.Kind == engine.Member {
				members[i] = append(members[i], at[n.Target])
			}
		}
	}
	for i := range decls {
		for j := range decls[i].Needs {
			n := &decls[i].Needs[j]
			if n.Target.Kind != engine.KindFrontend || n.Kind != engine.Made {
				continue
			}
			front := at[n.Target]
			if decls[i].Address.Kind == engine.KindFrontend || reaches(edges, members[front], i) {
				continue
			}
			n.Kind = engine.Serving
			for _, m := range members[front] {
				edges[i] = append(edges[i], edge{m, n.Source})
			}
		}
	}
}

// reaches reports whether one of the starts is or needs goal.
func reaches(edges [][]edge, starts []int, goal int) bool {
	seen := map[int]bool{}
	stack := slices.Clone(starts)
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if v == goal {
			return true
		}
		if seen[v] {
			continue
		}
		seen[v] = true
		for _, e := range edges[v] {
			stack = append(stack, e.to)
		}
	}
	return false
}
