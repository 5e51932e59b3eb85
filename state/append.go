package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/flowctl/flowctl/engine"
)

// groupLimit is the most batches that share one transaction.
const groupLimit = 256

// request is one write that waits for its turn.
type request struct {
	ctx   context.Context
	lease *Lease
	do    func(context.Context, *transaction) error
	reply chan error
}

// transaction is what a write may do.
type transaction struct {
	tx    *sql.Tx
	stmts *statements
	dirty bool // an object changed: the serial grows
}

// submit hands a write to the writer and waits until it is durable.
func (s *Store) submit(ctx context.Context, l *Lease, do func(context.Context, *transaction) error) error {
	r := &request{ctx: ctx, lease: l, do: do, reply: make(chan error, 1)}
	select {
	case s.queue <- r:
	case <-s.quit:
		return errClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return <-r.reply // it may be durable from now on: ctx cannot take it back
}

var errClosed = errors.New("the state is closed")

// writer is the one goroutine that writes. Requests that wait together are
// written together; should that fail, each is tried alone, so that one bad
// request fails only itself.
func (s *Store) writer() {
	defer close(s.done)
	for {
		select {
		case r := <-s.queue:
			s.commit(s.gather(r))
		case <-s.quit:
			return
		}
	}
}

// gather takes the requests that wait already, so that they share a transaction.
func (s *Store) gather(first *request) []*request {
	group := []*request{first}
	for len(group) < groupLimit {
		select {
		case more := <-s.queue:
			group = append(group, more)
		default:
			return group
		}
	}
	return group
}

func (s *Store) commit(group []*request) {
	err := s.transact(group)
	if err == nil || len(group) == 1 {
		for _, r := range group {
			r.reply <- err
		}
		return
	}
	for _, r := range group {
		r.reply <- s.transact([]*request{r})
	}
}

// transact writes requests in one transaction, whole or not at all.
func (s *Store) transact(group []*request) error {
	ctx := context.WithoutCancel(group[0].ctx)
	if err := s.stmts.prepare(ctx, s.write); err != nil {
		return s.wrap("write the state", err)
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.wrap("write the state", err)
	}
	defer tx.Rollback()
	t := &transaction{tx: tx, stmts: &s.stmts}
	for _, r := range group {
		if err := r.lease.check(ctx, t); err != nil {
			return err
		}
		if err := r.do(ctx, t); err != nil {
			return s.wrap("write the state", err)
		}
	}
	if t.dirty {
		if _, err := t.exec(ctx, s.stmts.bump); err != nil {
			return s.wrap("write the state", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return s.wrap("write the state", err)
	}
	return nil
}

func (t *transaction) exec(ctx context.Context, stmt *sql.Stmt, args ...any) (sql.Result, error) {
	return t.tx.StmtContext(ctx, stmt).ExecContext(ctx, args...)
}

// Journal writes records under a lease.
type Journal struct {
	store *Store
	lease *Lease
}

// Journal returns the journal of the state for the holder of a lease.
func (s *Store) Journal(l *Lease) *Journal { return &Journal{s, l} }

// Append makes a batch durable: outcomes with the objects that they left, and
// intents.
func (j *Journal) Append(ctx context.Context, b engine.Batch) error {
	return j.store.submit(ctx, j.lease, func(ctx context.Context, t *transaction) error { return t.append(ctx, b) })
}

func (t *transaction) append(ctx context.Context, b engine.Batch) error {
	for _, r := range b.Tasks {
		if err := t.task(ctx, b.Run, r); err != nil {
			return err
		}
	}
	for _, o := range b.Outcomes {
		if err := t.outcome(ctx, o); err != nil {
			return err
		}
	}
	for _, in := range b.Intents {
		planned, err := engine.MarshalValue(in.Planned)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, t.stmts.intend, in.Run, in.Step, in.Operation, in.Op.String(), in.Address.String(), in.Gen,
			int(in.Address.Kind.Phase()), in.Provider, encodeList(in.Needs), string(planned), int(engine.Running), micros(in.At)); err != nil {
			return err
		}
	}
	return nil
}

// task records an attempt that failed, or a step that never ran; a good attempt
// is told by the outcome.
func (t *transaction) task(ctx context.Context, run int64, r engine.TaskRecord) error {
	switch r.State {
	case engine.Retrying, engine.Failed:
		_, err := t.exec(ctx, t.stmts.attempt, run, r.Step.ID, r.Attempt, micros(r.Started), micros(r.Ended), r.Err)
		return err
	case engine.UpstreamFailed, engine.Cancelled:
		s := r.Step
		_, err := t.exec(ctx, t.stmts.never, run, s.ID, s.Op.String(), s.Address.String(), s.Gen, int(s.Phase), s.Provider, int(r.State))
		return err
	default:
		return nil
	}
}

// outcome closes an operation and records what it left.
func (t *transaction) outcome(ctx context.Context, o engine.Outcome) error {
	state := engine.Done
	if o.Err != "" {
		state = engine.Failed
	}
	res, err := t.exec(ctx, t.stmts.settle, int(state), o.Attempts, micros(o.Started), micros(o.Ended), o.Unchanged, o.Err, o.Unknown, o.Operation)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("operation %s of %s was never intended", o.Operation, o.Address))
	}
	if o.Taken != nil {
		if err := t.dropObject(ctx, *o.Taken); err != nil {
			return err
		}
	}
	switch {
	case o.Object != nil && !o.Unchanged:
		return t.putObject(ctx, *o.Object)
	case o.Object == nil && o.Err == "" && o.Op == engine.OpDelete && !o.Unchanged:
		return t.dropObject(ctx, engine.Key{Address: o.Address, Gen: o.Gen})
	}
	return nil
}

func (t *transaction) putObject(ctx context.Context, o engine.Object) error {
	value, err := engine.MarshalValue(o.Value)
	if err != nil {
		return fmt.Errorf("value of %s: %w", o.Address, err)
	}
	t.dirty = true
	_, err = t.exec(ctx, t.stmts.put, o.Address.String(), o.Gen, o.Provider, string(value), encodeList(o.Sensitive), o.Private, encodeList(o.Needs), o.Operation, int(o.Lifecycle), micros(o.Kept))
	return err
}

func (t *transaction) dropObject(ctx context.Context, k engine.Key) error {
	t.dirty = true
	_, err := t.exec(ctx, t.stmts.drop, k.Address.String(), k.Gen)
	return err
}

// Adjust records what was found, outside of any run: objects as they are now,
// objects that are gone, operations whose outcome was found out, and the sizes of
// groups that were set by hand.
type Adjust struct {
	Put     []engine.Object
	Drop    []engine.Key
	Resolve []engine.Outcome // their objects are in Put or Drop
	Resized bool             // Sizes are all that hold by hand now
	Sizes   []engine.HandSize
}

// Adjust writes what a refresh or a recovery found out.
func (s *Store) Adjust(ctx context.Context, l *Lease, a Adjust) error {
	return s.submit(ctx, l, func(ctx context.Context, t *transaction) error {
		for _, o := range a.Put {
			if err := t.putObject(ctx, o); err != nil {
				return err
			}
		}
		for _, k := range a.Drop {
			if err := t.dropObject(ctx, k); err != nil {
				return err
			}
		}
		for _, o := range a.Resolve {
			o.Object, o.Unchanged = nil, true
			if err := t.outcome(ctx, o); err != nil {
				return err
			}
		}
		if !a.Resized {
			return nil
		}
		t.dirty = true // a saved plan may count on the sizes that were
		_, err := t.tx.ExecContext(ctx, "INSERT OR REPLACE INTO meta VALUES ('sizes', ?)", encodeList(a.Sizes))
		return err
	})
}

// Concluded is what a successful apply leaves besides objects.
type Concluded struct {
	Outputs   map[string]engine.OutputValue
	Providers []engine.Setting
	SpecPath  string
	Spec      string // digest of the spec and its variables
	Bundle    []byte // the spec itself, for whoever goes on with it; it may hold secrets. nil leaves it and its digest as they were
}

// Conclude replaces outputs and settings.
func (s *Store) Conclude(ctx context.Context, l *Lease, c Concluded) error {
	settings, err := encodeSettings(c.Providers)
	if err != nil {
		return fmt.Errorf("settings of providers: %w", err)
	}
	return s.submit(ctx, l, func(ctx context.Context, t *transaction) error {
		if _, err := t.tx.ExecContext(ctx, "DELETE FROM output"); err != nil {
			return err
		}
		for name, o := range c.Outputs {
			v, typ, err := encodeAny(o.Value)
			if err != nil {
				return fmt.Errorf("output %s: %w", name, err)
			}
			if _, err := t.tx.ExecContext(ctx, "INSERT INTO output VALUES (?, ?, ?, ?, ?)", name, v, typ, o.Sensitive, o.Description); err != nil {
				return err
			}
		}
		if _, err := t.tx.ExecContext(ctx, "INSERT OR REPLACE INTO meta VALUES ('providers', ?), ('spec_path', ?)", settings, c.SpecPath); err != nil || c.Bundle == nil {
			return err
		}
		_, err := t.tx.ExecContext(ctx, "INSERT OR REPLACE INTO meta VALUES ('spec', ?), ('bundle', ?), ('held', '')", c.Spec, string(c.Bundle))
		return err
	})
}
