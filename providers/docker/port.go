package docker

import (
	"context"
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
	made := func() error {
		_, err := dm.ContainerCreate(ctx, b.config, b.host, b.network, nil, b.name)
		return err
	}
	err := made()
	if errdefs.IsNotFound(err) && missingImage(err) {
		if err := d.fetch(ctx, dm, want.Image); err != nil {
			return err
		}
		err = made()
	}
	if errdefs.IsConflict(err) {
		c, look := dm.ContainerInspect(ctx, b.name)
		if look != nil {
			return dm.fault("make container "+b.name, err)
		}
		if err := d.owned("container", b.name, c.Config.Labels, r); err != nil {
			return err
		}
	} else if err != nil {
		return dm.fault("make container "+b.name, err)
	}
	if len(want.Files) == 0 {
		return nil
	}
	files, err := archive(want)
	if err != nil {
		return providers.Permanent(err)
	}
	err = dm.CopyToContainer(ctx, b.name, "/", files, container.CopyToContainerOptions{})
	return dm.fault("put files into container "+b.name, err)
}
