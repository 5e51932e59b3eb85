package docker

import (
	"archive/tar"
	"bytes"
	"fmt"
	"hash/fnv"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// Log limits of containers whose function says nothing: without any, the engine
// keeps logs until the disk is full.
const (
	logMaxSize  = 10 * engine.MiB
	logMaxFiles = 3
)

// blueprint is what a container is made from.
type blueprint struct {
	name    string
	config  *container.Config
	host    *container.HostConfig
	network *network.NetworkingConfig
}

// draw makes a replica's blueprint; its port is not published yet.
func (d *Docker) draw(dm *daemon, r providers.Ref, want engine.Replica) blueprint {
	b := blueprint{name: d.name(r.Address, r.Gen)}
	labels := maps.Clone(want.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, d.labels(r, want.Machine))
	b.config = &container.Config{
		Image: want.Image, Env: d.environment(r, want), WorkingDir: want.WorkingDir, User: want.User,
		Labels: labels, Hostname: hostname(r), Healthcheck: healthcheck(want.Health),
	}
	if len(want.Exec) > 0 {
		b.config.Entrypoint, b.config.Cmd = want.Exec[:1], want.Exec[1:]
	}
	if want.Stop != nil {
		b.config.StopSignal = want.Stop.Signal
	}
	net := d.networkOf(want)
	b.host = &container.HostConfig{
		NetworkMode: container.NetworkMode(net), RestartPolicy: restartPolicy(want.Restart), LogConfig: logConfig(want.Log),
		ReadonlyRootfs: want.ReadOnly, CapDrop: want.CapDrop, Mounts: d.mounts(r, want), Resources: resources(want),
	}
	if want.ReadOnly {
		b.host.Tmpfs = map[string]string{"/tmp": ""}
	}
	b.network = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{net: {Aliases: aliases(r)}}}
	return b
}

// hostname is the replica's name as far as the kernel takes it.
func hostname(r providers.Ref) string {
	name := providers.Name(r.Address, r.Gen)
	return name[:min(len(name), 63)]
}

// aliases are the names by which other containers find a replica.
func aliases(r providers.Ref) []string {
	return []string{providers.Name(r.Address.Group(), 1), providers.Name(r.Address, 1)}
}

// networkOf names the network that a replica is on.
func (d *Docker) networkOf(want engine.Replica) string {
	if want.Network.ID != "" {
		return want.Network.ID
	}
	host, err := engine.ParseAddress(want.Machine)
	if err != nil {
		panic("bug: replica on a machine without an address: " + err.Error())
	}
	return d.hostNetwork(host)
}

func (d *Docker) environment(r providers.Ref, want engine.Replica) []string {
	env := maps.Clone(want.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, map[string]string{
		"HOST": "0.0.0.0", "FLOWCTL_ADDRESS": r.Address.String(), "FLOWCTL_FLOW": d.settings.Flow,
		"FLOWCTL_REPLICA": providers.Name(r.Address, r.Gen), "FLOWCTL_MACHINE": want.Machine, "FLOWCTL_FILES": "",
	})
	if want.Port != 0 {
		env["PORT"] = strconv.Itoa(want.Port)
	}
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}

// resources are the limits of a replica. Memory is all that it gets: none of it
// is swapped out.
func resources(want engine.Replica) container.Resources {
	return container.Resources{NanoCPUs: nanoCPUs(want.CPU), Memory: int64(want.Memory), MemorySwap: int64(want.Memory)}
}

func nanoCPUs(cores float64) int64 { return int64(cores*1e9 + 0.5) }

func restartPolicy(word string) container.RestartPolicy {
	switch word {
	case "no":
		return container.RestartPolicy{Name: container.RestartPolicyDisabled}
	case "on_failure":
		return container.RestartPolicy{Name: container.RestartPolicyOnFailure}
	default:
		return container.RestartPolicy{Name: container.RestartPolicyAlways}
	}
}

func logConfig(l *engine.LogLimit) container.LogConfig {
	size, files := logMaxSize, logMaxFiles
	if l != nil && l.MaxSize > 0 {
		size = l.MaxSize
	}
	if l != nil && l.MaxFiles > 0 {
		files = l.MaxFiles
	}
	return container.LogConfig{Type: "json-file", Config: map[string]string{
		"max-size": strconv.FormatInt(int64(size), 10), "max-file": strconv.Itoa(files),
	}}
}

// healthcheck is what the engine itself is to check. A check over the network is
// made from outside, by flowctl and by frontends; then the image's own, if it has
// one, is not wanted. A block that says nothing, or no block, leaves that.
func healthcheck(h *engine.Health) *container.HealthConfig {
	switch {
	case h == nil:
		return nil
	case len(h.Exec) > 0:
		return &container.HealthConfig{
			Test: append([]string{"CMD"}, h.Exec...), Interval: h.Interval.Std(), Timeout: h.Timeout.Std(),
			StartPeriod: h.StartTimeout.Std(), Retries: h.UnhealthyAfter,
		}
	case h.HTTP != "" || h.TCP:
		return &container.HealthConfig{Test: []string{"NONE"}}
	default:
		return nil
	}
}

func (d *Docker) mounts(r providers.Ref, want engine.Replica) []mount.Mount {
	var all []mount.Mount
	for _, v := range want.Volumes {
		m := mount.Mount{Type: mount.TypeVolume, Target: v.Path, ReadOnly: v.ReadOnly}
		labels := d.labels(r, want.Machine)
		switch {
		case v.Source != "":
			m.Type, m.Source = mount.TypeBind, v.Source
		case v.Name != "":
			// It is everybody's on the host, so it goes with the host alone.
			delete(labels, labelAddress)
			delete(labels, labelGeneration)
			m.Source = d.settings.Flow + "." + v.Name
		default:
			h := fnv.New32a()
			h.Write([]byte(v.Path))
			m.Source = fmt.Sprintf("%s-%08x", d.name(r.Address, r.Gen), h.Sum32())
		}
		if m.Type == mount.TypeVolume {
			m.VolumeOptions = &mount.VolumeOptions{Labels: labels}
		}
		all = append(all, m)
	}
	return all
}

// publish publishes the replica's port at a port of the host.
func (b *blueprint) publish(ip string, port, hostPort int) {
	p := nat.Port(fmt.Sprintf("%d/tcp", port))
	b.config.ExposedPorts = nat.PortSet{p: {}}
	b.host.PortBindings = nat.PortMap{p: {{HostIP: ip, HostPort: strconv.Itoa(hostPort)}}}
}

// archive packs the files that the spec puts into a container, for its root or, by
// number, for its shelf. They belong to the user that it runs as, as far as that is
// told by number.
func archive(want engine.Replica) (*bytes.Buffer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	uid, gid := owner(want.User)
	for i, f := range want.Files {
		mode, err := engine.FileMode(f.Mode)
		if err != nil {
			return nil, err
		}
		h := &tar.Header{Name: strings.TrimPrefix(path.Clean(f.Path), "/"), Mode: mode, Size: int64(len(f.Content)), Typeflag: tar.TypeReg, Uid: uid, Gid: gid}
		if shelved(want) {
			h.Name = strconv.Itoa(i)
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(f.Content)); err != nil {
			return nil, err
		}
	}
	return &buf, w.Close()
}

func owner(user string) (uid, gid int) {
	u, g, _ := strings.Cut(user, ":")
	uid, _ = strconv.Atoi(u)
	gid, _ = strconv.Atoi(g)
	return uid, gid
}
