package docker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

func (d *Docker) applyReplica(ctx context.Context, r providers.Ref, want engine.Replica, prior *engine.Replica) (engine.Replica, bool, error) {
	dm, err := d.daemon(want.MachineID)
	if err != nil {
		return want, false, err
	}
	if err := d.moveIn(ctx, dm, r.Operation); err != nil {
		return want, false, err
	}
	name := d.name(r.Address, r.Gen)
	if prior != nil {
		c, err := dm.ContainerInspect(ctx, name)
		if err == nil {
			err := d.mend(ctx, dm, r, &want, c)
			if err == nil {
				err = d.putFiles(ctx, dm, name, want, engine.ChangedFiles(prior.Files, want.Files))
			}
			return want, true, errors.Join(err, d.settle(ctx, dm, r, &want))
		}
		if !errdefs.IsNotFound(err) {
			return want, false, dm.fault("look at container "+name, err)
		}
	}
	if err := d.launch(ctx, dm, r, want); err != nil {
		return want, false, err // what exists is found out by the caller
	}
	if err := d.settle(ctx, dm, r, &want); err != nil {
		return want, false, err
	}
	return want, true, nil
}

// settle fills in what became of a replica.
func (d *Docker) settle(ctx context.Context, dm *daemon, r providers.Ref, want *engine.Replica) error {
	name := d.name(r.Address, r.Gen)
	c, err := dm.ContainerInspect(ctx, name)
	if err != nil {
		return dm.fault("look at container "+name, err)
	}
	fill(dm, r.Address, want, c)
	return nil
}

// fill fills in where a replica is and how it is reached.
func fill(dm *daemon, a engine.Address, r *engine.Replica, c container.InspectResponse) {
	r.ID, r.MachineID = strings.TrimPrefix(c.Name, "/"), dm.hostOf(c.Config.Labels)
	r.Host, r.HostPort, r.Address, r.URL = dm.address, 0, "", ""
	r.NetworkAddress = networkAddress(a, r.Port)
	for port, at := range c.HostConfig.PortBindings {
		if len(at) > 0 && (r.Port == 0 || port.Int() == r.Port) {
			r.Port = port.Int()
			r.HostPort, _ = strconv.Atoi(at[0].HostPort)
		}
	}
	if r.HostPort == 0 {
		return
	}
	r.Address = net.JoinHostPort(r.Host, strconv.Itoa(r.HostPort))
	scheme := "http"
	if r.Protocol == "tcp" {
		scheme = "tcp"
	}
	r.URL = scheme + "://" + r.Address
}

// networkAddress is where other containers on its network reach a replica.
func networkAddress(a engine.Address, port int) string {
	name := providers.Name(a, 1)
	if port == 0 {
		return name
	}
	return net.JoinHostPort(name, strconv.Itoa(port))
}

// mend brings a container that exists to what is wanted: limits, network, running.
func (d *Docker) mend(ctx context.Context, dm *daemon, r providers.Ref, want *engine.Replica, c container.InspectResponse) error {
	if c.HostConfig.NanoCPUs != nanoCPUs(want.CPU) || c.HostConfig.Memory != int64(want.Memory) {
		_, err := dm.ContainerUpdate(ctx, c.ID, container.UpdateConfig{Resources: resources(*want)})
		if err != nil {
			return dm.fault("set the limits of container "+c.Name, err)
		}
	}
	net := d.networkOf(*want)
	if on := c.NetworkSettings.Networks[net]; on == nil {
		err := dm.NetworkConnect(ctx, net, c.ID, &network.EndpointSettings{Aliases: aliases(r)})
		if err != nil {
			return dm.fault("join container "+c.Name+" to network "+net, err)
		}
	}
	var err error
	switch {
	case c.State.Paused:
		err = dm.ContainerUnpause(ctx, c.ID)
	case c.State.Restarting, unhealthy(c):
		// A new start ends the engine's growing pauses, too.
		err = dm.ContainerRestart(ctx, c.ID, container.StopOptions{})
	case !c.State.Running:
		err = dm.ContainerStart(ctx, c.ID, container.StartOptions{})
	}
	return dm.fault("start container "+c.Name+" again", err)
}

func unhealthy(c container.InspectResponse) bool {
	return c.State.Health != nil && c.State.Health.Status == container.Unhealthy
}

// find looks a replica's container up, on the recorded engine or on all.
func (d *Docker) find(ctx context.Context, name, machineID string) (*daemon, container.InspectResponse, error) {
	all, err := d.candidates(machineID)
	if err != nil {
		return nil, container.InspectResponse{}, err
	}
	for _, dm := range all {
		c, err := dm.ContainerInspect(ctx, name)
		switch {
		case err == nil:
			return dm, c, nil
		case machineID == "" && dm.lost(dm.fault("", err)):
		case !errdefs.IsNotFound(err):
			return nil, c, dm.fault("look for container "+name, err)
		}
	}
	return nil, container.InspectResponse{}, fmt.Errorf("container %s: %w", name, providers.ErrNotFound)
}

func (d *Docker) readReplica(ctx context.Context, r providers.Ref, known engine.Replica) (engine.Replica, providers.Status, error) {
	dm, c, err := d.find(ctx, d.name(r.Address, r.Gen), known.MachineID)
	if errors.Is(err, providers.ErrNotFound) {
		return known, providers.Status{Presence: engine.Gone, Why: "its engine does not have the container"}, nil
	}
	if err != nil {
		return known, providers.Status{}, err
	}
	fill(dm, r.Address, &known, c)
	if known.Machine == "" {
		known.Machine = c.Config.Labels[labelMachine]
	}
	if nanoCPUs(known.CPU) != c.HostConfig.NanoCPUs {
		known.CPU = float64(c.HostConfig.NanoCPUs) / 1e9
	}
	if m := engine.Size(c.HostConfig.Memory); known.Memory != m {
		known.Memory = m
	}
	status := stateOf(c)
	if net := d.networkOf(known); status.Presence == engine.Present && c.NetworkSettings.Networks[net] == nil {
		status = providers.Status{Presence: engine.Down, Why: "its container is not on the network " + net}
	}
	return known, status, nil
}

// stateOf says whether a replica works, as far as its engine tells.
func stateOf(c container.InspectResponse) providers.Status {
	down := func(format string, args ...any) providers.Status {
		return providers.Status{Presence: engine.Down, Why: fmt.Sprintf(format, args...)}
	}
	s := c.State
	switch {
	case s.Paused:
		return down("its container is paused")
	case s.Restarting:
		return down("its container ended with status %d and is about to be started again (%d restarts)", s.ExitCode, c.RestartCount)
	case unhealthy(c):
		return down("its container is unhealthy: %s", lastCheck(c))
	case s.Running:
		return providers.Status{}
	case s.OOMKilled:
		return down("its container was killed for using more memory than %s", engine.Size(c.HostConfig.Memory))
	case s.Error != "":
		return down("its container does not run: %s", s.Error)
	case s.Status == "created":
		return down("its container was never started")
	default:
		return down("its container ended with status %d", s.ExitCode)
	}
}

// lastCheck is what the last check of a container printed.
func lastCheck(c container.InspectResponse) string {
	if c.State.Health == nil || len(c.State.Health.Log) == 0 {
		return "no check has ended yet"
	}
	last := c.State.Health.Log[len(c.State.Health.Log)-1]
	out := strings.TrimSpace(last.Output)
	return fmt.Sprintf("its check ended with status %d: %s", last.ExitCode, out[:min(len(out), 300)])
}

func (d *Docker) removeReplica(ctx context.Context, r providers.Ref, known engine.Replica) error {
	name := d.name(r.Address, r.Gen)
	dm, c, err := d.find(ctx, name, known.MachineID)
	if errors.Is(err, providers.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	grace := engine.Duration(0)
	if known.Stop != nil {
		grace = known.Stop.Grace
	}
	if err := dm.stop(ctx, c, grace); err != nil {
		return err
	}
	if err := dm.remove(ctx, c.ID); err != nil {
		return err
	}
	if slices.ContainsFunc(c.Mounts, func(m container.MountPoint) bool { return m.Name != "" }) {
		err := dm.removeVolumes(ctx, d.labelled(labelAddress, r.Address.String(), labelGeneration, strconv.Itoa(r.Gen)))
		if err != nil {
			return err
		}
	}
	return d.moveOut(ctx, dm)
}

// stop asks a container to end, and kills it after the grace that it has.
func (dm *daemon) stop(ctx context.Context, c container.InspectResponse, grace engine.Duration) error {
	if c.State.Paused { // it could not hear it
		if err := dm.ContainerUnpause(ctx, c.ID); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			return dm.fault("wake container "+c.Name, err)
		}
	}
	err := dm.ContainerStop(ctx, c.ID, stopOptions(grace))
	if err == nil || errdefs.IsNotFound(err) || errdefs.IsNotModified(err) {
		return nil
	}
	return dm.fault("stop container "+c.Name, err)
}

// stopOptions gives a container its grace to end; the engine's own, if it is 0.
func stopOptions(grace engine.Duration) container.StopOptions {
	if grace <= 0 {
		return container.StopOptions{}
	}
	secs := int(math.Ceil(grace.Std().Seconds()))
	return container.StopOptions{Timeout: &secs}
}

// remove removes a container and its volumes that have no name.
func (dm *daemon) remove(ctx context.Context, id string) error {
	err := dm.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	return dm.fault("remove container "+id, err)
}

func (dm *daemon) removeVolumes(ctx context.Context, pick filters.Args) error {
	list, err := dm.VolumeList(ctx, volume.ListOptions{Filters: pick})
	if err != nil {
		return dm.fault("list volumes", err)
	}
	for _, v := range list.Volumes {
		if err := dm.VolumeRemove(ctx, v.Name, false); err != nil && !errdefs.IsNotFound(err) {
			return dm.fault("remove volume "+v.Name, err)
		}
	}
	return nil
}

// Probe implements providers.Prober for functions whose image checks itself.
func (d *Docker) Probe(ctx context.Context, o engine.Object) error {
	r := engine.MustDecode[engine.Replica](o.Value)
	if h := r.Health; h == nil || h.HTTP != "" || h.TCP || len(h.Exec) > 0 {
		return errors.ErrUnsupported
	}
	_, c, err := d.find(ctx, d.name(o.Address, o.Gen), r.MachineID)
	switch {
	case err != nil:
		return err
	case stateOf(c).Presence != engine.Present:
		return errors.New(stateOf(c).Why)
	case c.State.Health != nil && c.State.Health.Status != container.Healthy && c.State.Health.Status != container.NoHealthcheck:
		return errors.New("the image's own check has not passed: " + lastCheck(c))
	default:
		return nil
	}
}
