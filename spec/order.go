package spec

import (
	"slices"

	"github.com/flowctl/flowctl/engine"
)

// order sorts the declarations so that each comes after those that it needs,
// otherwise in the order of their addresses, and reports cycles.
func (l *loader) order() {
	decls := l.desired.Decls
	slices.SortFunc(decls, func(a, b engine.Decl) int { return a.Address.Compare(b.Address) })
	g := l.dependencies(decls)
	if len(g.sorted()) < len(decls) {
		l.reportCycles(decls, g)
		return
	}
	l.promoteServing(decls, g)
	out := make([]engine.Decl, len(decls))
	for i, d := range g.sorted() {
		out[i] = decls[d]
	}
	l.desired.Decls = out
}

// edge leads from a declaration to one that it needs.
type edge struct {
	to     int
	source engine.Range
}

// dependencies is the graph of what must be planned before what: edges by the
// number of the declaration that they start from.
type dependencies [][]edge

// dependencies lists, for each declaration, its needs, and for a function its
// machines.
func (l *loader) dependencies(decls []engine.Decl) dependencies {
	at := numbers(decls)
	g := make(dependencies, len(decls))
	for i, d := range decls {
		for _, n := range d.Needs {
			if to, ok := at[n.Target.Group()]; ok && n.Kind != engine.Member {
				g[i] = append(g[i], edge{to, n.Source})
			}
		}
	}
	for _, f := range l.desired.Functions {
		from := at[f.Address]
		source := rangeOf(l.groups[f.Address].block.attribute("on"))
		for _, on := range f.On {
			if to, ok := at[on]; ok {
				g[from] = append(g[from], edge{to, source})
			}
		}
	}
	return g
}

func numbers(decls []engine.Decl) map[engine.Address]int {
	at := make(map[engine.Address]int, len(decls))
	for i, d := range decls {
		at[d.Address] = i
	}
	return at
}

// sorted lists the declarations level by level, each after those that it needs,
// by counting open edges. What is on a cycle, or needs what is, is left out.
func (g dependencies) sorted() []int {
	open := make([]int, len(g))
	users := make([][]int, len(g))
	for from, edges := range g {
		open[from] = len(edges)
		for _, e := range edges {
			users[e.to] = append(users[e.to], from)
		}
	}
	var level []int
	for i, n := range open {
		if n == 0 {
			level = append(level, i)
		}
	}
	sorted := make([]int, 0, len(g))
	for len(level) > 0 {
		sorted = append(sorted, level...)
		var next []int
		for _, i := range level {
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

// components numbers the strongly connected components of g (Tarjan 1972, with
// a stack of its own, since a chain may be long): declarations that need each
// other, by whatever way, have the same number.
func (g dependencies) components() []int {
	type frame struct{ v, next int }
	number := make([]int, len(g)) // order of discovery, from 1
	low := make([]int, len(g))
	component := make([]int, len(g)) // from 1
	var stack []int
	found, count := 0, 0
	for root := range g {
		if number[root] != 0 {
			continue
		}
		frames := []frame{{v: root}}
		for len(frames) > 0 {
			f := &frames[len(frames)-1]
			v := f.v
			if f.next == 0 && number[v] == 0 {
				found++
				number[v], low[v] = found, found
				stack = append(stack, v)
			}
			if f.next < len(g[v]) {
				to := g[v][f.next].to
				f.next++
				switch {
				case number[to] == 0:
					frames = append(frames, frame{v: to})
				case component[to] == 0:
					low[v] = min(low[v], number[to])
				}
				continue
			}
			frames = frames[:len(frames)-1]
			if len(frames) > 0 {
				up := frames[len(frames)-1].v
				low[up] = min(low[up], low[v])
			}
			if low[v] == number[v] {
				count++
				for {
					w := stack[len(stack)-1]
					stack = stack[:len(stack)-1]
					component[w] = count
					if w == v {
						break
					}
				}
			}
		}
	}
	return component
}

// promoteServing makes a need of a frontend wait for its backends, too, unless
// these wait for the one that has the need, by whatever way. All needs of such
// a circle wait for the frontends alone, so that its functions start together.
func (l *loader) promoteServing(decls []engine.Decl, g dependencies) {
	at := numbers(decls)
	members := map[int][]int{}
	for i, d := range decls {
		for _, n := range d.Needs {
			if to, ok := at[n.Target]; ok && n.Kind == engine.Member {
				members[i] = append(members[i], to)
			}
		}
	}
	wanted := slices.Clone(g) // as if all waited for the backends
	eachFrontendNeed(decls, func(i int, n *engine.Need) {
		for _, m := range members[at[n.Target]] {
			wanted[i] = append(slices.Clip(wanted[i]), edge{m, n.Source})
		}
	})
	component := wanted.components()
	eachFrontendNeed(decls, func(i int, n *engine.Need) {
		if slices.ContainsFunc(members[at[n.Target]], func(m int) bool { return component[m] == component[i] }) {
			return
		}
		n.Kind = engine.Serving
		for _, m := range members[at[n.Target]] {
			g[i] = append(g[i], edge{m, n.Source})
		}
	})
}

// eachFrontendNeed calls f for each need of a frontend that another kind of
// block has.
func eachFrontendNeed(decls []engine.Decl, f func(decl int, n *engine.Need)) {
	for i := range decls {
		for j := range decls[i].Needs {
			n := &decls[i].Needs[j]
			if n.Target.Kind == engine.KindFrontend && n.Kind == engine.Made && decls[i].Address.Kind != engine.KindFrontend {
				f(i, n)
			}
		}
	}
}
