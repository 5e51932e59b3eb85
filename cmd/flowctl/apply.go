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
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/spec"
	"github.com/flowctl/flowctl/state"
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
			return s.apply(cmd.Context(), p, o, nil)
		},
	}
	f.Register(c.Flags(), true)
	p.Register(c.Flags(), false)
	o.Register(c.Flags())
	c.Flags().BoolFunc("json", "the same as -progress=json", func(string) error { o.Progress = args.JSON; return nil })
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
	return s.apply(ctx, p, o, &saved)
}

// apply plans under the lock, asks, and carries the plan out. With saved, the
// plan is that.
func (s *session) apply(ctx context.Context, p args.Plan, o args.Apply, saved *runtime.SavedPlan) error {
	con := newConsole(s.app, o.Progress)
	defer con.close()
	s.log = con.logger()
	if err := s.open(ctx, true); err != nil {
		return err
	}
	command := "apply"
	if p.Destroy || saved != nil && saved.Destroy {
		command = "destroy"
	}
	r, err := s.request(p)
	if err != nil {
		return err
	}
	lease, err := s.flow.Lock(ctx, runtime.Owner("flowctl "+command, s.app.now()), o.LockTimeout, con.waiting)
	if err != nil {
		return err
	}
	defer lease.Release(context.WithoutCancel(ctx))
	if lease.Stale != nil {
		con.note(fmt.Sprintf("Taking over from %s (process %d), which ended without giving its lock back.", lease.Stale.Command, lease.Stale.PID))
	}
	planned, err := s.prepare(ctx, r, saved, con)
	if err != nil {
		return err
	}
	if planned.Plan.Empty() && !hasRuns(planned.Plan) {
		return s.nothing(ctx, lease, planned, command, con)
	}
	if !o.AutoApprove {
		if err := s.ask(command, planned.Plan); err != nil {
			return err
		}
	}
	return s.carryOut(ctx, lease, planned, command, o, s.parallelism(p), con)
}

func hasRuns(p engine.Plan) bool {
	return slices.ContainsFunc(p.Changes, func(c engine.Change) bool { return c.Action == engine.Run })
}

// prepare makes the plan, or the saved one again, and shows it.
func (s *session) prepare(ctx context.Context, r runtime.Request, saved *runtime.SavedPlan, con *console) (runtime.Planned, error) {
	var planned runtime.Planned
	var diags engine.Diagnostics
	var err error
	if saved != nil {
		planned, diags, err = s.flow.Restore(ctx, *saved, s.desired)
	} else {
		planned, diags, err = s.flow.Plan(ctx, r)
	}
	if err != nil {
		return planned, err
	}
	con.plan(planned.Plan, append(s.diags, diags...), s)
	if diags.HasErrors() {
		return planned, shown(exitError)
	}
	return planned, nil
}

// nothing ends an apply that has nothing to do; what was found out is recorded
// all the same.
func (s *session) nothing(ctx context.Context, l *state.Lease, p runtime.Planned, command string, con *console) error {
	out, err := s.flow.Apply(ctx, s.app.intr.hard, l, p, s.options(command))
	if err != nil {
		return err
	}
	con.done(view.JSONDone{Status: string(engine.RunSucceeded)}, out)
	if p.Plan.Destroy {
		return s.clear(ctx, l)
	}
	return nil
}

func (s *session) options(command string) runtime.Options {
	path := s.bundle.Path
	return runtime.Options{Command: command, Spec: s.bundle.Digest(), Path: path}
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

// carryOut executes a plan and says how it ended.
func (s *session) carryOut(ctx context.Context, l *state.Lease, p runtime.Planned, command string, o args.Apply, parallelism int, con *console) error {
	intr := s.app.intr
	defer intr.graceful(o.Grace)()
	opts := s.options(command)
	limits := p.Request.Desired.Limits
	opts.Limits = exec.Limits{Total: parallelism, Phases: limits.Phases(), Providers: limits.Providers}
	opts.Begin, opts.Observe = con.begin, con.event
	stopNote := context.AfterFunc(ctx, func() {
		con.note(fmt.Sprintf("Stopping: no further task starts; those that run may take up to %s. Interrupt again to cancel them.", o.Grace))
	})
	out, err := s.flow.Apply(ctx, intr.hard, l, p, opts)
	stopNote()
	con.end()
	if err != nil {
		return &failure{code: exitIncomplete, err: err}
	}
	all, _ := p.Plan.Summarise()
	con.done(view.JSONDone{Status: string(out.Run.Status), Run: out.Run.ID, Summary: view.SummaryJSON(all), Failed: len(out.Report.Failed)}, out)
	if len(out.Report.Failed) > 0 || out.Report.Interrupted {
		con.incomplete(out, s.again(command))
		if intr.twice() {
			return shown(exitInterrupted)
		}
		return shown(exitIncomplete)
	}
	s.sweep(ctx)
	con.complete(command, out, all, s.again("status"), s.again("destroy"))
	if command == "destroy" && len(p.Request.Targets) == 0 {
		return s.clear(ctx, l)
	}
	return nil
}

// again is the command line that goes on with this flow.
func (s *session) again(command string) string {
	line := "flowctl " + command
	if s.bundle.Path != "" && s.bundle.Path != "." {
		line += " " + s.bundle.Path
	}
	if s.args.StateDir != "" {
		line += " -state=" + s.args.StateDir
	}
	return line
}
