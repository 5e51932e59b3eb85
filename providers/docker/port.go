package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// Ports of the host that containers' ports are published at. The engine could
// choose one itself, but it would choose another each time that the container or
// the engine starts again, and frontends would not find it any more. So we choose,
// by a hash of the container's name, and take the next one if somebody has it. The
// range is below that from which Linux takes ports for outgoing connections.
const (
	firstPort = 20_000
	lastPort  = 32_767
	portTries = 32
)

// candidatePort is the n-th port to try for a container.
func candidatePort(name string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	const span = lastPort - firstPort + 1
	// The stride is odd and the span even, so all ports come up.
	return firstPort + int((uint64(h.Sum32())+uint64(n)*4093)%span)
}

// launch creates and starts a replica's container, at a port that is free.
func (d *Docker) launch(ctx context.Context, dm *daemon, r providers.Ref, want engine.Replica) error {
	b := d.draw(dm, r, want)
	if shelved(want) {
		if err := d.shelve(ctx, dm, r, want, &b); err != nil {
			return err
		}
	}
	ip := "0.0.0.0"
	if dm.local {
		ip = "127.0.0.1"
	}
	for n := 0; ; n++ {
		if want.Port != 0 {
			b.publish(ip, want.Port, candidatePort(b.name, n))
		}
		if err := d.create(ctx, dm, r, want, b); err != nil {
			return err
		}
		err := dm.ContainerStart(ctx, b.name, container.StartOptions{})
		if err == nil {
			return nil
		}
		if !portTaken(err) || n >= portTries {
			return dm.fault("start container "+b.name, err)
		}
		// A container cannot be given another port: it makes room for a new one.
		if err := dm.remove(ctx, b.name); err != nil {
			return err
		}
	}
}

// create makes a replica's container, or finds the one that the same operation
// made, and puts its files in.
func (d *Docker) create(ctx context.Context, dm *daemon, r providers.Ref, want engine.Replica, b blueprint) error {
	for try := 0; ; try++ {
		_, err := dm.ContainerCreate(ctx, b.config, b.host, b.network, nil, b.name)
		switch {
		case try > 2:
		case missingImage(err):
			if err := d.fetch(ctx, dm, want.Image); err != nil {
				return err
			}
			continue
		case errdefs.IsConflict(err):
			if err = d.makeWay(ctx, dm, r, b.name); errors.Is(err, errAway) {
				continue
			}
			if err != nil {
				return err
			}
		}
		if err != nil {
			return dm.fault("make container "+b.name, err)
		}
		break
	}
	if shelved(want) {
		return nil
	}
	return d.putFiles(ctx, dm, b.name, want, want.Files)
}

// putFiles puts files into a replica's container.
func (d *Docker) putFiles(ctx context.Context, dm *daemon, name string, want engine.Replica, files []engine.File) error {
	if len(files) == 0 {
		return nil
	}
	want.Files = files
	tarball, err := archive(want)
	if err != nil {
		return providers.Permanent(err)
	}
	err = dm.CopyToContainer(ctx, name, "/", tarball, container.CopyToContainerOptions{})
	return dm.fault("put files into container "+name, err)
}

// errAway says that nothing has a container's name any more.
var errAway = errors.New("out of the way")

// makeWay looks at what has a container's name: what this operation made stays,
// and what one made that was given up goes, since it may have been made otherwise.
func (d *Docker) makeWay(ctx context.Context, dm *daemon, r providers.Ref, name string) error {
	c, err := dm.ContainerInspect(ctx, name)
	if errdefs.IsNotFound(err) { // it is only just being made, or removed
		return providers.Passing(fmt.Errorf("the name %s on %s is taken by a container that is not there yet", name, dm.place))
	}
	if err != nil {
		return dm.fault("look at container "+name, err)
	}
	switch d.whose(c.Config.Labels, r) {
	case same:
		return nil
	case stray:
		return cmp.Or(dm.remove(ctx, c.ID), errAway)
	default:
		return taken("container", name, c.Config.Labels)
	}
}
