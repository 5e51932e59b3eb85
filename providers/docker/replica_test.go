package docker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

// inside runs the probe in a replica's container.
func (l *lab) inside(t *testing.T, o engine.Object, in string, args ...string) (string, int) {
	t.Helper()
	var out strings.Builder
	status, err := l.Exec(t.Context(), o, append([]string{"probe"}, args...), providers.Streams{In: strings.NewReader(in), Out: &out, Err: &out})
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return strings.TrimSpace(out.String()), status
}

func (l *lab) expect(t *testing.T, o engine.Object, want string, args ...string) {
	t.Helper()
	if got, status := l.inside(t, o, "", args...); got != want || status != 0 {
		t.Errorf("%v: %q (status %d), want %q", args, got, status, want)
	}
}

// eventually repeats a check until it passes or the test's time is over.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

func reach(address string) error {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		c.Close()
	}
	return err
}

func TestReplicaIsAllThatTheSpecSays(t *testing.T) {
	l := newLab(t)
	r := l.replica()
	r.Env = map[string]string{"PORT": "1"} // ours wins
	r.User, r.CapDrop = "65534:65533", []string{"ALL"}
	r.Files = []engine.File{{Path: "/etc/app.conf", Content: "a=1\n"}, {Path: "/deep/er/secret", Content: "s", Mode: "0600"}}
	r.Volumes = []engine.Volume{{Path: "/own"}, {Path: "/shared", Name: "pool"}, {Path: "/host", Source: "/etc", ReadOnly: true}}
	r.Log = &engine.LogLimit{MaxSize: engine.MiB, MaxFiles: 2}
	a, b := l.make(t, function(0), r), l.make(t, function(1), r)

	l.expect(t, a, "-rw-r--r-- a=1", "cat", "/etc/app.conf")
	l.expect(t, a, "-rw------- s", "cat", "/deep/er/secret")
	l.expect(t, a, "uid 65534 gid 65533\nCapBnd:\t0000000000000000", "id")
	l.expect(t, a, "", "exists", "/host/passwd")
	l.expect(t, a, "2 addresses", "resolve", "web")
	l.expect(t, b, "1 addresses", "resolve", "web-0")
	if at := a.Attr("network_address"); at != "web-0:8080" {
		t.Errorf("its address in the network is %s", at)
	}
	if out, status := l.inside(t, a, "through", "echo"); out != "through" || status != 0 {
		t.Errorf("echo: %q %d", out, status)
	}
	if _, status := l.inside(t, a, "", "exit", "7"); status != 7 {
		t.Errorf("exit 7 gave %d", status)
	}
	if err := reach(a.Attr("address")); err != nil {
		t.Error(err)
	}
	c, err := l.engine.ContainerInspect(t.Context(), a.ID())
	if err != nil {
		t.Fatal(err)
	}
	if got := c.HostConfig.LogConfig.Config; got["max-size"] != "1048576" || got["max-file"] != "2" {
		t.Errorf("log limits are %v", got)
	}
	if c.HostConfig.RestartPolicy.Name != container.RestartPolicyAlways {
		t.Errorf("restart policy is %v", c.HostConfig.RestartPolicy)
	}
}

func TestNamedVolumesOutliveReplicas(t *testing.T) {
	l := newLab(t)
	r := l.replica()
	r.Volumes = []engine.Volume{{Path: "/own"}, {Path: "/shared", Name: "pool"}}
	a := l.make(t, function(0), r)
	l.inside(t, a, "", "write", "/shared/x", "kept")
	l.inside(t, a, "", "write", "/own/x", "lost")
	if err := l.Delete(t.Context(), a, "r2-s0"); err != nil {
		t.Fatal(err)
	}
	b := l.make(t, function(0), r)
	l.expect(t, b, "-rw-r--r-- kept", "cat", "/shared/x")
	if out, status := l.inside(t, b, "", "exists", "/own/x"); status == 0 {
		t.Errorf("the replica's own volume is still there: %s", out)
	}
}

func TestReadOnlyRoot(t *testing.T) {
	l := newLab(t)
	r := l.replica()
	r.ReadOnly = true
	o := l.make(t, function(0), r)
	if out, status := l.inside(t, o, "", "write", "/x", "y"); status == 0 || !strings.Contains(out, "read-only") {
		t.Errorf("write to /: %q %d", out, status)
	}
	l.expect(t, o, "", "write", "/tmp/x", "y")

	r.Files = []engine.File{{Path: "/x", Content: "y"}, {Path: "/a:b"}, {Path: "/deep/er/secret", Content: "s", Mode: "0600"}}
	r.User = "65534:65533"
	with := l.make(t, function(1), r)
	l.expect(t, with, "-rw-r--r-- y", "cat", "/x")
	l.expect(t, with, "-rw------- s", "cat", "/deep/er/secret")
	for _, path := range []string{"/x", "/deep/er/other", "/run/flowctl.files/0", "/run/flowctl.files/other"} {
		if out, status := l.inside(t, with, "", "write", path, "z"); status == 0 {
			t.Errorf("write to %s: %q", path, out)
		}
	}
	if err := l.engine.ContainerRestart(t.Context(), with.ID(), container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	l.expect(t, with, "-rw-r--r-- y", "cat", "/x")
}

func TestLogs(t *testing.T) {
	l := newLab(t)
	o := l.make(t, function(0), l.replica())
	read := func(opts providers.LogOptions) (lines []providers.LogLine) {
		for line, err := range l.Logs(t.Context(), o, opts) {
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line)
		}
		return lines
	}
	eventually(t, func() error {
		if n := len(read(providers.LogOptions{Tail: -1})); n != 3 {
			return fmt.Errorf("%d lines, want 3", n)
		}
		return nil
	})
	all := read(providers.LogOptions{Tail: -1})
	slices.SortFunc(all, func(a, b providers.LogLine) int { return strings.Compare(a.Stream, b.Stream) })
	if all[0].Text != "" && all[0].Stream != "err" || time.Since(all[0].At) > time.Hour {
		t.Errorf("the first line is %+v", all[0])
	}
	long := 0
	for _, line := range all {
		long = max(long, len(line.Text))
	}
	if long != 40_000 {
		t.Errorf("the long line has %d characters, want 40000", long)
	}
	if n := len(read(providers.LogOptions{Tail: 1})); n != 1 {
		t.Errorf("the last line is %d lines", n)
	}
	if n := len(read(providers.LogOptions{Tail: -1, Since: time.Now().Add(time.Hour)})); n != 0 {
		t.Errorf("%d lines from the future", n)
	}
	following, stop := context.WithTimeout(t.Context(), 30*time.Second)
	ended := false
	for line, err := range l.Logs(following, o, providers.LogOptions{Tail: -1, Follow: true}) {
		if ended = strings.HasPrefix(line.Text, "ended by user defined signal 1"); ended || err != nil {
			break
		}
		if line.Stream == "err" { // it listened to signals before
			if err := l.engine.ContainerKill(t.Context(), o.ID(), "SIGUSR1"); err != nil {
				t.Error(err)
			}
		}
	}
	stop()
	if !ended {
		t.Error("following the log did not show what came later")
	}
}

// What the engine knows of a container is seen, and an apply mends it.
func TestMend(t *testing.T) {
	l := newLab(t)
	harm := map[string]func(id string) error{
		"killed":       func(id string) error { return l.engine.ContainerKill(t.Context(), id, "SIGKILL") },
		"paused":       func(id string) error { return l.engine.ContainerPause(t.Context(), id) },
		"disconnected": func(id string) error { return l.engine.NetworkDisconnect(t.Context(), l.flow+".host-box", id, true) },
		"starved": func(id string) error {
			_, err := l.engine.ContainerUpdate(t.Context(), id, container.UpdateConfig{Resources: container.Resources{Memory: int64(32 * engine.MiB), MemorySwap: int64(32 * engine.MiB)}})
			return err
		},
	}
	o := l.make(t, function(0), l.replica())
	for name, do := range harm {
		if err := do(o.ID()); err != nil {
			t.Fatal(name, err)
		}
		obs, err := l.Read(t.Context(), o)
		if err != nil {
			t.Fatal(name, err)
		}
		if obs.Presence == engine.Present && obs.Object.Value.RawEquals(o.Value) {
			t.Errorf("%s: nothing is seen of it", name)
		}
		if _, err := l.Apply(t.Context(), providers.Call{Operation: "r9-" + name, Address: o.Address, Gen: 1, Want: o.Value, Prior: &obs.Object}); err != nil {
			t.Errorf("%s: mend: %v", name, err)
		}
		if obs, err := l.Read(t.Context(), o); err != nil || obs.Presence != engine.Present || !obs.Object.Value.RawEquals(o.Value) {
			t.Errorf("%s: after mending: %v %s %v", name, obs.Presence, obs.Why, err)
		}
		eventually(t, func() error { return reach(o.Attr("address")) })
	}
}

// A network and an image that went with their machine's disk are made again.
func TestMendWhatIsLost(t *testing.T) {
	l := newLab(t)
	lan := l.make(t, engine.Addr(engine.KindNetwork, "lan"), engine.Network{Host: engine.HostLink{ID: l.host.ID()}})
	if err := l.engine.NetworkRemove(t.Context(), lan.ID()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.engine.ImageRemove(t.Context(), l.image.ID(), image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, o := range []engine.Object{lan, l.image} {
		if _, err := l.Apply(t.Context(), providers.Call{Operation: "r9-lost", Address: o.Address, Gen: 1, Want: o.Value, Prior: &o}); err != nil {
			t.Fatal(err)
		}
		if obs, err := l.Read(t.Context(), o); err != nil || obs.Presence != engine.Present {
			t.Errorf("%s: after mending: %v %s %v", o.Address, obs.Presence, obs.Why, err)
		}
	}
}

// A port that somebody has is not taken; the container's stays the same when it is
// started again.
func TestPorts(t *testing.T) {
	l := newLab(t)
	first := l.make(t, function(0), l.replica())
	was := first.Attr("address")
	if err := l.engine.ContainerRestart(t.Context(), first.ID(), container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return reach(was) })
	if err := l.Delete(t.Context(), first, "r2-s0"); err != nil {
		t.Fatal(err)
	}
	var squatter net.Listener
	eventually(t, func() (err error) { squatter, err = net.Listen("tcp", was); return err })
	defer squatter.Close()
	second := l.make(t, function(0), l.replica())
	if at := second.Attr("address"); at == was {
		t.Errorf("it is published at %s, which somebody else has", at)
	}
	eventually(t, func() error { return reach(second.Attr("address")) })
}

func TestHealthOfTheImageAndByCommand(t *testing.T) {
	l := newLab(t)
	own := l.make(t, engine.Addr(engine.KindImage, "own"), engine.Image{
		Build: probeBuild(t, dockerfile+`HEALTHCHECK --interval=100ms CMD ["probe", "exists", "/healthy"]`+"\n"), Host: engine.HostLink{ID: l.host.ID()},
	})
	r := l.replica()
	r.Image, r.Health = own.ID(), &engine.Health{Interval: engine.Duration(time.Second), Timeout: engine.Duration(time.Second), HealthyAfter: 1, UnhealthyAfter: 3, StartTimeout: engine.Duration(time.Minute)}
	o := l.make(t, function(0), r)
	if err := l.Probe(t.Context(), o); err == nil {
		t.Error("it is healthy although its check cannot have passed")
	}
	l.inside(t, o, "", "write", "/healthy", "")
	eventually(t, func() error { return l.Probe(t.Context(), o) })

	r.Health.HTTP = "/"
	if err := l.Probe(t.Context(), engine.Object{Address: function(0), Gen: 1, Value: engine.Encode(r)}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a check over the network is not left to the network: %v", err)
	}
	r.Health = &engine.Health{Exec: []string{"probe", "exists", "/healthy"}, Interval: engine.Duration(100 * time.Millisecond), Timeout: engine.Duration(time.Second), HealthyAfter: 1, UnhealthyAfter: 1, StartTimeout: engine.Duration(10 * time.Millisecond)}
	sick := l.make(t, function(1), r)
	eventually(t, func() error {
		if obs, err := l.Read(t.Context(), sick); err != nil || obs.Presence != engine.Down || !strings.Contains(obs.Why, "unhealthy") {
			return fmt.Errorf("presence %v %s %v", obs.Presence, obs.Why, err)
		}
		return nil
	})
}

// Engines that do not answer take the figures of no other.
func TestUsageBesideSilentEngines(t *testing.T) {
	l := newLab(t)
	o := l.make(t, function(0), l.replica())
	all := []engine.Object{o}
	for n := range 8 {
		silent, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		r := l.replica()
		r.MachineID = "tcp://" + silent.Addr().String() + "#vm.node[0]"
		all = append(all, engine.Object{Address: function(n + 1), Gen: 1, Value: engine.Encode(r)})
	}
	eventually(t, func() error { // an engine may be busy
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, err := l.Usage(ctx, all)
		if err == nil || len(got) != 1 || got[0].Address != o.Address {
			return fmt.Errorf("usage is %+v: %v", got, err)
		}
		return nil
	})
}

func TestUsageAndEvents(t *testing.T) {
	l := newLab(t)
	ctx, stop := context.WithCancel(t.Context())
	told := make(chan providers.Event, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range l.Watch(ctx) {
			if err != nil {
				return
			}
			told <- e
		}
	}()
	defer func() { stop(); <-done }()
	r := l.replica()
	r.Exec, r.Port = []string{"probe", "spin"}, 0
	busy := l.make(t, function(0), r)
	idle := l.make(t, function(1), l.replica())
	var all []providers.Usage
	eventually(t, func() (err error) {
		if all, err = l.Usage(t.Context(), []engine.Object{l.host, busy, idle}); err != nil {
			return err
		}
		if len(all) != 3 || all[1].CPUCores < 0.1 {
			return fmt.Errorf("usage is %+v", all)
		}
		return nil
	})
	if all[0].Address != l.host.Address || all[1].Address != busy.Address || all[1].CPUCores > 0.8 || all[2].CPUCores > 0.1 || all[2].MemoryBytes == 0 {
		t.Errorf("usage is %+v", all)
	}
	l.kill(t, idle)
	for {
		select {
		case e := <-told:
			if e.Address == idle.Address && e.Gen == 1 && e.What == "removed" {
				return
			}
		case <-time.After(20 * time.Second):
			t.Fatal("nobody told that the container was removed")
		}
	}
}

// Two flows of one name, or a state that was lost: nothing is taken from anybody.
func TestForeignContainersAreLeftAlone(t *testing.T) {
	l := newLab(t)
	o := l.make(t, function(0), l.replica())
	other := l.provider(t)
	call := providers.Call{Operation: "r0-other", Address: o.Address, Gen: 1, Want: want(engine.KindFunction, l.replica())}
	_, err := other.Apply(t.Context(), call)
	if err == nil || !strings.Contains(err.Error(), "whose state is elsewhere") || providers.Retryable(err) {
		t.Errorf("another state's container: %v", err)
	}
	call.Operation = "r7-s7" // our own, of a run that was given up
	again, err := l.Apply(t.Context(), call)
	if err != nil || again.Operation != "r7-s7" || again.ID() != o.ID() {
		t.Errorf("an operation that was given up: %v %v", again.ID(), err)
	}
}

func TestImport(t *testing.T) {
	l := newLab(t)
	net := l.flow + ".host-box"
	c, err := l.engine.ContainerCreate(t.Context(), &container.Config{Image: l.image.ID(), Entrypoint: []string{"probe"}, Cmd: []string{"serve"}},
		&container.HostConfig{NetworkMode: container.NetworkMode(net)}, nil, nil, "somebodys")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.engine.ContainerStart(t.Context(), c.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	o, err := l.Docker.Import(t.Context(), function(0), "somebodys")
	if err != nil {
		t.Fatal(err)
	}
	if obs, err := l.Read(t.Context(), o); err != nil || obs.Presence != engine.Present {
		t.Errorf("after the import: %v %s %v", obs.Presence, obs.Why, err)
	}
	if _, err := l.Docker.Import(t.Context(), function(1), "nobodys"); !errors.Is(err, providers.ErrNotFound) {
		t.Errorf("import what is not there: %v", err)
	}
	if err := l.Delete(t.Context(), o, "r2"); err != nil {
		t.Fatal(err)
	}
}

func TestFaultsSayWhatToDo(t *testing.T) {
	l := newLab(t)
	r := l.replica()
	r.Exec = []string{"no-such-program"}
	apply := func(a engine.Address, v any) error {
		o, err := l.Apply(t.Context(), providers.Call{Operation: "r5", Address: a, Gen: 1, Want: want(a.Kind, v)})
		o.Value = engine.Encode(v)
		if err := l.Delete(t.Context(), o, "r6"); err != nil && o.Address.Kind != engine.KindHost {
			t.Error(err)
		}
		return err
	}
	noProgram := apply(function(1), r)
	r = l.replica()
	r.Image = "flowctl/" + l.flow + "/other:0123"
	noImage := apply(function(1), r)
	noEngine := apply(engine.Addr(engine.KindHost, "other"), engine.Host{Engine: "unix:///nowhere.sock"})
	for _, c := range []struct {
		err   error
		want  string
		again bool
	}{
		{noProgram, "The image does not have that program. Correct exec", false},
		{noImage, "apply again to make it", false},
		{noEngine, "Start the container engine there, or correct engine in the host block", true},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || providers.Retryable(c.err) != c.again {
			t.Errorf("err = %v (retryable %v), want %q", c.err, providers.Retryable(c.err), c.want)
		}
	}
	gone := engine.Object{Address: function(0), Gen: 1, Value: engine.With(want(engine.KindFunction, l.replica()), map[string]cty.Value{"machine_id": cty.StringVal("unix:///nowhere.sock#host.x")})}
	if obs, err := l.Read(t.Context(), gone); err == nil || obs.Presence != engine.Unreachable {
		t.Errorf("read from an engine that does not answer: %v %v", obs.Presence, err)
	}
	for _, h := range []engine.Host{{Engine: "box:2376"}, {Engine: "http://box"}, {Engine: "unix:///x", TLS: &engine.EngineTLS{CA: "x"}}, {Engine: "tcp://box:1", TLS: &engine.EngineTLS{CA: "/no/such"}}} {
		if ds := l.Check(t.Context(), l.host.Address, want(engine.KindHost, h), nil); !ds.HasErrors() {
			t.Errorf("engine %q passes", h.Engine)
		}
	}
}
