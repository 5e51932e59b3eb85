package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime"
	"github.com/spf13/cobra"
)

func (a *app) rollbackCommand() *cobra.Command {
	var f args.Flow
	var p args.Plan
	var o args.Apply
	var to int
	c := &cobra.Command{
		Use: "rollback FUNCTION", Short: "Bring a function back to an earlier revision",
		Long: "Plans, asks, and brings the replicas of a function back to the last good revision, or to\nthe one that -to names ('flowctl history FUNCTION' lists them). Everything else stays as\nit is, the spec too: the next apply says what it would change again.\n\n  flowctl rollback function.web",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAddresses(engine.KindFunction),
		RunE: func(cmd *cobra.Command, argv []string) error {
			function, err := functionNamed(argv[0])
			if err != nil {
				return err
			}
			s, err := a.readSpec(f, o.Progress == args.JSON)
			if err != nil {
				return err
			}
			defer s.close()
			return s.change(cmd.Context(), change{
				command: "rollback", again: s.againOn("rollback", argv, slices.Concat(p.Words(), s.given(), o.Words())...), parallelism: s.parallelism(p),
				plan: func() (runtime.Planned, engine.Diagnostics, error) {
					r, err := s.request(p)
					if err == nil {
						err = s.goBack(cmd.Context(), &r, function, to)
					}
					if err != nil {
						return runtime.Planned{}, nil, err
					}
					return s.flow.Plan(cmd.Context(), r)
				},
			}, o)
		},
	}
	specFlag(c, &f.Path)
	f.Register(c.Flags(), true)
	p.RegisterPace(c.Flags())
	o.Register(c.Flags())
	c.Flags().IntVar(&to, "to", 0, "the number of the revision (default: the last good one)")
	return c
}

// functionNamed parses the address of a function; its kind may be left out.
func functionNamed(text string) (engine.Address, error) {
	a, err := engine.ParseAddress(text)
	if err != nil {
		a, err = engine.ParseAddress("function." + text)
	}
	if _, one := a.Index(); err != nil || a.Kind != engine.KindFunction || one {
		return a, args.Usagef("%q is no function: write function.NAME", text)
	}
	return a, nil
}

// goBack makes a request bring a function back to a revision.
func (s *session) goBack(ctx context.Context, r *runtime.Request, function engine.Address, to int) error {
	snap, err := s.store.Snapshot(ctx)
	if err != nil {
		return err
	}
	if err := s.known([]engine.Address{function}, "the flow has no"); err != nil {
		return err
	}
	rev, err := runtime.Earlier(snap, function, to)
	if err != nil {
		return fmt.Errorf("%w; 'flowctl history %s' lists the revisions", err, function)
	}
	r.Targets = []engine.Address{function}
	r.Pins = []engine.Pin{{Function: function, Value: rev.Value, Sensitive: rev.Sensitive}}
	return nil
}

func (a *app) historyCommand() *cobra.Command {
	var f args.Flow
	var spec string
	var asJSON bool
	c := &cobra.Command{
		Use: "history FUNCTION", Short: "List the revisions of a function",
		Long: "Lists the contents that the replicas of a function have had: when, by which run, and what\ncame of each. The newest ten are remembered.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAddresses(engine.KindFunction),
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = spec
			function, err := functionNamed(argv[0])
			if err != nil {
				return err
			}
			return a.withState(cmd, f, func(s *session) error { return s.history(cmd.Context(), function, asJSON) })
		},
	}
	specFlag(c, &spec)
	f.Register(c.Flags(), false)
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return c
}

func (s *session) history(ctx context.Context, function engine.Address, asJSON bool) error {
	snap, err := s.store.Snapshot(ctx)
	if err != nil {
		return err
	}
	var list []engine.Revision
	for _, r := range slices.Backward(snap.Revisions) {
		if r.Function == function {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("no revision of %s is remembered", function)
	}
	if asJSON {
		s.app.writeJSON(view.RevisionsJSON(list))
		return nil
	}
	fmt.Fprint(s.app.out, view.Revisions(list, s.app.outStyle()))
	return nil
}
