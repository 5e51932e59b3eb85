package docker

import (
	"context"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
)

// rehearse lets an engine go through the start of a container of an image, for a machine
// that is kept ready: the first on an engine takes up to twice as long as the next, for
// all that is read from disk, and translated where the machine is emulated. Nothing of the
// image runs, since the program that is asked for is in none; so the start fails, as the
// last thing that it does. What comes of it does not matter.
func (d *Docker) rehearse(ctx context.Context, dm *daemon, image string) {
	machine, ok := dm.guest()
	if !ok {
		return
	}
	const port = nat.Port("1/tcp")
	name, net := d.settings.Flow+".rehearsal", d.hostNetwork(machine)
	_ = dm.remove(ctx, name) // of one that was killed
	config := &container.Config{Image: image, Entrypoint: []string{"/flowctl-rehearsal"}, ExposedPorts: nat.PortSet{port: {}}}
	host := &container.HostConfig{NetworkMode: container.NetworkMode(net), PortBindings: nat.PortMap{port: {{HostIP: "127.0.0.1"}}}}
	if _, err := dm.ContainerCreate(ctx, config, host, &network.NetworkingConfig{}, nil, name); err != nil {
		return
	}
	_ = dm.ContainerStart(ctx, name, container.StartOptions{})
	_ = dm.remove(ctx, name)
}
