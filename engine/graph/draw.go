package graph

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dominikbraun/graph"
	"github.com/flowctl/flowctl/engine"
)

// Node is one resource, or one group of instances, in a drawing.
type Node struct {
	Address  engine.Address
	Phase    engine.Phase
	Action   engine.Action
	Count    int              // instances that the node stands for; 0 for one resource
	State    engine.StepState // of its task in the last run; meaningful with Ran
	Ran      bool
	Duration time.Duration
}

// Drawing is a graph of resources by phase. Edges lead from a resource to those
// that need it.
type Drawing struct {
	Nodes []Node // sorted by phase, then address
	Edges [][2]engine.Address
}

// Draw makes a drawing of a plan. With groups, instances become one node.
// tasks, the last run's, may be nil.
func Draw(p engine.Plan, tasks []engine.TaskInfo, groups bool) Drawing {
	d := drawer{groups: groups, nodes: map[engine.Address]*Node{}, g: graph.New(engine.Address.String, graph.Directed())}
	last := map[engine.Address]engine.TaskInfo{}
	for _, t := range tasks {
		last[t.Step.Address] = t
	}
	for i := range p.Changes {
		d.node(&p.Changes[i], last)
	}
	members := map[engine.Address][]engine.Address{}
	for _, c := range p.Changes {
		members[c.Address.Group()] = append(members[c.Address.Group()], c.Address)
	}
	for i := range p.Changes {
		d.edges(&p.Changes[i], members)
	}
	return d.drawing()
}

// drawer is a drawing in the making; the graph drops edges that occur twice.
type drawer struct {
	groups bool
	nodes  map[engine.Address]*Node
	g      graph.Graph[string, engine.Address]
}

func (d *drawer) name(a engine.Address) engine.Address {
	if d.groups {
		return a.Group()
	}
	return a
}

func (d *drawer) node(c *engine.Change, last map[engine.Address]engine.TaskInfo) {
	a := d.name(c.Address)
	n := d.nodes[a]
	if n == nil {
		n = &Node{Address: a, Phase: c.Phase, Action: c.Action}
		d.nodes[a] = n
		_ = d.g.AddVertex(a)
	}
	if d.groups && a != c.Address {
		n.Count++
	}
	if n.Action != c.Action && c.Action != engine.NoOp && (n.Action == engine.NoOp || c.Action > n.Action) {
		n.Action = c.Action
	}
	t, ok := last[c.Address]
	if !ok {
		return
	}
	if !n.Ran || worse(t.State, n.State) {
		n.State = t.State
	}
	n.Ran = true
	if k := len(t.Attempts); k > 0 && !t.Attempts[k-1].Ended.IsZero() {
		n.Duration = max(n.Duration, t.Attempts[k-1].Ended.Sub(t.Attempts[0].Started))
	}
}

// worse orders states for a node that stands for several tasks.
func worse(a, b engine.StepState) bool {
	rank := func(s engine.StepState) int {
		return slices.Index([]engine.StepState{engine.Done, engine.Pending, engine.Running, engine.Retrying, engine.Cancelled, engine.UpstreamFailed, engine.Failed}, s)
	}
	return rank(a) > rank(b)
}

func (d *drawer) edges(c *engine.Change, members map[engine.Address][]engine.Address) {
	to := d.name(c.Address)
	add := func(from engine.Address) {
		if f := d.name(from); f != to {
			_ = d.g.AddEdge(f.String(), to.String()) // refused when it is there already
		}
	}
	if c.Action == engine.Delete && c.Prior != nil {
		for _, a := range c.Prior.Needs {
			for _, m := range expand(members, a) {
				add(m)
			}
		}
		return
	}
	for _, n := range c.Needs {
		if n.Kind == engine.Member {
			continue // its backends show it
		}
		for _, m := range expand(members, n.Target) {
			add(m)
		}
	}
}

func expand(members map[engine.Address][]engine.Address, a engine.Address) []engine.Address {
	if ms, ok := members[a]; ok {
		return ms
	}
	return []engine.Address{a}
}

func (d *drawer) drawing() Drawing {
	var out Drawing
	for _, n := range d.nodes {
		out.Nodes = append(out.Nodes, *n)
	}
	slices.SortFunc(out.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Phase, b.Phase), a.Address.Compare(b.Address))
	})
	edges, err := d.g.Edges()
	if err != nil {
		panic("bug: " + err.Error())
	}
	for _, e := range edges {
		from, ferr := d.g.Vertex(e.Source)
		to, terr := d.g.Vertex(e.Target)
		if ferr == nil && terr == nil {
			out.Edges = append(out.Edges, [2]engine.Address{from, to})
		}
	}
	slices.SortFunc(out.Edges, func(a, b [2]engine.Address) int { return cmp.Or(a[0].Compare(b[0]), a[1].Compare(b[1])) })
	return out
}

// Label is what a node is called in a drawing.
func (n Node) Label() string {
	text := n.Address.String()
	if n.Count > 1 {
		text += fmt.Sprintf(" ×%d", n.Count)
	}
	if n.Action != engine.NoOp {
		text += "\n" + n.Action.String()
	}
	if n.Ran {
		text += "\n" + n.State.String()
		if n.Duration > 0 {
			text += " " + n.Duration.Round(time.Millisecond).String()
		}
	}
	return text
}

// Colour is the fill of a node: by its state in the last run if it changes
// nothing, else by what will happen to it.
func (n Node) Colour() string {
	switch {
	case n.Action == engine.Create:
		return "#d5f0d5"
	case n.Action == engine.Update || n.Action == engine.Run:
		return "#fdf1c7"
	case n.Action == engine.Replace:
		return "#fbdcc0"
	case n.Action == engine.Delete:
		return "#f6cfcf"
	case n.Ran && n.State == engine.Failed:
		return "#f6cfcf"
	case n.Ran && n.State != engine.Done:
		return "#e4e4e4"
	default:
		return "#ffffff"
	}
}

// DOT writes a drawing for Graphviz, with one cluster for each phase.
func (d Drawing) DOT(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %q {\n  rankdir = LR\n  fontname = \"sans-serif\"\n  node [shape = box, style = \"rounded,filled\", fillcolor = white, fontname = \"sans-serif\", fontsize = 11]\n  edge [color = \"#777777\"]\n", name)
	for _, ph := range engine.Phases {
		nodes := d.of(ph)
		if len(nodes) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n  subgraph \"cluster_%s\" {\n    label = %q\n    color = \"#bbbbbb\"\n", ph, ph)
		for _, n := range nodes {
			fmt.Fprintf(&b, "    %s [label = %s, fillcolor = %q]\n", dotQuote(n.Address.String()), dotQuote(n.Label()), n.Colour())
		}
		b.WriteString("  }\n")
	}
	if len(d.Edges) > 0 {
		b.WriteByte('\n')
	}
	for _, e := range d.Edges {
		fmt.Fprintf(&b, "  %s -> %s\n", dotQuote(e[0].String()), dotQuote(e[1].String()))
	}
	b.WriteString("}\n")
	return b.String()
}

func (d Drawing) of(ph engine.Phase) []Node {
	var nodes []Node
	for _, n := range d.Nodes {
		if n.Phase == ph {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// dotQuote writes a DOT string: only quotes and backslashes need escaping there,
// and line breaks are \n.
func dotQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// Mermaid writes a drawing as a Mermaid flowchart.
func (d Drawing) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	ids := map[engine.Address]string{}
	for i, n := range d.Nodes {
		ids[n.Address] = fmt.Sprintf("n%d", i)
	}
	for _, ph := range engine.Phases {
		nodes := d.of(ph)
		if len(nodes) == 0 {
			continue
		}
		fmt.Fprintf(&b, "  subgraph %s\n", ph)
		for _, n := range nodes {
			label := strings.NewReplacer(`"`, "#quot;", "\n", "<br>").Replace(n.Label())
			fmt.Fprintf(&b, "    %s[\"%s\"]\n", ids[n.Address], label)
		}
		b.WriteString("  end\n")
	}
	for _, e := range d.Edges {
		fmt.Fprintf(&b, "  %s --> %s\n", ids[e[0]], ids[e[1]])
	}
	for _, n := range d.Nodes {
		if c := n.Colour(); c != "#ffffff" {
			fmt.Fprintf(&b, "  style %s fill:%s\n", ids[n.Address], c)
		}
	}
	return b.String()
}
