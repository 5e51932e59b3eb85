package runtime

import (
	"context"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/plan"
	"github.com/flowctl/flowctl/tasks"
)

// OrderRequest says what an operator orders.
type OrderRequest struct {
	Action   engine.Action    // one that is ordered
	Targets  []engine.Address // replicas and machines, their groups or blocks
	Snapshot string           // the name of the one that it is about
	// Desired tells how replicas may be replaced, and so restarted; without it,
	// they are one after the other.
	Desired     engine.Desired
	Parallelism int // of reading; 0 means DefaultParallelism
}

// Order makes the plan that carries out an order. It goes by the state: what the
// spec says otherwise is left for an apply.
func (f *Flow) Order(ctx context.Context, r OrderRequest) (Planned, engine.Diagnostics, error) {
	p := Planned{Request: Request{Desired: r.Desired, Parallelism: r.Parallelism}}
	var err error
	if p.Snapshot, err = f.Store.Snapshot(ctx); err != nil {
		return p, nil, err
	}
	if err := f.observe(ctx, &p); err != nil {
		return p, nil, err
	}
	o := plan.Order{
		Action: r.Action, Snapshot: r.Snapshot, Targets: r.Targets, Recorded: p.Snapshot, Observed: p.Found.Observed, Policies: map[engine.Address]engine.UpdatePolicy{},
		Able: func(provider string, k engine.Kind) bool {
			return tasks.Able(ctx, f.Providers, r.Action, provider, k)
		},
	}
	o.Recorded.Objects = adopted(p.Snapshot.Objects, p.Found.Adopted)
	for _, d := range r.Desired.Decls {
		if d.Address.Kind == engine.KindFunction {
			o.Policies[d.Address] = d.Roll
		}
	}
	var diags engine.Diagnostics
	p.Plan, diags = plan.Obey(o)
	p.Plan.Flow = r.Desired.Flow
	return p, diags, ctx.Err()
}
