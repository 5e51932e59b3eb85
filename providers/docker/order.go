package docker

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// Suspends implements providers.Suspender: a host is not ours to suspend.
func (d *Docker) Suspends(k engine.Kind) bool { return k == engine.KindFunction }

// Suspend implements providers.Suspender.
func (d *Docker) Suspend(ctx context.Context, o engine.Object) error {
	return d.order(ctx, o, "pause", func(dm *daemon, c container.InspectResponse) error {
		if c.State.Paused {
			return nil
		}
		return dm.ContainerPause(ctx, c.ID)
	})
}

// Resume implements providers.Suspender.
func (d *Docker) Resume(ctx context.Context, o engine.Object) error {
	return d.order(ctx, o, "unpause", func(dm *daemon, c container.InspectResponse) error {
		if !c.State.Paused {
			return nil
		}
		return dm.ContainerUnpause(ctx, c.ID)
	})
}

// Restart implements providers.Restarter. The container's published port stays.
func (d *Docker) Restart(ctx context.Context, o engine.Object) error {
	grace := engine.Duration(0)
	if stop := engine.MustDecode[engine.Replica](o.Value).Stop; stop != nil {
		grace = stop.Grace
	}
	return d.order(ctx, o, "restart", func(dm *daemon, c container.InspectResponse) error {
		if c.State.Paused { // it could not hear that it is to end
			if err := dm.ContainerUnpause(ctx, c.ID); err != nil {
				return err
			}
		}
		return dm.ContainerRestart(ctx, c.ID, stopOptions(grace))
	})
}

// order does something to a replica's container.
func (d *Docker) order(ctx context.Context, o engine.Object, what string, do func(*daemon, container.InspectResponse) error) error {
	dm, c, err := d.find(ctx, d.name(o.Address, o.Gen), o.Attr("machine_id"))
	if errors.Is(err, providers.ErrNotFound) {
		return providers.Permanent(err)
	}
	if err != nil {
		return err
	}
	if err := do(dm, c); err != nil && !errdefs.IsNotModified(err) {
		return dm.fault(what+" container "+c.Name, err)
	}
	return nil
}

// Signal implements providers.Signaler.
func (d *Docker) Signal(ctx context.Context, o engine.Object, name string) error {
	return d.order(ctx, o, "signal", func(dm *daemon, c container.InspectResponse) error {
		return dm.ContainerKill(ctx, c.ID, name)
	})
}
