package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/spec"
	"github.com/spf13/cobra"
)

func (a *app) applyCommand() *cobra.Command {
	var f args.Flow
	var p args.Plan
	var o args.Apply
	c := &cobra.Command{
		Use: "apply [PATH | PLANFILE]", Short: "Make the world match a spec", Args: cobra.MaximumNArgs(1),
		Long: "Plans, asks, and changes what must change: in parallel, each step after those that it\nneeds, journalled, so that a run that dies at any point is continued by the next apply.\nA saved plan (plan -out) is applied as it is, without asking.\n\nThe first ^C starts nothing new and lets running tasks finish; the second cancels them.",
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = path(argv)
			saved, ok, err := savedPlan(f.Path)
			if err != nil {
				return err
			}
			if ok {
				return a.applySaved(cmd.Context(), saved, f, p, o)
			}
			s, err := a.readSpec(f, o.Progress == args.JSON)
			if err != nil {
				return err
			}
			defer s.close()
			return s.apply(cmd.Context(), p, o, nil, slices.Concat(p.Words(), s.given(), o.Words()))
		},
	}
	f.Register(c.Flags(), true)
	p.Register(c.Flags(), false)
	o.Register(c.Flags())
	c.Flags().BoolVar(&o.NoServe, "no-serve", false, "start no controller, even if there are scaling blocks")
	return c
}

// applySaved loads the spec that a plan was saved with, and applies the plan.
func (a *app) applySaved(ctx context.Context, saved runtime.SavedPlan, f args.Flow, p args.Plan, o args.Apply) error {
	if len(f.Vars)+len(f.VarFiles)+len(p.Targets)+len(p.Replace) > 0 {
		return args.Usagef("a saved plan takes no -var, -var-file, -target or -replace: it was made with its own")
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
	if s.diags.HasErrors() {
		s.show(s.diags)
		return shown(exitInvalid)
	}
	defer s.close()
	o.AutoApprove = true
	return s.apply(ctx, p, o, &saved, s.given())
}

// apply plans, asks, and carries the plan out. With saved, the plan is that; words
// are what the command was called with besides the flow.
func (s *session) apply(ctx context.Context, p args.Plan, o args.Apply, saved *runtime.SavedPlan, words []string) error {
	command := "apply"
	if p.Destroy || saved != nil && saved.Destroy {
		command = "destroy"
	}
	return s.change(ctx, change{
		command: command, create: true, again: s.again(command, words...), parallelism: s.parallelism(p),
		plan: func() (runtime.Planned, engine.Diagnostics, error) {
			if saved != nil {
				return s.flow.Restore(ctx, *saved, s.desired)
			}
			r, err := s.request(p)
			if err != nil {
				return runtime.Planned{}, nil, err
			}
			return s.flow.Plan(ctx, r)
		},
	}, o)
}

// ask wants a yes at the terminal.
func (s *session) ask(command string, p engine.Plan) error {
	if !s.app.inTTY {
		return args.Usagef("there is no terminal to ask on: call %s with -auto-approve, or apply a saved plan", command)
	}
	question := "Do this?"
	if command == "destroy" {
		question = "Destroy all of this?"
	}
	fmt.Fprintf(s.app.err, "\n%s Only 'yes' is taken as a yes: ", s.app.errStyle().Bold(question))
	line, err := readLine(s.app.intr.soft, s.app.in)
	if err != nil || strings.TrimSpace(line) != "yes" {
		fmt.Fprintln(s.app.err, "\nNothing was changed.")
		return shown(exitError)
	}
	return nil
}

// readLine reads a line, unless the context ends first.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() { // cannot be interrupted; it ends with the process
		line, err := bufio.NewReader(in).ReadString('\n')
		got <- answer{line, err}
	}()
	select {
	case a := <-got:
		if errors.Is(a.err, io.EOF) && a.line != "" {
			a.err = nil
		}
		return a.line, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
