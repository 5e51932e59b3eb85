package docker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// List implements providers.Lister: all containers and networks of the flow, on
// the engines that it has hosts on. Images carry no labels that say which
// operation made them.
func (d *Docker) List(ctx context.Context) ([]engine.Object, error) {
	all, err := d.noted()
	if err != nil {
		return nil, err
	}
	var objects []engine.Object
	for _, dm := range all {
		some, err := d.listOn(ctx, dm)
		if dm.lost(err) {
			continue
		}
		if err != nil {
			return objects, err
		}
		objects = append(objects, some...)
	}
	return objects, nil
}

func (d *Docker) listOn(ctx context.Context, dm *daemon) ([]engine.Object, error) {
	containers, err := dm.ContainerList(ctx, container.ListOptions{All: true, Filters: d.labelled()})
	if err != nil {
		return nil, dm.fault("list containers", err)
	}
	var objects []engine.Object
	for _, c := range containers {
		r := engine.Replica{Machine: c.Labels[labelMachine], MachineID: dm.hostOf(c.Labels)}
		if len(c.Names) > 0 {
			r.ID = c.Names[0][1:]
		}
		objects = append(objects, labelledObject(c.Labels, r)...)
	}
	networks, err := dm.NetworkList(ctx, network.ListOptions{Filters: d.labelled()})
	if err != nil {
		return objects, dm.fault("list networks", err)
	}
	for _, n := range networks {
		var value any = engine.Network{ID: n.Name, Host: engine.HostLink{ID: dm.hostOf(n.Labels)}}
		if a, err := engine.ParseAddress(n.Labels[labelAddress]); err == nil && a.Kind == engine.KindHost {
			value = engine.Host{ID: dm.hostOf(n.Labels), Address: dm.address}
		} else if a.Kind.Carries() {
			continue // it is not ours to make
		}
		objects = append(objects, labelledObject(n.Labels, value)...)
	}
	return objects, nil
}

// hostOf is the id of the host, of those that this engine is of, that labels name.
func (dm *daemon) hostOf(labels map[string]string) string {
	if labels[labelMachine] == "" {
		return dm.id
	}
	return dm.place + "#" + (&url.URL{Fragment: labels[labelMachine]}).EscapedFragment()
}

// labelledObject makes the object that labels tell of.
func labelledObject(labels map[string]string, value any) []engine.Object {
	a, err := engine.ParseAddress(labels[labelAddress])
	if err != nil {
		return nil
	}
	o := engine.Object{Address: a, Operation: labels[labelOperation], Value: engine.Encode(value)}
	fmt.Sscan(labels[labelGeneration], &o.Gen)
	return []engine.Object{o}
}

// Clean implements providers.Cleaner. With all, it also removes what the state
// knows nothing of.
func (d *Docker) Clean(ctx context.Context, all bool, still []string) error {
	notes, err := d.notes()
	if err != nil {
		return err
	}
	notes = slices.DeleteFunc(notes, func(n note) bool { return slices.Contains(still, n.Engine) })
	var errs []error
	errs = append(errs, d.sweepElsewhere(ctx, notes, still))
	for _, n := range notes {
		errs = append(errs, d.cleanAt(ctx, n, all))
	}
	return errors.Join(errs...)
}

// cleanAt is Clean on one engine. A machine of another provider may be gone without
// having closed the connections that there were to it: nobody waits for it for long.
func (d *Docker) cleanAt(ctx context.Context, n note, all bool) error {
	dm, err := d.daemon(n.Engine)
	if err != nil {
		return err
	}
	ctx, cancel := d.patiently(ctx, dm)
	defer cancel()
	err = errors.Join(d.sweepImages(ctx, dm), d.sweepShelves(ctx, dm))
	if err == nil && all {
		r := providers.Ref{Address: n.Host}
		err = errors.Join(d.strip(ctx, dm, n.Host.String()), d.forget(r))
	}
	if dm.lost(err) {
		err = d.forget(providers.Ref{Address: n.Host})
	}
	return err
}

// Import implements providers.Importer: a container that exists, under the name
// that its address has. One with another name is given it. What it lacks are the
// labels, which cannot be added: it is found by its name alone.
func (d *Docker) Import(ctx context.Context, a engine.Address, id string) (engine.Object, error) {
	o := engine.Object{Address: a, Gen: 1}
	if a.Kind != engine.KindFunction {
		return o, providers.Unsupported(d.settings.Name, a)
	}
	dm, c, err := d.find(ctx, id, "")
	if err != nil {
		return o, err
	}
	name := d.name(a, 1)
	if c.Name != "/"+name {
		if err := dm.ContainerRename(ctx, c.ID, name); err != nil {
			if errdefs.IsConflict(err) {
				return o, providers.Permanent(fmt.Errorf("%s is to be named %s, but another container is: %w", id, name, err))
			}
			return o, dm.fault("rename container "+id, err)
		}
	}
	if c, err = dm.ContainerInspect(ctx, c.ID); err != nil {
		return o, dm.fault("look at container "+name, err)
	}
	r := described(c)
	r.Machine = dm.machine
	fill(dm, a, &r, c)
	o.Value = engine.Encode(r)
	return o, nil
}

// described reads what a replica was made from off its container.
func described(c container.InspectResponse) engine.Replica {
	r := engine.Replica{
		Image: c.Config.Image, User: c.Config.User, ReadOnly: c.HostConfig.ReadonlyRootfs, Protocol: "http",
		CPU: float64(c.HostConfig.NanoCPUs) / 1e9, Memory: engine.Size(c.HostConfig.Memory), CapDrop: c.HostConfig.CapDrop,
	}
	if len(c.Config.Entrypoint) > 0 {
		r.Exec = append(append([]string{}, c.Config.Entrypoint...), c.Config.Cmd...)
	}
	return r
}
