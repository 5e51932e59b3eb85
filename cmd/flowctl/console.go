package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
)

// console is where an apply shows what it does, in the chosen way.
type console struct {
	app    *app
	mode   args.Progress
	stream *view.Stream // JSON
	events []engine.Event

	mu   sync.Mutex // providers log while the run's own goroutine shows progress
	live *live      // TTY, while a run is under way
}

func newConsole(a *app, mode args.Progress) *console {
	if mode == args.Auto {
		if env := args.Progress(a.getenv("FLOWCTL_PROGRESS")); env != "" {
			mode.Set(string(env))
		}
	}
	if mode == args.Auto {
		mode = args.Plain
		if a.errTTY && a.getenv("TERM") != "dumb" {
			mode = args.TTY
		}
	}
	c := &console{app: a, mode: mode}
	if mode == args.JSON {
		c.stream = view.NewStream(a.out, version(), a.now)
	}
	return c
}

// note says something beside the progress.
func (c *console) note(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stream != nil:
		c.stream.Write(view.TypeDiagnostic, view.JSONDiagnostic{Severity: "warning", Summary: text})
	case c.live != nil:
		c.live.line(text)
	default:
		fmt.Fprintln(c.app.err, text)
	}
}

// waiting says who holds the lock.
func (c *console) waiting(h state.Holder) {
	if c.stream != nil {
		c.stream.Write(view.TypeWaiting, h)
		return
	}
	c.note((&state.LockedError{Holder: h}).Error() + "; waiting for it.")
}

func (c *console) plan(p engine.Plan, ds engine.Diagnostics, s *session) {
	if c.stream != nil {
		c.stream.Write(view.TypePlan, view.PlanJSON(p, ds, s.sources))
		return
	}
	s.show(ds)
	if !ds.HasErrors() && c.mode != args.Quiet {
		fmt.Fprint(c.app.out, view.Plan(p, c.app.outStyle()))
	}
}

func (c *console) begin(run int64, steps []engine.Step) {
	total := 0
	for _, s := range steps {
		if s.Op != engine.OpGate {
			total++
		}
	}
	switch c.mode {
	case args.JSON:
		c.stream.Write(view.TypeRun, struct {
			Run   int64 `json:"run"`
			Tasks int   `json:"tasks"`
		}{run, total})
	case args.TTY:
		fmt.Fprintln(c.app.err)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.live = newLive(c.app, total)
	case args.Plain:
		fmt.Fprintf(c.app.err, "\nRun %d: %d tasks\n", run, total)
	}
}

func (c *console) event(e engine.Event) {
	c.events = append(c.events, e)
	switch {
	case c.stream != nil:
		c.stream.Write(view.TypeTask, view.TaskJSON(e))
	case c.live != nil:
		c.live.event(e)
	case c.mode == args.Plain && e.State != engine.Running:
		fmt.Fprintln(c.app.err, view.Line(e, c.app.errStyle()))
	}
}

// back says that functions go back to revisions that are good.
func (c *console) back(to []engine.Revision, p engine.Plan) {
	c.end()
	if c.stream == nil {
		fmt.Fprint(c.app.err, view.Back(to, c.app.errStyle()))
		return
	}
	for _, r := range to {
		c.stream.Write(view.TypeRollback, view.JSONRollback{Function: r.Function.String(), Revision: r.Number})
	}
	c.stream.Write(view.TypePlan, view.PlanJSON(p, nil, nil))
}

// end takes the live block off the screen.
func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live != nil {
		c.live.close()
		c.live = nil
	}
}

func (c *console) close() { c.end() }

func (c *console) done(d view.JSONDone, out runtime.Outcome) {
	if c.stream == nil {
		return
	}
	c.stream.Write(view.TypeOutputs, struct {
		Outputs map[string]view.JSONOutputValue `json:"outputs"`
	}{view.OutputsJSON(out.Outputs)})
	c.stream.Write(view.TypeSummary, d)
}

// incomplete says what failed and how to go on.
func (c *console) incomplete(out runtime.Outcome, again string) {
	if c.stream != nil {
		return
	}
	var fs []view.Failure
	for _, f := range out.Report.Failed {
		fs = append(fs, view.Failure{Name: f.Step.Name(), Text: f.Err.Error()})
	}
	if b := out.Back; b != nil {
		for _, f := range b.Outcome.Report.Failed {
			fs = append(fs, view.Failure{Name: "on the way back: " + f.Step.Name(), Text: f.Err.Error()})
		}
		if b.Err != nil {
			fs = append(fs, view.Failure{Name: "the way back", Text: b.Err.Error()})
		}
	}
	fmt.Fprint(c.app.err, view.Failures(fs, c.app.errStyle()))
	fmt.Fprint(c.app.err, c.atLast(out.Back))
	left := 0
	for _, st := range out.Report.States {
		if st == engine.UpstreamFailed || st == engine.Cancelled {
			left++
		}
	}
	what := fmt.Sprintf("%d of %d tasks failed, %d did not run", len(out.Report.Failed), out.Run.Steps, left)
	if out.Report.Interrupted {
		what = fmt.Sprintf("The run was interrupted: %d tasks failed, %d did not run", len(fs), left)
	}
	next := "To go on"
	if c.atLast(out.Back) != "" {
		next = "The spec still asks for what has just turned out not to be good: change it, or take the change back. Then"
	}
	fmt.Fprintf(c.app.err, "\n%s. What was done is recorded (run %d). %s:\n  %s\n", what, out.Run.ID, next, again)
}

// away says what was left alone since nobody answers for it.
func (c *console) away(all []engine.Address) {
	if c.stream == nil {
		fmt.Fprintf(c.app.err, "\n%s could not be reached, and so is as it was. Nothing of it is forgotten: apply again when it can be.\n", engine.List(all))
	}
}

// atLast says where functions are that went back.
func (c *console) atLast(b *runtime.Back) string {
	if b == nil || b.Err != nil || len(b.Outcome.Report.Failed) > 0 || b.Outcome.Report.Interrupted {
		return ""
	}
	text := ""
	for _, r := range b.To {
		text += fmt.Sprintf("\n%s is back at revision %d, which is good.", r.Function, r.Number)
	}
	return text + "\n"
}

// obeyed counts what an order has done to the replicas and machines that it was about;
// "" if it was no order, or did nothing to these.
func obeyed(command string, p engine.Plan) string {
	if !p.Ordered {
		return ""
	}
	done, replaced := 0, 0
	for _, ch := range p.Changes {
		switch {
		case ch.Action.Ordered():
			done++
		case ch.Action == engine.Replace && ch.Address.Kind == engine.KindFunction:
			replaced++
		}
	}
	word := map[string]string{"suspend": "suspended", "resume": "resumed", "restart": "restarted", "snapshot": "taken", "restore": "restored", "delete-snapshot": "deleted"}[command]
	switch {
	case done+replaced == 0:
		return ""
	case replaced == 0:
		return fmt.Sprintf("%d %s", done, word)
	case done == 0:
		return fmt.Sprintf("%d replaced", replaced)
	default:
		return fmt.Sprintf("%d %s, %d replaced", done, word, replaced)
	}
}

// complete says that all is done, and what to do next.
func (c *console) complete(command string, out runtime.Outcome, p engine.Plan, status, destroy string) {
	if c.stream != nil || c.mode == args.Quiet {
		return
	}
	s := c.app.outStyle()
	n, _ := p.Summarise()
	took := out.Run.Ended.Sub(out.Run.Started).Round(10 * time.Millisecond)
	if command == "destroy" {
		fmt.Fprintf(c.app.out, "\n%s %d destroyed in %s.\n", s.Good("Destroy complete:"), n.Destroy, took)
		return
	}
	what := fmt.Sprintf("%d added, %d changed, %d replaced, %d destroyed", n.Add, n.Change, n.Replace, n.Destroy)
	if ordered := obeyed(command, p); ordered != "" {
		what = ordered
	}
	fmt.Fprintf(c.app.out, "\n%s %s in %s.\n", s.Good(strings.ToUpper(command[:1])+command[1:]+" complete:"), what, took)
	fmt.Fprint(c.app.out, view.Slowest(c.events, 5, s))
	if kept := view.Kept(p, out.Run.Ended); kept != "" {
		fmt.Fprintf(c.app.out, "\n%s", kept)
	}
	if len(out.Outputs) > 0 {
		fmt.Fprintf(c.app.out, "\nOutputs:\n%s", view.Outputs(out.Outputs, "  "))
	}
	fmt.Fprintf(c.app.out, "\n%s\n", s.Dim("Look at it: "+status+"   Take it down: "+destroy))
}
