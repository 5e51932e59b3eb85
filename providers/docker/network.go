package docker

import (
	"cmp"
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

func (d *Docker) checkNetwork(_ context.Context, a engine.Address, want engine.Network, _ *engine.Network) engine.Diagnostics {
	if want.Mode == "bridge" {
		return engine.Diagnostics{{Summary: "Network mode not possible", Address: a,
			Detail: fmt.Sprintf("%s has mode = \"bridge\", which joins machines to the network outside; containers cannot. Write \"nat\", or \"isolated\" for one that reaches nothing else.", a)}}
	}
	return nil
}

// ensureNetwork makes a network, or finds the one that the same operation made.
func (d *Docker) ensureNetwork(ctx context.Context, dm *daemon, name string, r providers.Ref, opts network.CreateOptions) (network.Inspect, error) {
	_, made := dm.NetworkCreate(ctx, name, opts)
	if made != nil && !errdefs.IsConflict(made) {
		return network.Inspect{}, dm.fault("make network "+name, made)
	}
	net, err := dm.NetworkInspect(ctx, name, network.InspectOptions{})
	if err != nil {
		return net, dm.fault("look at network "+name, cmp.Or(made, err))
	}
	if made != nil {
		return net, d.owned("network", name, net.Labels, r)
	}
	return net, nil
}

func (d *Docker) applyNetwork(ctx context.Context, r providers.Ref, want engine.Network, prior *engine.Network) (engine.Network, bool, error) {
	if prior != nil {
		return want, true, nil // labels for a reader are all that may change
	}
	dm, err := d.daemon(want.Host.ID)
	if err != nil {
		return want, false, err
	}
	opts := network.CreateOptions{Driver: "bridge", Internal: want.Mode == "isolated", Labels: d.labels(r, dm.machine)}
	if want.CIDR != "" {
		opts.IPAM = &network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: want.CIDR}}}
	}
	name := d.name(r.Address, r.Gen)
	if _, err := d.ensureNetwork(ctx, dm, name, r, opts); err != nil {
		return want, false, err
	}
	want.ID = name
	return want, true, nil
}

func (d *Docker) readNetwork(ctx context.Context, r providers.Ref, known engine.Network) (engine.Network, providers.Status, error) {
	all, err := d.candidates(known.Host.ID)
	if err != nil {
		return known, providers.Status{}, err
	}
	name := d.name(r.Address, r.Gen)
	for _, dm := range all {
		net, err := dm.NetworkInspect(ctx, name, network.InspectOptions{})
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return known, providers.Status{}, dm.fault("look for network "+name, err)
		}
		known.ID, known.Host.ID = name, dm.hostOf(net.Labels)
		return known, providers.Status{}, nil
	}
	return known, providers.Status{Presence: engine.Gone, Why: "its engine does not have it"}, nil
}

func (d *Docker) removeNetwork(ctx context.Context, r providers.Ref, known engine.Network) error {
	all, err := d.candidates(known.Host.ID)
	if err != nil {
		return err
	}
	name := d.name(r.Address, r.Gen)
	for _, dm := range all {
		if err := dm.NetworkRemove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
			return dm.fault("remove network "+name, err)
		}
	}
	return nil
}
