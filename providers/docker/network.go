package docker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
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

// ensureNetwork makes a network, or finds the one that is there. One that the state
// knows is ours, whatever its labels say.
func (d *Docker) ensureNetwork(ctx context.Context, dm *daemon, name string, known bool, opts network.CreateOptions) (network.Inspect, error) {
	net, there, err := dm.network(ctx, name)
	if err != nil {
		return net, err
	}
	if !there {
		if _, err := dm.NetworkCreate(ctx, name, opts); err != nil && !errdefs.IsConflict(err) {
			return net, dm.fault("make network "+name, err)
		}
		if net, there, err = dm.network(ctx, name); err != nil {
			return net, err
		}
	}
	switch {
	case !there:
		return net, providers.Passing(fmt.Errorf("network %s on %s was made, but is gone", name, dm.place))
	case !known && net.Labels[labelState] != d.state():
		return net, taken("network", name, net.Labels)
	default:
		return net, nil
	}
}

// network finds a network by its name. Names of networks are not unique: an engine
// that is asked twice at a time makes two, which happens when flowctl is killed
// while it asks. All but one are removed then, since containers could not join
// either by name.
func (dm *daemon) network(ctx context.Context, name string) (net network.Inspect, there bool, err error) {
	list, err := dm.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("name", name))})
	if err != nil {
		return net, false, dm.fault("look for network "+name, err)
	}
	var all []network.Inspect
	for _, n := range list {
		if n.Name != name { // the filter takes parts of names, too
			continue
		}
		n, err := dm.NetworkInspect(ctx, n.ID, network.InspectOptions{})
		if err != nil && !errdefs.IsNotFound(err) {
			return net, false, dm.fault("look at network "+name, err)
		}
		if err == nil {
			all = append(all, n)
		}
	}
	if len(all) == 0 {
		return net, false, nil
	}
	slices.SortFunc(all, func(a, b network.Inspect) int {
		return cmp.Or(cmp.Compare(len(b.Containers), len(a.Containers)), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	for _, n := range all[1:] {
		if n.Labels[labelFlow] == "" {
			return net, false, taken("network", name, n.Labels)
		}
		if err := dm.NetworkRemove(ctx, n.ID); err != nil && !errdefs.IsNotFound(err) {
			return net, false, dm.fault("remove the double of network "+name, err)
		}
	}
	return all[0], true, nil
}

// applyNetwork makes a network. Of one that is there labels for a reader are all that may
// change; with its machine's disk it may be gone.
func (d *Docker) applyNetwork(ctx context.Context, r providers.Ref, want engine.Network, prior *engine.Network) (engine.Network, bool, error) {
	dm, err := d.daemon(want.Host.ID)
	if err != nil {
		return want, false, err
	}
	opts := network.CreateOptions{Driver: "bridge", Internal: want.Mode == "isolated", Labels: d.labels(r, dm.machine)}
	if want.CIDR != "" {
		opts.IPAM = &network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: want.CIDR}}}
	}
	name := d.name(r.Address, r.Gen)
	net, err := d.ensureNetwork(ctx, dm, name, prior != nil, opts)
	if err != nil {
		return want, false, err
	}
	want.ID, want.Gateway = name, gatewayOf(net)
	return want, true, nil
}

func gatewayOf(net network.Inspect) string {
	if len(net.IPAM.Config) == 0 {
		return ""
	}
	return net.IPAM.Config[0].Gateway
}

func (d *Docker) readNetwork(ctx context.Context, r providers.Ref, known engine.Network) (engine.Network, providers.Status, error) {
	all, err := d.candidates(known.Host.ID)
	if err != nil {
		return known, providers.Status{}, err
	}
	name := d.name(r.Address, r.Gen)
	for _, dm := range all {
		net, there, err := dm.network(ctx, name)
		if err != nil {
			return known, providers.Status{}, err
		}
		if !there {
			continue
		}
		known.ID, known.Host.ID, known.Gateway = name, dm.hostOf(net.Labels), gatewayOf(net)
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
		net, there, err := dm.network(ctx, name)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		if err := dm.removeNetwork(ctx, net.ID, name); err != nil {
			return err
		}
	}
	return nil
}

// removeNetwork removes a network. What the engine, when it is busy, has kept there
// of containers that are gone is taken off it first.
func (dm *daemon) removeNetwork(ctx context.Context, id, name string) error {
	err := dm.NetworkRemove(ctx, id)
	if err != nil && strings.Contains(err.Error(), "has active endpoints") {
		empty, rerr := dm.release(ctx, id)
		if rerr != nil && !errdefs.IsNotFound(rerr) {
			return dm.fault("look at network "+name, rerr)
		}
		if err = dm.NetworkRemove(ctx, id); err != nil && empty && !errdefs.IsNotFound(err) {
			return providers.Passing(fmt.Errorf("remove network %s on %s: %w. Nothing is on it any more: engines (20.10) miscount when many containers end at once, until they are restarted. Restart the engine, and go on", name, dm.place, err))
		}
	}
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	return dm.fault("remove network "+name, err)
}

// release takes what is gone off a network, and reports whether nothing else is on
// it.
func (dm *daemon) release(ctx context.Context, id string) (empty bool, err error) {
	net, err := dm.NetworkInspect(ctx, id, network.InspectOptions{})
	if err != nil {
		return false, err
	}
	empty = true
	for container, end := range net.Containers {
		if _, err := dm.ContainerInspect(ctx, container); errdefs.IsNotFound(err) {
			dm.NetworkDisconnect(ctx, id, end.Name, true) // whether it helped, the next attempt tells
		} else {
			empty = false
		}
	}
	return empty, nil
}
