package docker

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// hostNetwork names the network of a host's containers. There is one host of an
// address at a time, so its generation is no part of the name, and replicas find
// the network by their machine's address alone. On another's machine there is one of
// the flow, whose name stays when the machine becomes another.
func (d *Docker) hostNetwork(host engine.Address) string {
	if host.Kind.Carries() {
		return d.settings.Flow + ".machine"
	}
	return d.settings.Flow + ".host-" + providers.Name(host, 1)
}

func (d *Docker) checkHost(_ context.Context, a engine.Address, want engine.Host, prior *engine.Host) engine.Diagnostics {
	if _, err := d.hostID(a, want); err != nil {
		return engine.Diagnostics{{Summary: "Container engine not usable", Address: a, Detail: fmt.Sprintf("%s: %s.", a, err)}}
	}
	return nil
}

func (d *Docker) readHost(ctx context.Context, r providers.Ref, known engine.Host) (engine.Host, providers.Status, error) {
	all, err := d.candidates(known.ID)
	if err != nil {
		return known, providers.Status{}, err
	}
	for _, dm := range all {
		net, there, err := dm.network(ctx, d.hostNetwork(r.Address))
		if err != nil {
			return known, providers.Status{}, err
		}
		if !there {
			continue
		}
		return known, providers.Status{}, d.fillHost(ctx, dm, net, &known)
	}
	return known, providers.Status{Presence: engine.Gone, Why: "its engine has no network of the flow"}, nil
}

// fillHost fills in what an engine tells of its host.
func (d *Docker) fillHost(ctx context.Context, dm *daemon, net network.Inspect, h *engine.Host) error {
	if h.CPUs == 0 || h.Memory == 0 {
		have, err := dm.capacity(ctx)
		if err != nil {
			return err
		}
		if h.CPUs == 0 {
			h.CPUs = have.CPU
		}
		if h.Memory == 0 {
			h.Memory = have.Memory
		}
	}
	h.ID, h.Address = dm.hostOf(net.Labels), dm.address
	for _, c := range net.IPAM.Config {
		h.Gateway = c.Gateway
	}
	return nil
}

// capacity asks an engine what its machine has.
func (dm *daemon) capacity(ctx context.Context) (engine.Capacity, error) {
	info, err := dm.Info(ctx)
	if err != nil {
		return engine.Capacity{}, dm.fault("ask for its capacity", err)
	}
	return engine.Capacity{CPU: float64(info.NCPU), Memory: engine.Size(info.MemTotal) / engine.MiB * engine.MiB}, nil
}

// Capacity implements providers.Sizer.
func (d *Docker) Capacity(ctx context.Context, o engine.Object) (engine.Capacity, error) {
	var h engine.Host
	if err := engine.Decode(o.Value, &h); err != nil {
		return engine.Capacity{}, err
	}
	id, err := d.hostID(o.Address, h)
	if err != nil {
		return engine.Capacity{}, err
	}
	dm, err := d.daemon(id)
	if err != nil {
		return engine.Capacity{}, err
	}
	return dm.capacity(ctx)
}

func (d *Docker) applyHost(ctx context.Context, r providers.Ref, want engine.Host, prior *engine.Host) (engine.Host, bool, error) {
	id := want.ID
	if id == "" {
		var err error
		if id, err = d.hostID(r.Address, want); err != nil {
			return want, false, providers.Permanent(err)
		}
	}
	dm, err := d.daemon(id)
	if err != nil {
		return want, false, err
	}
	if err := d.note(r, id); err != nil {
		return want, false, err
	}
	opts := network.CreateOptions{Driver: "bridge", Labels: d.labels(r, r.Address.String())}
	net, err := d.ensureNetwork(ctx, dm, d.hostNetwork(r.Address), prior != nil, opts)
	if err != nil {
		return want, false, err
	}
	return want, true, d.fillHost(ctx, dm, net, &want)
}

// removeHost removes the flow's network from an engine, and before it whatever
// else of the host's the flow has left there. An engine that does not answer may
// still have it, so that is an error.
func (d *Docker) removeHost(ctx context.Context, r providers.Ref, known engine.Host) error {
	if known.ID != "" {
		dm, err := d.daemon(known.ID)
		if err != nil {
			return err
		}
		if err := d.strip(ctx, dm, r.Address.String()); err != nil {
			return err
		}
	}
	return d.forget(r)
}

// strip removes from an engine what the flow has there for a machine: containers,
// volumes, networks.
func (d *Docker) strip(ctx context.Context, dm *daemon, machine string) error {
	pick := d.labelled(labelMachine, machine)
	containers, err := dm.ContainerList(ctx, container.ListOptions{All: true, Filters: pick})
	if err != nil {
		return dm.fault("list containers", err)
	}
	for _, c := range containers {
		if err := dm.remove(ctx, c.ID); err != nil {
			return err
		}
	}
	if err := dm.removeVolumes(ctx, pick); err != nil {
		return err
	}
	networks, err := dm.NetworkList(ctx, network.ListOptions{Filters: pick})
	if err != nil {
		return dm.fault("list networks", err)
	}
	for _, n := range networks {
		if err := dm.removeNetwork(ctx, n.ID, n.Name); err != nil {
			return err
		}
	}
	return nil
}
