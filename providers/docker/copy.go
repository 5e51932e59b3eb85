package docker

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/flowctl/flowctl/engine"
)

// inside finds a replica's container, and a program's path in it.
func (d *Docker) inside(ctx context.Context, o engine.Object, p string) (*daemon, container.InspectResponse, string, error) {
	dm, c, err := d.find(ctx, d.name(o.Address, o.Gen), o.Attr("machine_id"))
	if err == nil && !path.IsAbs(p) {
		p = path.Join("/", c.Config.WorkingDir, p)
	}
	return dm, c, p, err
}

// Stat implements providers.Copier.
func (d *Docker) Stat(ctx context.Context, o engine.Object, p string) (dir bool, err error) {
	dm, c, p, err := d.inside(ctx, o, p)
	if err != nil {
		return false, err
	}
	stat, err := dm.ContainerStatPath(ctx, c.ID, p)
	switch {
	case errdefs.IsNotFound(err):
		return false, fmt.Errorf("%s in container %s: %w", p, c.Name, fs.ErrNotExist)
	case err != nil:
		return false, dm.fault("look at "+p+" in container "+c.Name, err)
	case stat.Mode&fs.ModeSymlink != 0 && stat.LinkTarget != p && stat.LinkTarget != "":
		return d.Stat(ctx, o, stat.LinkTarget)
	}
	return stat.Mode.IsDir(), nil
}

// CopyFrom implements providers.Copier.
func (d *Docker) CopyFrom(ctx context.Context, o engine.Object, p string) (io.ReadCloser, error) {
	dm, c, p, err := d.inside(ctx, o, p)
	if err != nil {
		return nil, err
	}
	r, _, err := dm.CopyFromContainer(ctx, c.ID, p)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%s in container %s: %w", p, c.Name, fs.ErrNotExist)
	}
	return r, dm.fault("copy "+p+" out of container "+c.Name, err)
}

// CopyTo implements providers.Copier.
func (d *Docker) CopyTo(ctx context.Context, o engine.Object, dir string, tar io.Reader) error {
	dm, c, dir, err := d.inside(ctx, o, dir)
	if err != nil {
		return err
	}
	err = dm.CopyToContainer(ctx, c.ID, dir, tar, container.CopyToContainerOptions{})
	return dm.fault("copy to "+dir+" in container "+c.Name, err)
}
