package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/state"
	"github.com/flowctl/flowctl/tasks"
	"github.com/spf13/cobra"
)

func (a *app) destroyCommand() *cobra.Command {
	var f args.Flow
	var p args.Plan
	var o args.Apply
	var keep bool
	c := &cobra.Command{
		Use: "destroy [PATH]", Short: "Delete everything that a flow has made", Args: cobra.MaximumNArgs(1),
		Long: "Takes down what apply has made, in the reverse order: frontends drain, replicas stop,\nmachines end. It goes by the state, so the spec need not be in order, and leaves\nnothing behind, the state and its history included (but see -keep-history).",
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = path(argv)
			s, err := a.locate(f)
			if err != nil {
				return err
			}
			defer s.close()
			s.keepHistory = keep
			s.desired = engine.Desired{}
			p.Destroy = true
			return s.destroy(cmd.Context(), p, o)
		},
	}
	f.Register(c.Flags(), false)
	p.Register(c.Flags(), false)
	o.Register(c.Flags())
	c.Flags().BoolVar(&keep, "keep-history", false, "keep the state file with the history of runs")
	return c
}

// destroy applies the plan to delete everything. A flow that was never applied
// has nothing to destroy.
func (s *session) destroy(ctx context.Context, p args.Plan, o args.Apply) error {
	if _, err := os.Stat(s.dir); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(s.app.out, "Nothing to destroy: the flow %q has not been applied.\n", s.name)
		return nil
	}
	return s.apply(ctx, p, o, nil, slices.Concat(p.Words(), o.Words()))
}

// sweep clears away what is left of things that do not exist any more. It only
// warns: the run has succeeded.
func (s *session) sweep(ctx context.Context) {
	snap, err := s.store.Snapshot(ctx)
	if err != nil {
		s.log.Warn("leftovers were not cleared away", "err", err)
		return
	}
	still := slices.Sorted(maps.Keys(tasks.Still(snap.Objects, nil)))
	for _, p := range s.set.Made() {
		if c, ok := cleaner(p); ok {
			if err := c.Clean(ctx, false, still); err != nil {
				s.log.Warn("leftovers could not be cleared away", "err", err)
			}
		}
	}
}

// clear removes everything of a destroyed flow, its state and history included.
func (s *session) clear(ctx context.Context, l *state.Lease) error {
	if err := s.stopController(ctx); err != nil {
		return err
	}
	snap, err := s.store.Snapshot(ctx)
	if err != nil || len(snap.Objects) > 0 || len(snap.Open) > 0 {
		return err
	}
	for _, name := range s.used(snap) {
		p, err := s.set.Get(ctx, name)
		if err != nil {
			return err
		}
		if c, ok := cleaner(p); ok {
			if err := c.Clean(ctx, true, nil); err != nil {
				return fmt.Errorf("clear away what is left of %s: %w", name, err)
			}
		}
	}
	if s.keepHistory {
		return nil
	}
	if err := l.Release(ctx); err != nil {
		return err
	}
	s.close()
	if err := state.Remove(s.dir); err != nil {
		return err
	}
	for _, dir := range []string{s.dir, s.base()} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			break // somebody keeps something of their own there
		}
	}
	return nil
}

// used lists the providers that have a folder for this flow: those that may have
// left something, even if the state does not tell any more.
func (s *session) used(snap engine.Snapshot) []string {
	names := slices.Sorted(maps.Keys(factories))
	for _, p := range snap.Providers {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool {
		_, err := os.Stat(providers.Dir(s.dir, name))
		return err != nil
	})
}
