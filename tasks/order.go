package tasks

import (
	"context"
	"errors"
	"fmt"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// Able reports whether a provider can carry out an order on objects of a kind.
func Able(ctx context.Context, source Source, action engine.Action, provider string, k engine.Kind) bool {
	p, err := source.Get(ctx, provider)
	if err != nil {
		return false
	}
	if action == engine.Restart {
		_, ok := providers.As[providers.Restarter](p)
		return ok && k == engine.KindFunction
	}
	if action.Snapshots() {
		s, ok := providers.As[providers.Snapshotter](p)
		return ok && s.Snapshotted(k)
	}
	s, ok := providers.As[providers.Suspender](p)
	return ok && s.Suspends(k)
}

// snapshot takes a snapshot of a machine, deletes one or goes back to one. A machine
// that has gone back stays suspended.
func snapshot(ctx context.Context, p providers.Provider, c *engine.Change, op engine.Op, o engine.Object) (engine.Result, error) {
	s, ok := providers.As[providers.Snapshotter](p)
	if !ok {
		return engine.Result{Object: c.Prior, Unchanged: true}, providers.Permanent(errors.New("its provider has no snapshots"))
	}
	as := *c.Prior
	var err error
	switch op {
	case engine.OpCapture:
		err = s.TakeSnapshot(ctx, o, c.Snapshot)
	case engine.OpDiscard:
		err = s.DeleteSnapshot(ctx, o, c.Snapshot)
	default:
		if err = s.RestoreSnapshot(ctx, o, c.Snapshot); err == nil {
			as.Lifecycle = engine.Suspended
		}
	}
	return engine.Result{Object: &as}, err
}

// obey carries out an operator's order on an object that stays what it is. A
// replica that runs on or again has to be healthy.
func (r *Runner) obey(ctx context.Context, c *engine.Change, s engine.Step, operation string) (engine.Result, error) {
	o := *c.Prior
	o.Operation, o.Lifecycle = operation, engine.Ready
	if s.Op == engine.OpSuspend {
		o.Lifecycle = engine.Suspended
	}
	if c.Noted {
		return engine.Result{Object: &o}, nil
	}
	p, err := r.providers.Get(ctx, s.Provider)
	if err != nil {
		return engine.Result{Object: c.Prior, Unchanged: true}, err
	}
	if c.Action.Snapshots() {
		return snapshot(ctx, p, c, s.Op, o)
	}
	if err := order(ctx, p, s.Op, o); err != nil {
		return doubtful(o), err
	}
	if s.Op == engine.OpSuspend {
		return engine.Result{Object: &o}, nil
	}
	obs, err := p.Read(ctx, o)
	if err == nil && obs.Presence != engine.Present && obs.Presence != engine.Down {
		err = errors.New(obs.Why)
	}
	if err != nil {
		return doubtful(o), fmt.Errorf("look at it again: %w", err)
	}
	o.Value = obs.Object.Value
	if err := r.verify(ctx, p, o, true); err != nil {
		return doubtful(o), err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.objects[c.Address] = o
	return engine.Result{Object: &o}, nil
}

// doubtful is the result for an object of which it is not known how far it has
// come: the next apply looks after it.
func doubtful(o engine.Object) engine.Result {
	o.Lifecycle = engine.Unverified
	return engine.Result{Object: &o}
}

func order(ctx context.Context, p providers.Provider, op engine.Op, o engine.Object) error {
	if op == engine.OpRestart {
		r, ok := providers.As[providers.Restarter](p)
		if !ok {
			return providers.Permanent(errors.New("its provider cannot restart replicas"))
		}
		return r.Restart(ctx, o)
	}
	s, ok := providers.As[providers.Suspender](p)
	switch {
	case !ok:
		return providers.Permanent(errors.New("its provider cannot suspend anything"))
	case op == engine.OpSuspend:
		return s.Suspend(ctx, o)
	default:
		return s.Resume(ctx, o)
	}
}
