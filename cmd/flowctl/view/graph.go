package view

import "github.com/flowctl/flowctl/engine/graph"

// JSONGraph is a drawing in JSON.
type JSONGraph struct {
	FormatVersion string      `json:"format_version"`
	Nodes         []JSONNode  `json:"nodes"`
	Edges         [][2]string `json:"edges"` // from what is needed to what needs it
}

// JSONNode is one resource of a drawing.
type JSONNode struct {
	Address   string  `json:"address"`
	Phase     string  `json:"phase"`
	Action    string  `json:"action"` // that a plan would take now
	Instances int     `json:"instances,omitempty"`
	State     string  `json:"state,omitempty"` // of its task in the last run that had one
	DurationS float64 `json:"duration_s,omitempty"`
}

// GraphJSON converts a drawing.
func GraphJSON(d graph.Drawing) JSONGraph {
	j := JSONGraph{FormatVersion: FormatVersion, Nodes: []JSONNode{}, Edges: [][2]string{}}
	for _, n := range d.Nodes {
		node := JSONNode{Address: n.Address.String(), Phase: n.Phase.String(), Action: n.Action.String(), Instances: n.Count, DurationS: n.Duration.Seconds()}
		if n.Ran {
			node.State = n.State.String()
		}
		j.Nodes = append(j.Nodes, node)
	}
	for _, e := range d.Edges {
		j.Edges = append(j.Edges, [2]string{e[0].String(), e[1].String()})
	}
	return j
}
