package main

import (
	"context"
	"fmt"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/graph"
	"github.com/flowctl/flowctl/runtime"
	"github.com/spf13/cobra"
)

// manyNodes is from how many resources on a drawing shows groups rather than
// instances, unless told otherwise.
const manyNodes = 200

func (a *app) graphCommand() *cobra.Command {
	var f args.Flow
	var format string
	var groups, instances, refresh bool
	c := &cobra.Command{
		Use: "graph [PATH]", Short: "Draw the DAG of a flow", Args: cobra.MaximumNArgs(1),
		Long: "Writes the graph of a flow's resources for Graphviz, with a cluster for each phase;\nan edge leads from a resource to those that need it. What a plan would do is in the\ncolours; after an apply each node says how its task ended and how long it took.\n\n  flowctl graph examples/two-tier.hcl | dot -Tsvg > two-tier.svg",
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = path(argv)
			s, err := a.readSpec(f, false)
			if err != nil {
				return err
			}
			defer s.close()
			d, err := s.draw(cmd.Context(), refresh, func(p engine.Plan) bool { return !instances && (groups || len(p.Changes) > manyNodes) })
			if err != nil {
				return err
			}
			switch format {
			case "dot":
				fmt.Fprint(a.out, d.DOT(s.desired.Flow))
			case "mermaid":
				fmt.Fprint(a.out, d.Mermaid())
			case "json":
				a.writeJSON(view.GraphJSON(d))
			default:
				return args.Usagef("-format is dot, mermaid or json, not %q", format)
			}
			return nil
		},
	}
	f.Register(c.Flags(), true)
	c.Flags().StringVar(&format, "format", "dot", "dot, mermaid or json")
	c.Flags().BoolVar(&groups, "groups", false, fmt.Sprintf("one node for all instances of a group (the default from %d resources on)", manyNodes))
	c.Flags().BoolVar(&instances, "instances", false, "one node for each instance")
	c.Flags().BoolVar(&refresh, "refresh", false, "look at the world first")
	return c
}

// draw makes the drawing of what a plan would do now, with what the last run has
// done.
func (s *session) draw(ctx context.Context, refresh bool, groups func(engine.Plan) bool) (graph.Drawing, error) {
	if err := s.open(ctx, false); err != nil {
		return graph.Drawing{}, err
	}
	p, diags, err := s.flow.Plan(ctx, runtime.Request{Desired: s.desired, NoRefresh: !refresh})
	if err != nil {
		return graph.Drawing{}, err
	}
	s.show(append(s.diags, diags...))
	var tasks []engine.TaskInfo
	if s.store != nil {
		runs, err := s.store.Runs(ctx, 0)
		if err != nil {
			return graph.Drawing{}, err
		}
		for i := len(runs) - 1; i >= 0; i-- { // later ones win
			some, err := s.store.Tasks(ctx, runs[i].ID)
			if err != nil {
				return graph.Drawing{}, err
			}
			tasks = append(tasks, some...)
		}
	}
	return graph.Draw(p.Plan, tasks, groups(p.Plan)), nil
}
