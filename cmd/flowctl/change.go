package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/spec"
	"github.com/flowctl/flowctl/state"
)

// change is what a command does that changes the world, in the frame that all of
// them share: the lock, the plan, the question, the run.
type change struct {
	command     string // "apply", for messages and the history
	again       string // the command line that goes on after a failure
	create      bool   // the state, should there be none
	parallelism int
	plan        func() (runtime.Planned, engine.Diagnostics, error) // under the lock
	sure        func(engine.Plan) bool                              // whether the plan needs no yes; nil for never
}

// change plans under the lock, shows the plan, asks, and carries it out.
func (s *session) change(ctx context.Context, c change, o args.Apply) error {
	con := newConsole(s.app, o.Progress)
	defer con.close()
	s.log = con.logger()
	if err := s.open(ctx, c.create); err != nil {
		return err
	}
	if err := s.needState(); err != nil {
		return err
	}
	lease, err := s.flow.Lock(ctx, runtime.Owner("flowctl "+c.command, s.app.now()), o.LockTimeout, con.waiting)
	if err != nil {
		return err
	}
	defer lease.Release(context.WithoutCancel(ctx))
	if lease.Stale != nil {
		con.note(fmt.Sprintf("Taking over from %s (process %d), which ended without giving its lock back.", lease.Stale.Command, lease.Stale.PID))
	}
	planned, diags, err := c.plan()
	if err != nil {
		return err
	}
	con.plan(planned.Plan, append(s.diags, diags...), s)
	if diags.HasErrors() {
		return shown(exitError)
	}
	if planned.Plan.Empty() && !hasRuns(planned.Plan) {
		return s.nothing(ctx, lease, planned, c.command, o, con)
	}
	if !o.AutoApprove && (c.sure == nil || !c.sure(planned.Plan)) {
		if err := s.ask(c.command, planned.Plan); err != nil {
			return err
		}
	}
	return s.carryOut(ctx, lease, planned, c, o, con)
}

func hasRuns(p engine.Plan) bool {
	return slices.ContainsFunc(p.Changes, func(c engine.Change) bool { return c.Action == engine.Run })
}

// nothing ends an apply that has nothing to do; what was found out is recorded
// all the same.
func (s *session) nothing(ctx context.Context, l *state.Lease, p runtime.Planned, command string, o args.Apply, con *console) error {
	out, err := s.flow.Apply(ctx, s.app.intr.hard, l, p, s.options(command))
	if err != nil {
		return err
	}
	con.done(view.JSONDone{Status: string(engine.RunSucceeded), Away: len(p.Plan.Away())}, out)
	if away := p.Plan.Away(); len(away) > 0 {
		con.away(away)
		return shown(exitIncomplete)
	}
	if p.Plan.Destroy {
		return s.clear(ctx, l)
	}
	return s.serve(ctx, p, o, con)
}

func (s *session) options(command string) runtime.Options {
	text, err := json.Marshal(s.bundle)
	if err != nil {
		panic("bug: " + err.Error())
	}
	return runtime.Options{Command: command, Spec: s.bundle.Digest(), Path: s.bundle.Path, Bundle: text}
}

// carryOut executes a plan and says how it ended.
func (s *session) carryOut(ctx context.Context, l *state.Lease, p runtime.Planned, c change, o args.Apply, con *console) error {
	intr := s.app.intr
	defer intr.graceful(o.Grace)()
	if p.Plan.Destroy && len(p.Request.Targets) == 0 {
		if err := s.stopController(ctx); err != nil {
			return err
		}
	}
	opts := s.options(c.command)
	limits := p.Request.Desired.Limits
	opts.Limits = exec.Limits{Total: c.parallelism, Phases: limits.Phases(), Providers: limits.Providers}
	opts.Begin, opts.Observe, opts.Back = con.begin, con.event, con.back
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
	con.done(view.JSONDone{Status: string(out.Run.Status), Run: out.Run.ID, Summary: view.SummaryJSON(all), Failed: len(out.Report.Failed), Away: len(p.Plan.Away())}, out)
	if len(out.Report.Failed) > 0 || out.Report.Interrupted {
		con.incomplete(out, c.again)
		if intr.twice() {
			return shown(exitInterrupted)
		}
		return shown(exitIncomplete)
	}
	s.sweep(ctx)
	con.complete(c.command, out, p.Plan, s.again("status"), s.again("destroy"))
	if away := p.Plan.Away(); len(away) > 0 {
		con.away(away)
		return shown(exitIncomplete)
	}
	if c.command == "destroy" && len(p.Request.Targets) == 0 {
		return s.clear(ctx, l)
	}
	return s.serve(ctx, p, o, con)
}

// serve leaves a controller running if the flow needs one, and says so.
func (s *session) serve(ctx context.Context, p runtime.Planned, o args.Apply, con *console) error {
	if o.NoServe || p.Plan.Destroy || p.Plan.Ordered || len(p.Request.Targets)+len(p.Request.Pins) > 0 {
		return nil
	}
	proc, err := s.control(ctx)
	if err == nil && proc != nil {
		con.note(fmt.Sprintf("A controller keeps the sizes (process %d, in the background). Why it decides what it does: %s; to end it: %s", proc.PID, s.againOn("decisions", nil), s.again("serve", "-stop")))
	}
	return err
}

// again is a command line that goes on with this flow, for commands that take it
// as their argument.
func (s *session) again(command string, words ...string) string {
	line := []string{"flowctl", command}
	if s.bundle.Path != "" && s.bundle.Path != "." {
		line = append(line, s.bundle.Path)
	}
	return s.line(line, words)
}

// againOn is the same for commands whose arguments are something else.
func (s *session) againOn(command string, argv []string, words ...string) string {
	line := append([]string{"flowctl", command}, argv...)
	if s.bundle.Path != "" && s.bundle.Path != "." {
		line = append(line, "-spec="+s.bundle.Path)
	}
	return s.line(line, words)
}

func (s *session) line(line, words []string) string {
	if s.args.StateDir != "" {
		line = append(line, "-state="+s.args.StateDir)
	}
	line = append(line, words...)
	for i, w := range line {
		line[i] = quoted(w)
	}
	return strings.Join(line, " ")
}

var plainWord = regexp.MustCompile(`^[\w./:=,@%+-]+$`)

// quoted writes a word so that a shell takes it as it is.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// given returns the flags that set the flow's variables. The value of a sensitive
// one is left for the operator to fill in.
func (s *session) given() []string {
	var words []string
	for _, f := range s.bundle.VarFiles {
		if filepath.Base(f.Name) != spec.AutoVars {
			words = append(words, "-var-file="+f.Name)
		}
	}
	for _, a := range s.bundle.Args {
		value := a.Value
		if slices.Contains(s.desired.Hidden, a.Name) {
			value = "..."
		}
		words = append(words, "-var="+a.Name+"="+value)
	}
	return words
}
