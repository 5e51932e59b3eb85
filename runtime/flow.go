package runtime

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/engine/plan"
	"github.com/flowctl/flowctl/internal/spread"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/state"
	"github.com/flowctl/flowctl/tasks"
)

// Store is what the pipeline needs of a state.
type Store interface {
	Snapshot(ctx context.Context) (engine.Snapshot, error)
	Acquire(ctx context.Context, name string, h state.Holder, alive func(state.Holder) bool) (*state.Lease, error)
	Adjust(ctx context.Context, l *state.Lease, a state.Adjust) error
	BeginRun(ctx context.Context, l *state.Lease, r engine.RunInfo) (int64, error)
	EndRun(ctx context.Context, l *state.Lease, r engine.RunInfo) error
	Conclude(ctx context.Context, l *state.Lease, c state.Concluded) error
	Hold(ctx context.Context, l *state.Lease, why string) error
	Revise(ctx context.Context, l *state.Lease, all []engine.Revision) error
}

var _ Store = (*state.Store)(nil)

// Flow is one flow: its state and its providers.
type Flow struct {
	Store     Store // nil before the first apply
	Providers tasks.Source
	Log       *slog.Logger
	Now       func() time.Time
	Rand      *rand.Rand
	Backoff   exec.Backoff // between attempts; the zero value means exec.DefaultBackoff
	// Journal returns the journal for a lease; it is the store's, or a
	// decorated one.
	Journal func(*state.Lease) exec.Journal
	// Trace is told that a run begins, and returns who is told of its events and of
	// its end; nil for nobody.
	Trace func(engine.RunInfo) (event func(engine.Event), end func(engine.RunInfo))

	mu       sync.Mutex // guards Rand, while runs overlap
	settling sync.Mutex // held while what parts of plans have come to is written down
}

// Request says what is to be planned.
type Request struct {
	Desired     engine.Desired
	Destroy     bool
	Targets     []engine.Address
	Replace     []engine.Address
	Sizes       map[engine.Address]int // ordered by the loop
	Hands       map[engine.Address]int // ordered by hand; SpecSize gives one back to the spec
	Pins        []engine.Pin           // functions that go back to a revision
	Now         time.Time              // as in plan.Input; the flow's own, if zero
	NoRefresh   bool                   // take what is recorded for what is there
	Parallelism int                    // of reading; 0 means DefaultParallelism
	Live        *plan.Live             // for a plan of the loop
}

// SpecSize orders the size that the spec says, whatever it is.
const SpecSize = -1

// DefaultParallelism is how many tasks, or readings, run at once when nothing
// else is said: Terraform's default.
const DefaultParallelism = 10

// Planned is a plan with all that it was made from.
type Planned struct {
	Plan     engine.Plan
	Snapshot engine.Snapshot
	Found    tasks.Found
	Request  Request
}

// Plan observes the world and computes what must change. With errors among the
// findings the plan must not be applied.
func (f *Flow) Plan(ctx context.Context, r Request) (Planned, engine.Diagnostics, error) {
	if r.Now.IsZero() {
		r.Now = f.Now()
	}
	p := Planned{Request: r}
	if f.Store != nil {
		var err error
		if p.Snapshot, err = f.Store.Snapshot(ctx); err != nil {
			return p, nil, err
		}
	}
	if err := f.observe(ctx, &p); err != nil {
		return p, nil, err
	}
	diags := f.compute(ctx, &p)
	return p, diags, ctx.Err()
}

// Values returns what resources are before a plan is carried out, for evaluating
// expressions.
func (f *Flow) Values(p Planned) engine.Values { return tasks.NewRunner(p.Plan, f.Providers, f.Now) }

// observe finds out what there is: first what interrupted runs left, then
// everything that is recorded.
func (f *Flow) observe(ctx context.Context, p *Planned) error {
	n := p.Request.Parallelism
	if n == 0 {
		n = DefaultParallelism
	}
	found, err := tasks.Recover(ctx, f.Providers, p.Snapshot, n)
	if err != nil {
		return err
	}
	p.Found = found
	if p.Request.NoRefresh {
		return nil
	}
	rest := slices.DeleteFunc(slices.Clone(p.Snapshot.Objects), func(o engine.Object) bool {
		_, seen := found.Observed[o.Key()]
		return seen
	})
	seen, err := tasks.Observe(ctx, f.Providers, rest, n)
	if err != nil {
		return err
	}
	maps.Copy(seen.Observed, found.Observed) // the few to the many
	p.Found.Observed = seen.Observed
	p.Found.Warnings = append(p.Found.Warnings, seen.Warnings...)
	if !p.Request.Destroy {
		maps.Copy(p.Found.Observed, tasks.Capacities(ctx, f.Providers, p.Request.Desired, adopted(p.Snapshot.Objects, found.Adopted)))
	}
	return nil
}

// compute makes the plan and asks the providers about it.
func (f *Flow) compute(ctx context.Context, p *Planned) engine.Diagnostics {
	diags := f.recompute(ctx, p)
	if !diags.HasErrors() {
		diags = append(diags, tasks.Check(ctx, f.Providers, p.Plan)...)
	}
	return append(slices.Clone(p.Found.Warnings), diags...)
}

// recompute makes the plan from what was found. It is pure but for providers
// that are set up on the way.
func (f *Flow) recompute(ctx context.Context, p *Planned) engine.Diagnostics {
	recorded := p.Snapshot
	recorded.Objects = adopted(p.Snapshot.Objects, p.Found.Adopted)
	recorded.Sizes = resized(p.Snapshot.Sizes, p.Request)
	var diags engine.Diagnostics
	p.Plan, diags = plan.Compute(plan.Input{
		Desired: p.Request.Desired, Recorded: recorded, Observed: p.Found.Observed, Destroy: p.Request.Destroy,
		Targets: p.Request.Targets, Replace: p.Request.Replace, Sizes: p.Request.Sizes, Pins: p.Request.Pins, Now: p.Request.Now, Live: p.Request.Live,
		Spread: spread.Each,
		Refine: func(provider string, pr engine.Proposal) engine.Proposal { return f.refine(ctx, provider, pr) },
	})
	return diags
}

func (f *Flow) refine(ctx context.Context, provider string, pr engine.Proposal) engine.Proposal {
	p, err := f.Providers.Get(ctx, provider)
	if err != nil {
		return pr // Check reports it
	}
	if r, ok := providers.As[providers.Refiner](p); ok {
		return r.Refine(pr)
	}
	return pr
}

// adopted adds objects to those that are recorded, or replaces them. Without any it
// is what is recorded, itself.
func adopted(recorded, more []engine.Object) []engine.Object {
	if len(more) == 0 {
		return recorded
	}
	byKey := map[engine.Key]engine.Object{}
	for _, o := range more {
		byKey[o.Key()] = o
	}
	var all []engine.Object
	for _, o := range recorded {
		if _, again := byKey[o.Key()]; !again {
			all = append(all, o)
		}
	}
	snap := engine.Snapshot{Objects: append(all, more...)}
	snap.Sort()
	return snap.Objects
}

// ErrStale is wrapped when a plan was made from another state than there is now.
var ErrStale = errors.New("the plan is out of date")
