package local

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/agent"
	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/providers"
)

// Watch implements providers.Watcher: each machine's agent tells what happens to
// its replicas, and the end of the agent itself is seen. Machines that are made
// later are not watched.
func (l *Local) Watch(ctx context.Context) iter.Seq2[providers.Event, error] {
	ids, err := l.machines()
	if err != nil {
		return providers.Unwatched(err)
	}
	var sources []func(context.Context, func(providers.Event)) error
	for _, id := range ids {
		sources = append(sources, func(ctx context.Context, tell func(providers.Event)) error {
			return l.watchMachine(ctx, id, tell)
		})
	}
	return providers.Together(ctx, sources)
}

// watchMachine tells what happens on one machine, until its agent ends.
func (l *Local) watchMachine(ctx context.Context, id string, tell func(providers.Event)) error {
	c := l.client(id)
	defer c.Close()
	m, err := c.Machine(ctx)
	if errors.Is(err, daemon.ErrNotRunning) {
		return nil // that is no news
	}
	machine := event(m.Labels, "died")
	var before map[string]agent.Status
	for revision := int64(0); err == nil; {
		var s agent.Snapshot
		if s, err = c.Changes(ctx, revision); err != nil {
			break
		}
		revision = s.Revision
		now := map[string]agent.Status{}
		for _, r := range s.Replicas {
			now[r.Name] = r
			if was, ok := before[r.Name]; before != nil && (!ok || was.State != r.State) {
				tell(event(r.Spec.Labels, string(r.State)))
			}
		}
		for name, r := range before {
			if _, ok := now[name]; !ok {
				tell(event(r.Spec.Labels, "removed"))
			}
		}
		before = now
	}
	if errors.Is(err, daemon.ErrNotRunning) {
		machine.At = time.Now()
		tell(machine)
		return nil
	}
	return err
}

// event is what happened to the object that labels tell of.
func event(labels map[string]string, what string) providers.Event {
	e := providers.Event{At: time.Now(), What: what}
	for _, o := range labelled(labels, engine.Replica{}) {
		e.Address, e.Gen = o.Address, o.Gen
	}
	return e
}
