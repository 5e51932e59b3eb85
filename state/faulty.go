package state

import (
	"context"

	"github.com/flowctl/flowctl/engine"
)

// Fault is how one call of a Faulty store goes wrong: with Err, before it takes
// effect or, what is worse, after. The zero value is no fault.
type Fault struct {
	Err   error
	After bool
}

// Faulty decorates a store with faults, for tests.
type Faulty struct {
	*Store
	// Pick decides about one call, by the name of the method.
	Pick func(call string) Fault
}

func (f *Faulty) call(name string, do func() error) error {
	fault := f.Pick(name)
	if fault.Err != nil && !fault.After {
		return fault.Err
	}
	if err := do(); err != nil {
		return err
	}
	return fault.Err
}

// Snapshot is Store's, or fails.
func (f *Faulty) Snapshot(ctx context.Context) (s engine.Snapshot, err error) {
	err = f.call("Snapshot", func() error { s, err = f.Store.Snapshot(ctx); return err })
	return s, err
}

// Adjust is Store's, or fails.
func (f *Faulty) Adjust(ctx context.Context, l *Lease, a Adjust) error {
	return f.call("Adjust", func() error { return f.Store.Adjust(ctx, l, a) })
}

// BeginRun is Store's, or fails.
func (f *Faulty) BeginRun(ctx context.Context, l *Lease, r engine.RunInfo) (id int64, err error) {
	err = f.call("BeginRun", func() error { id, err = f.Store.BeginRun(ctx, l, r); return err })
	return id, err
}

// EndRun is Store's, or fails.
func (f *Faulty) EndRun(ctx context.Context, l *Lease, r engine.RunInfo) error {
	return f.call("EndRun", func() error { return f.Store.EndRun(ctx, l, r) })
}

// Conclude is Store's, or fails.
func (f *Faulty) Conclude(ctx context.Context, l *Lease, c Concluded) error {
	return f.call("Conclude", func() error { return f.Store.Conclude(ctx, l, c) })
}

// Hold is Store's, or fails.
func (f *Faulty) Hold(ctx context.Context, l *Lease, why string) error {
	return f.call("Hold", func() error { return f.Store.Hold(ctx, l, why) })
}

// Revise is Store's, or fails.
func (f *Faulty) Revise(ctx context.Context, l *Lease, all []engine.Revision) error {
	return f.call("Revise", func() error { return f.Store.Revise(ctx, l, all) })
}

// Journal is Store's, but what is appended may be refused.
func (f *Faulty) Journal(l *Lease) *FaultyJournal { return &FaultyJournal{f, f.Store.Journal(l)} }

// FaultyJournal is the journal of a Faulty store.
type FaultyJournal struct {
	store *Faulty
	to    *Journal
}

// Append is Journal's, or fails.
func (j *FaultyJournal) Append(ctx context.Context, b engine.Batch) error {
	return j.store.call("Append", func() error { return j.to.Append(ctx, b) })
}
