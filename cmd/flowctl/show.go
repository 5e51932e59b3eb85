package main

import (
	"encoding/json"
	"fmt"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/spec"
	"github.com/spf13/cobra"
)

func (a *app) showCommand() *cobra.Command {
	var f args.Flow
	var asJSON bool
	c := &cobra.Command{
		Use: "show [PATH | PLANFILE]", Short: "Show the state, or a saved plan", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = path(argv)
			saved, ok, err := savedPlan(f.Path)
			if err != nil {
				return err
			}
			if ok {
				return a.showPlan(cmd, saved, f, asJSON)
			}
			return a.withState(cmd, f, func(s *session) error {
				snap, err := s.store.Snapshot(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					a.writeJSON(view.StateJSON(snap))
					return nil
				}
				fmt.Fprint(a.out, view.State(snap.Objects, a.outStyle()))
				if len(snap.Outputs) > 0 {
					fmt.Fprintf(a.out, "Outputs:\n%s", view.Outputs(snap.Outputs, "  "))
				}
				return nil
			})
		},
	}
	f.Register(c.Flags(), false)
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return c
}

// showPlan shows a saved plan: as JSON as it was saved, for people made again
// while the state is still the one that it was made from.
func (a *app) showPlan(cmd *cobra.Command, saved runtime.SavedPlan, f args.Flow, asJSON bool) error {
	if asJSON {
		var v any
		if err := json.Unmarshal(saved.View, &v); err != nil {
			return fmt.Errorf("read the saved plan: %w", err)
		}
		a.writeJSON(v)
		return nil
	}
	s := &session{app: a, args: f}
	if err := json.Unmarshal(saved.Bundle, &s.bundle); err != nil {
		return fmt.Errorf("read the saved plan: %w", err)
	}
	s.sources = view.NewSources(s.bundle.Sources())
	s.desired, s.diags = spec.Load(s.bundle, specOptions())
	if saved.Destroy {
		s.desired = engine.Desired{Flow: s.desired.Flow, Dir: s.desired.Dir, Providers: s.desired.Providers}
	}
	defer s.close()
	if err := s.open(cmd.Context(), false); err != nil {
		return err
	}
	p, diags, err := s.flow.Restore(cmd.Context(), saved, s.desired)
	if err != nil {
		return err
	}
	s.show(diags)
	fmt.Fprint(a.out, view.Plan(p.Plan, a.outStyle()))
	return nil
}
