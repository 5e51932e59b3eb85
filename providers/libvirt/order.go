package libvirt

import (
	"context"

	"github.com/flowctl/flowctl/engine"
)

// Suspends implements providers.Suspender: machines pause with all that they run.
func (l *Libvirt) Suspends(k engine.Kind) bool { return k == engine.KindVM }

// Suspend implements providers.Suspender.
func (l *Libvirt) Suspend(ctx context.Context, o engine.Object) error {
	return l.order(ctx, o, hypervisor.Suspend)
}

// Resume implements providers.Suspender.
func (l *Libvirt) Resume(ctx context.Context, o engine.Object) error {
	return l.order(ctx, o, hypervisor.Resume)
}

func (l *Libvirt) order(ctx context.Context, o engine.Object, do func(hypervisor, string) error) error {
	h, err := l.begin(ctx)
	if err != nil {
		return err
	}
	return do(h, l.name(o.Address, o.Gen))
}
