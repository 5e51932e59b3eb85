package runtime

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/engine/graph"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/state"
	"github.com/flowctl/flowctl/tasks"
	"github.com/zclconf/go-cty/cty"
)

// Options says how a plan is carried out. Nothing in it changes what is done.
type Options struct {
	Command string // "apply" or "destroy", for the history
	Spec    string // digest of the spec and its variables, for the history
	Path    string // of the spec, for later commands
	Bundle  []byte // the spec itself, for the controller
	Limits  exec.Limits
	Begin   func(run int64, steps []engine.Step) // before the first step
	Observe func(engine.Event)
	Back    func(to []engine.Revision, p engine.Plan) // before functions go back to revisions that are good
}

// Outcome is how an apply ended.
type Outcome struct {
	Run     engine.RunInfo // the zero value if there was nothing to run
	Report  exec.Report
	Steps   []engine.Step
	Outputs map[string]engine.OutputValue
	Back    *Back // nil if nothing had to go back
}

// Apply carries out a plan under a lease. When ctx ends, nothing new begins and
// what runs is awaited; when hard ends, that is cancelled, too. The error is of
// the machinery; failed steps are in the report. Functions whose new revision turns
// out not to be good go back to the last good one.
func (f *Flow) Apply(ctx, hard context.Context, l *state.Lease, p Planned, o Options) (Outcome, error) {
	out, err := f.applyOnce(ctx, hard, l, p, o, len(p.Request.Pins) > 0)
	unfit, _ := unfitOf(out.Report)
	if err != nil || len(unfit) == 0 || ctx.Err() != nil || len(p.Request.Pins) > 0 || p.Plan.Ordered || p.Plan.Destroy {
		return out, err
	}
	now, err := f.Store.Snapshot(hard)
	if err != nil {
		return out, err
	}
	if to := newRevisions(now.Revisions, out.Run.ID, f.Now()).targets(p, unfit); len(to) > 0 {
		out.Back = f.goBack(ctx, hard, l, p, to, o)
	}
	return out, nil
}

// applyOnce carries out one plan. byHand tells that it goes back to a revision that
// the operator asked for.
func (f *Flow) applyOnce(ctx, hard context.Context, l *state.Lease, p Planned, o Options, byHand bool) (Outcome, error) {
	out := Outcome{Outputs: p.Snapshot.Outputs}
	now, err := f.Store.Snapshot(hard)
	if err != nil {
		return out, err
	}
	if now.Lineage != p.Plan.Lineage && p.Plan.Lineage != "" || now.Serial != p.Plan.Serial {
		return out, fmt.Errorf("%w: it was made from serial %d of the state, which is at %d now; make a new plan", ErrStale, p.Plan.Serial, now.Serial)
	}
	steps, err := graph.Build(p.Plan)
	if err != nil {
		return out, fmt.Errorf("bug: %w", err)
	}
	if a := adjustment(p); !empty(a) {
		if err := f.Store.Adjust(hard, l, a); err != nil {
			return out, err
		}
	}
	if why := holds(p, o); why != "" && len(steps) > 0 {
		if err := f.Store.Hold(hard, l, why); err != nil {
			return out, err
		}
	}
	if err := f.recall(hard, l, &p); err != nil {
		return out, err
	}
	runner := tasks.NewRunner(p.Plan, f.Providers, f.Now)
	if len(steps) > 0 {
		if err := f.run(ctx, hard, l, p, o, runner, steps, &out); err != nil {
			return out, err
		}
	}
	if err := f.conclude(hard, l, p, o, runner, &out); err != nil {
		return out, err
	}
	return out, f.revise(hard, l, p, runner, out, byHand)
}

// revise records what became of the functions' revisions.
func (f *Flow) revise(hard context.Context, l *state.Lease, p Planned, runner *tasks.Runner, out Outcome, byHand bool) error {
	if p.Plan.Destroy || p.Plan.Ordered {
		return nil
	}
	rs := newRevisions(p.Snapshot.Revisions, out.Run.ID, f.Now())
	unfit, why := unfitOf(out.Report)
	for i, u := range unfit {
		if !u.Unjudged {
			rs.condemn(u.Function, engine.Object{Value: u.Value, Sensitive: u.Sensitive}, why[i])
		}
	}
	rs.review(p.Plan, out, runner.Object, byHand)
	if !rs.changed(p.Snapshot.Revisions) {
		return nil
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(hard), 10*time.Second)
	defer cancel()
	return f.Store.Revise(end, l, rs.all)
}

// recall records the revisions that a run brought in which was killed before it could,
// so that they are among those that one can go back to.
func (f *Flow) recall(hard context.Context, l *state.Lease, p *Planned) error {
	if p.Plan.Destroy || p.Plan.Ordered {
		return nil
	}
	rs := newRevisions(p.Snapshot.Revisions, 0, f.Now())
	if rs.recall(*p); !rs.changed(p.Snapshot.Revisions) {
		return nil
	}
	p.Snapshot.Revisions = rs.all
	return f.Store.Revise(hard, l, rs.all)
}

// adjustment is what the state must learn before anything is changed: what was
// found to be gone, different or left by interrupted runs.
func adjustment(p Planned) state.Adjust {
	a := state.Adjust{Put: p.Found.Adopted, Resolve: p.Found.Resolved}
	adopted := map[engine.Key]bool{}
	for _, o := range a.Put {
		adopted[o.Key()] = true
	}
	for _, o := range p.Snapshot.Objects {
		obs, seen := p.Found.Observed[o.Key()]
		switch {
		case !seen || adopted[o.Key()]:
		case obs.Presence == engine.Gone:
			a.Drop = append(a.Drop, o.Key())
		case obs.Presence != engine.Unreachable && !obs.Object.Value.RawEquals(o.Value):
			a.Put = append(a.Put, obs.Object)
		}
	}
	a.Put = append(a.Put, bookkeeping(p, adopted)...)
	if hands := p.Plan.HandSizes(); !p.Plan.Ordered && len(p.Request.Targets) == 0 && !slices.Equal(hands, p.Snapshot.Sizes) {
		a.Resized, a.Sizes = true, hands
	}
	return a
}

// bookkeeping lists objects that stay as they are but whose dependencies or
// sensitive attributes have changed, or that were kept and stand again.
func bookkeeping(p Planned, done map[engine.Key]bool) []engine.Object {
	var put []engine.Object
	for _, c := range p.Plan.Changes {
		if p.Plan.Ordered || c.Action != engine.NoOp || c.Prior == nil || c.Hold != "" || done[c.Prior.Key()] {
			continue
		}
		if needs := engine.NeedsOf(c.Needs); !slices.Equal(needs, c.Prior.Needs) || !slices.Equal(c.Sensitive, c.Prior.Sensitive) || !c.Prior.Kept.IsZero() {
			o := *c.Prior
			o.Needs, o.Sensitive, o.Kept = needs, c.Sensitive, time.Time{}
			put = append(put, o)
		}
	}
	return put
}

func empty(a state.Adjust) bool { return len(a.Put)+len(a.Drop)+len(a.Resolve) == 0 && !a.Resized }

// run executes the steps and records the run.
func (f *Flow) run(ctx, hard context.Context, l *state.Lease, p Planned, o Options, runner *tasks.Runner, steps []engine.Step, out *Outcome) error {
	all, _ := p.Plan.Summarise()
	h := Owner(o.Command, f.Now())
	info := engine.RunInfo{
		Command: o.Command, Status: engine.RunRunning, Started: f.Now(), User: h.User, Host: h.Host, PID: h.PID,
		Spec: o.Spec, Summary: all, Steps: count(steps),
	}
	var err error
	if info.ID, err = f.Store.BeginRun(hard, l, info); err != nil {
		return err
	}
	if o.Begin != nil {
		o.Begin(info.ID, steps)
	}
	observe, ended := f.watched(info, o.Observe)
	backoff := f.Backoff
	if backoff == (exec.Backoff{}) {
		backoff = exec.DefaultBackoff
	}
	x := exec.Executor{
		Runner: runner, Journal: f.Journal(l), Limits: o.Limits, Backoff: backoff,
		Retryable: providers.Retryable, Observe: observe, Now: f.Now, Rand: f.random(),
	}
	report, err := x.Run(ctx, hard, info.ID, steps)
	out.Report, out.Steps = report, steps
	info.Ended, info.Failures = f.Now(), len(report.Failed)
	switch {
	case err != nil || report.Interrupted:
		info.Status = engine.RunInterrupted
	case len(report.Failed) > 0:
		info.Status = engine.RunFailed
	default:
		info.Status = engine.RunSucceeded
	}
	out.Run = info
	ended(info)
	end, cancel := context.WithTimeout(context.WithoutCancel(hard), 10*time.Second)
	defer cancel()
	if late := p.Found.Overtaken(touched(steps, report)); len(late) > 0 {
		err = errors.Join(err, f.Store.Adjust(end, l, state.Adjust{Resolve: late}))
	}
	return errors.Join(err, f.Store.EndRun(end, l, info))
}

// touched lists the objects that steps which have succeeded made, changed or removed.
func touched(steps []engine.Step, r exec.Report) map[engine.Key]bool {
	done := map[engine.Key]bool{}
	for i, s := range steps {
		if s.Op.Touches() && i < len(r.States) && r.States[i] == engine.Done {
			done[engine.Key{Address: s.Address, Gen: s.Gen}] = true
		}
	}
	return done
}

// random is a source of chance for one run.
func (f *Flow) random() *rand.Rand {
	f.mu.Lock()
	defer f.mu.Unlock()
	return rand.New(rand.NewPCG(f.Rand.Uint64(), f.Rand.Uint64()))
}

// watched is who is told of a run's events, and of its end.
func (f *Flow) watched(info engine.RunInfo, observe func(engine.Event)) (func(engine.Event), func(engine.RunInfo)) {
	if f.Trace == nil {
		return observe, func(engine.RunInfo) {}
	}
	event, end := f.Trace(info)
	return func(e engine.Event) {
		event(e)
		if observe != nil {
			observe(e)
		}
	}, end
}

// count is the number of steps that do something.
func count(steps []engine.Step) int {
	n := 0
	for _, s := range steps {
		if s.Op != engine.OpGate {
			n++
		}
	}
	return n
}

// conclude records the outputs as far as they are known now, and what later
// commands need to work without the spec.
func (f *Flow) conclude(hard context.Context, l *state.Lease, p Planned, o Options, values engine.Values, out *Outcome) error {
	if p.Plan.Ordered {
		return nil
	}
	if p.Plan.Destroy && len(p.Request.Targets) == 0 && len(out.Report.Failed) == 0 && !out.Report.Interrupted {
		out.Outputs = nil
	} else if len(p.Request.Targets) == 0 && !p.Plan.Destroy {
		out.Outputs = outputs(p.Plan, values, p.Snapshot.Outputs)
	}
	c := state.Concluded{Outputs: out.Outputs, Providers: p.Request.Desired.Providers, SpecPath: o.Path}
	if p.Plan.Destroy {
		c.Providers, c.SpecPath = p.Snapshot.Providers, p.Snapshot.SpecPath
	}
	if whole(p) && len(out.Report.Failed) == 0 && !out.Report.Interrupted {
		c.Spec, c.Bundle = o.Spec, o.Bundle
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(hard), 10*time.Second)
	defer cancel()
	return f.Store.Conclude(end, l, c)
}

// whole reports whether a plan makes the flow what its spec says.
func whole(p Planned) bool {
	return !p.Plan.Ordered && !p.Plan.Destroy && len(p.Request.Targets)+len(p.Request.Pins) == 0
}

// holds says why the flow differs from its last spec from now on, until a plan of
// the whole spec has been carried out; "" if it does not.
func holds(p Planned, o Options) string {
	switch {
	case o.Bundle == nil || p.Plan.Ordered || len(p.Request.Pins) > 0:
		return ""
	case p.Plan.Destroy && len(p.Request.Targets) == 0:
		return "the flow is being destroyed"
	case len(p.Request.Targets) > 0:
		return "the last " + o.Command + " was of some targets only"
	default:
		return "the last " + o.Command + " has not been finished"
	}
}

// outputs evaluates the outputs; one that is not known keeps its last value.
func outputs(p engine.Plan, values engine.Values, before map[string]engine.OutputValue) map[string]engine.OutputValue {
	all := map[string]engine.OutputValue{}
	for _, o := range p.Outputs {
		if o.After == cty.NilVal {
			continue
		}
		v := o.After
		if o.Config != nil {
			if now, diags := o.Config.Eval(values); !diags.HasErrors() {
				v, _ = now.UnmarkDeep()
			}
		}
		if v.IsWhollyKnown() {
			all[o.Name] = engine.OutputValue{Value: v, Sensitive: o.Sensitive, Description: o.Description}
		} else if was, ok := before[o.Name]; ok {
			all[o.Name] = was
		}
	}
	return all
}
