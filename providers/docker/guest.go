package docker

import (
	"context"
	"errors"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// A machine that another provider makes has an engine, too: its id says where, as a
// host's does. Nobody asks us to make it ready for the flow, so whatever is to be on
// it does so first, and what is the last to leave forgets it. What is on a machine
// goes with it.

// guest returns the machine that an engine is on, if another provider made it.
func (dm *daemon) guest() (engine.Address, bool) {
	a, err := engine.ParseAddress(dm.machine)
	return a, err == nil && a.Kind.Carries()
}

// moveIn makes the engine of another's machine ready for something that is to be on
// it.
func (d *Docker) moveIn(ctx context.Context, dm *daemon, operation string) error {
	a, ok := dm.guest()
	if !ok {
		return nil
	}
	if err := d.note(providers.Ref{Address: a, Gen: 1}, dm.id); err != nil {
		return err
	}
	return d.shareNetwork(ctx, dm, operation)
}

// shareNetwork makes the network that the flow's containers share on another's machine.
func (d *Docker) shareNetwork(ctx context.Context, dm *daemon, operation string) error {
	a, _ := dm.guest()
	r := providers.Ref{Address: a, Gen: 1, Operation: operation}
	opts := network.CreateOptions{Driver: "bridge", Labels: d.labels(r, dm.machine)}
	_, err := d.ensureNetwork(ctx, dm, d.hostNetwork(a), true, opts)
	return err
}

// moveOut forgets the engine of another's machine when nothing runs on it any more.
func (d *Docker) moveOut(ctx context.Context, dm *daemon) error {
	a, ok := dm.guest()
	if !ok {
		return nil
	}
	left, err := dm.ContainerList(ctx, container.ListOptions{All: true, Filters: d.labelled()})
	if err != nil || len(left) > 0 {
		return dm.fault("list containers", err)
	}
	return d.forget(providers.Ref{Address: a})
}

// leave forgets the engine of a machine that was kept ready, unless that address has
// another by now.
func (d *Docker) leave(machine engine.Address, id string) error {
	notes, err := d.notes()
	for _, n := range notes {
		if n.Host == machine && n.Engine == id {
			return d.forget(providers.Ref{Address: machine})
		}
	}
	return err
}

// guestPatience is how long clearing away on another's machine may take: what is left
// there goes with the machine.
const guestPatience = 30 * time.Second

// patiently bounds a context for clearing away on another's machine.
func (d *Docker) patiently(ctx context.Context, dm *daemon) (context.Context, context.CancelFunc) {
	if _, ok := dm.guest(); ok {
		return context.WithTimeout(ctx, d.patience)
	}
	return ctx, func() {}
}

// lost reports whether an error means that another's machine is not there, or
// stands still, so that nothing on it can be found.
func (dm *daemon) lost(err error) bool {
	_, ok := dm.guest()
	return ok && err != nil && (providers.Retryable(err) || errors.Is(err, context.DeadlineExceeded))
}
