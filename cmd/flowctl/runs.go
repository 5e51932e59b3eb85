package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
	"github.com/spf13/cobra"
)

func (a *app) runsCommand() *cobra.Command {
	var f args.Flow
	var asJSON bool
	var limit int
	c := &cobra.Command{
		Use: "runs [PATH]", Short: "List the runs, or show one with its tasks", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = path(argv)
			return a.withState(cmd, f, func(s *session) error {
				runs, err := s.store.Runs(cmd.Context(), limit)
				if err == nil {
					err = s.bury(cmd.Context(), runs)
				}
				if err != nil {
					return err
				}
				if asJSON {
					a.writeJSON(view.RunsJSON(runs))
					return nil
				}
				fmt.Fprint(a.out, view.Runs(runs, a.outStyle()))
				return nil
			})
		},
	}
	f.Register(c.PersistentFlags(), false)
	c.PersistentFlags().BoolVar(&asJSON, "json", false, "write JSON")
	c.Flags().IntVar(&limit, "limit", 20, "how many, the newest first")
	var spec string
	show := &cobra.Command{
		Use: "show [RUN]", Short: "Show one run with its tasks, their attempts and errors (the newest, if none is named)", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = spec
			return a.withState(cmd, f, func(s *session) error { return s.showRun(cmd, argv, asJSON) })
		},
	}
	specFlag(show, &spec)
	c.AddCommand(show)
	return c
}

// bury marks runs that nobody carries out any more: their process died, and no
// later run has said so yet.
func (s *session) bury(ctx context.Context, runs []engine.RunInfo) error {
	holder, err := s.store.Holder(ctx, state.ApplyLock)
	if err != nil || holder != nil && runtime.Alive(*holder) {
		return err
	}
	for i := range runs {
		if runs[i].Status == engine.RunRunning {
			runs[i].Status = engine.RunInterrupted
		}
	}
	return nil
}

// withState opens a flow that has been applied.
func (a *app) withState(cmd *cobra.Command, f args.Flow, do func(*session) error) error {
	s, err := a.locate(f)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.open(cmd.Context(), false); err != nil {
		return err
	}
	if err := s.needState(); err != nil {
		return err
	}
	return do(s)
}

func (s *session) showRun(cmd *cobra.Command, argv []string, asJSON bool) error {
	ctx := cmd.Context()
	var id int64
	if len(argv) == 1 {
		n, err := strconv.ParseInt(argv[0], 10, 64)
		if err != nil {
			return args.Usagef("%q is no number of a run", argv[0])
		}
		id = n
	} else {
		runs, err := s.store.Runs(ctx, 1)
		if err != nil {
			return err
		}
		if len(runs) == 0 {
			return fmt.Errorf("there are no runs yet")
		}
		id = runs[0].ID
	}
	run, err := s.store.Run(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no run %d; 'flowctl runs' lists them", id)
	}
	one := []engine.RunInfo{run}
	if err == nil {
		err = s.bury(ctx, one)
	}
	if err != nil {
		return err
	}
	run = one[0]
	tasks, err := s.store.Tasks(ctx, id)
	if err != nil {
		return err
	}
	if asJSON {
		s.app.writeJSON(view.RunTasksJSON(run, tasks))
		return nil
	}
	fmt.Fprint(s.app.out, view.Run(run, tasks, s.app.outStyle()))
	return nil
}
