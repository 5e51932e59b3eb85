package local

import (
	"context"
	"fmt"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/agent"
	"github.com/flowctl/flowctl/providers"
)

// Suspends implements providers.Suspender: a machine is nothing that could be held.
func (l *Local) Suspends(k engine.Kind) bool { return k == engine.KindFunction }

// Suspend implements providers.Suspender.
func (l *Local) Suspend(ctx context.Context, o engine.Object) error {
	return l.order(ctx, o, "suspend", (*agent.Client).Suspend)
}

// Resume implements providers.Suspender.
func (l *Local) Resume(ctx context.Context, o engine.Object) error {
	return l.order(ctx, o, "resume", (*agent.Client).Resume)
}

// Restart implements providers.Restarter. The port stays.
func (l *Local) Restart(ctx context.Context, o engine.Object) error {
	return l.order(ctx, o, "restart", (*agent.Client).Restart)
}

func (l *Local) order(ctx context.Context, o engine.Object, what string, do func(*agent.Client, context.Context, string) (agent.Status, error)) error {
	c := l.client(o.Attr("machine_id"))
	defer c.Close()
	if _, err := do(c, ctx, providers.Name(o.Address, o.Gen)); err != nil {
		return l.classify(fmt.Errorf("%s %s: %w", what, o.Address, err))
	}
	return nil
}

// Signal implements providers.Signaler.
func (l *Local) Signal(ctx context.Context, o engine.Object, name string) error {
	return l.order(ctx, o, "signal", func(c *agent.Client, ctx context.Context, replica string) (agent.Status, error) {
		return agent.Status{}, c.Signal(ctx, replica, name)
	})
}
