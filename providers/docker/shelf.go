package docker

import (
	"context"
	"errors"
	"path"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// The engine puts no files into a container whose file system cannot be written
// to, and a volume that such a container cannot write to takes none either. So a
// container of the same image, which never runs, puts them into a volume, the
// shelf; and each file is bound from there to its place.

// shelfDir is where containers have the shelf.
const shelfDir = "/run/flowctl.files"

// labelShelf marks the container that fills a shelf. It has no address: what is
// left of it after a crash is nobody's object.
const labelShelf = "flowctl.shelf"

func shelved(want engine.Replica) bool { return want.ReadOnly && len(want.Files) > 0 }

// shelve fills the shelf of a replica and adds its files to the blueprint.
func (d *Docker) shelve(ctx context.Context, dm *daemon, r providers.Ref, want engine.Replica, b *blueprint) error {
	name := b.name + "-files"
	v, err := dm.VolumeCreate(ctx, volume.CreateOptions{Name: name, Driver: "local", Labels: d.labels(r, want.Machine)})
	if err != nil {
		return dm.fault("make volume "+name, err)
	}
	if err := d.stock(ctx, dm, want, name); err != nil {
		return errors.Join(err, dm.remove(ctx, name))
	}
	if err := dm.remove(ctx, name); err != nil {
		return err
	}
	b.host.Mounts = append(b.host.Mounts, mount.Mount{Type: mount.TypeVolume, Source: name, Target: shelfDir, ReadOnly: true})
	for i, f := range want.Files {
		b.host.Mounts = append(b.host.Mounts, mount.Mount{
			Type: mount.TypeBind, Source: path.Join(v.Mountpoint, strconv.Itoa(i)), Target: path.Clean(f.Path), ReadOnly: true,
		})
	}
	return nil
}

// stock puts the files onto a shelf, by a container of the shelf's name.
func (d *Docker) stock(ctx context.Context, dm *daemon, want engine.Replica, name string) error {
	config := &container.Config{Image: want.Image, Entrypoint: []string{"none"}, Labels: map[string]string{
		labelFlow: d.settings.Flow, labelMachine: want.Machine, labelState: d.state(), labelShelf: name,
	}}
	host := &container.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: name, Target: shelfDir}}}
	_, err := dm.ContainerCreate(ctx, config, host, nil, nil, name)
	switch {
	case missingImage(err):
		if err := d.fetch(ctx, dm, want.Image); err != nil {
			return err
		}
		_, err = dm.ContainerCreate(ctx, config, host, nil, nil, name)
	case errdefs.IsConflict(err): // of a run that was killed
		if err := dm.remove(ctx, name); err != nil {
			return err
		}
		_, err = dm.ContainerCreate(ctx, config, host, nil, nil, name)
	}
	if err != nil {
		return dm.fault("make container "+name, err)
	}
	files, err := archive(want)
	if err != nil {
		return providers.Permanent(err)
	}
	return dm.fault("put files into volume "+name, dm.CopyToContainer(ctx, name, shelfDir, files, container.CopyToContainerOptions{}))
}

// sweepShelves removes the containers that fill shelves, of runs that were killed.
func (d *Docker) sweepShelves(ctx context.Context, dm *daemon) error {
	pick := d.labelled(labelState, d.state())
	pick.Add("label", labelShelf)
	left, err := dm.ContainerList(ctx, container.ListOptions{All: true, Filters: pick})
	errs := []error{dm.fault("list containers", err)}
	for _, c := range left {
		errs = append(errs, dm.remove(ctx, c.ID))
	}
	return errors.Join(errs...)
}
