package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/state"
	"github.com/flowctl/flowctl/tasks"
)

// Back is how functions went back to their last good revision after a run in which
// the new one turned out not to be good.
type Back struct {
	To      []engine.Revision
	Outcome Outcome
	Err     error // why it could not be tried
}

// unfitOf lists which functions' new revisions are not good, or could not be
// judged, each once.
func unfitOf(report exec.Report) (unfit []*tasks.UnfitError, why []string) {
	for _, f := range report.Failed {
		u, ok := errors.AsType[*tasks.UnfitError](f.Err)
		if ok && !slices.ContainsFunc(unfit, func(v *tasks.UnfitError) bool { return v.Function == u.Function }) {
			unfit, why = append(unfit, u), append(why, reason(f))
		}
	}
	return unfit, why
}

// reason says why a revision is not good, and which replica showed it.
func reason(f exec.StepError) string {
	if _, one := f.Step.Address.Index(); one {
		return fmt.Sprintf("%s: %s", f.Step.Address, f.Err)
	}
	return f.Err.Error()
}

// targets lists the revisions that functions are to go back to after a run.
func (rs *revisions) targets(p Planned, unfit []*tasks.UnfitError) []engine.Revision {
	var to []engine.Revision
	for _, u := range unfit {
		digest := engine.DigestOf(u.Value)
		good := engine.LastGood(rs.all, u.Function, digest)
		policy := engine.DefaultUpdate
		for _, d := range p.Request.Desired.Decls {
			if d.Address == u.Function {
				policy = d.Roll
			}
		}
		if good != nil && good.Current && policy.Rollback {
			to = append(to, *good)
		}
	}
	slices.SortFunc(to, func(a, b engine.Revision) int { return a.Function.Compare(b.Function) })
	return to
}

// Earlier returns the revision of a function with a number, or, for 0, the one to go
// back to: the current one while another is being brought in, else the last good
// one before it.
func Earlier(snap engine.Snapshot, function engine.Address, number int) (engine.Revision, error) {
	current := ""
	for _, r := range snap.Revisions {
		if r.Function == function && number > 0 && r.Number == number {
			return r, nil
		}
		if r.Function == function && r.Current {
			current = r.Digest
		}
	}
	if number > 0 {
		return engine.Revision{}, fmt.Errorf("there is no revision %d of %s", number, function)
	}
	for _, o := range snap.Objects {
		if o.Address.Group() == function && o.Kept.IsZero() && o.Lifecycle != engine.Tainted && engine.DigestOf(o.Value) != current {
			current = "" // on the way to another
		}
	}
	if r := engine.LastGood(snap.Revisions, function, current); r != nil {
		return *r, nil
	}
	return engine.Revision{}, fmt.Errorf("there is no good revision of %s to go back to", function)
}

// goBack brings functions back to revisions: by a plan like any other.
func (f *Flow) goBack(ctx, hard context.Context, l *state.Lease, p Planned, to []engine.Revision, o Options) *Back {
	b := &Back{To: to}
	r := Request{Desired: p.Request.Desired, Sizes: p.Request.Sizes, Hands: p.Request.Hands, Parallelism: p.Request.Parallelism}
	for _, rev := range to {
		r.Pins = append(r.Pins, engine.Pin{Function: rev.Function, Value: rev.Value, Sensitive: rev.Sensitive})
		r.Targets = append(r.Targets, rev.Function)
	}
	plan, diags, err := f.Plan(ctx, r)
	if err = errors.Join(err, diags.Err()); err != nil {
		b.Err = fmt.Errorf("plan the way back: %w", err)
		return b
	}
	if o.Back != nil {
		o.Back(to, plan.Plan)
	}
	o.Command = "rollback"
	b.Outcome, b.Err = f.applyOnce(ctx, hard, l, plan, o, false)
	return b
}
