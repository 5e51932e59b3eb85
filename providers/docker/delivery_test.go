package docker_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/dockerlab"
	"github.com/flowctl/flowctl/providers"
)

// further adds a host with an engine of its own to a lab.
func (l *lab) further(t *testing.T, dataRoot string) (*dockerlab.Engine, engine.Object) {
	t.Helper()
	e := dockerlab.Start(t, dataRoot)
	return e, l.make(t, engine.Addr(engine.KindHost, "far"), engine.Host{Engine: e.Host})
}

// deliver wants an image on a host.
func deliver(image, host engine.Object) (engine.Address, engine.Delivery) {
	v := engine.MustDecode[engine.Image](image.Value)
	return engine.DeliveryOf(image.Address, host.Address), engine.Delivery{
		Image: image.Address.String(), Name: v.ID, Digest: v.Digest, Ref: v.Ref, Platform: v.Platform,
		Distribute: v.Distribution(), Source: v.Host.ID, Machine: host.Address.String(), MachineID: host.ID(),
	}
}

func (l *lab) refused(t *testing.T, a engine.Address, v any, says ...string) {
	t.Helper()
	_, err := l.Apply(t.Context(), providers.Call{Operation: "r8-" + a.Name, Address: a, Gen: 1, Want: want(a.Kind, v)})
	for _, text := range says {
		if err == nil || !strings.Contains(err.Error(), text) || providers.Retryable(err) {
			t.Errorf("err = %v (retryable %v), want %q", err, providers.Retryable(err), text)
		}
	}
}

// An image that one host has is streamed to another, seen when it is gone, and
// taken away again: nobody else's.
func TestPush(t *testing.T) {
	l := newLab(t)
	e, far := l.further(t, "")
	a, v := deliver(l.image, far)
	if v.Distribute != "push" {
		t.Fatalf("what is built is distributed by %s", v.Distribute)
	}
	var notes []string
	ctx := engine.WithNotes(t.Context(), func(text string) { notes = append(notes, text) })
	o, err := l.Apply(ctx, providers.Call{Operation: "r1", Address: a, Gen: 1, Want: want(a.Kind, v)})
	if err != nil {
		t.Fatal(err)
	}
	if len(notes) == 0 || len(notes) > 21 || !strings.HasPrefix(notes[len(notes)-1], "sent ") {
		t.Errorf("notes are %q", notes)
	}
	r := l.replica()
	r.Machine, r.MachineID = far.Address.String(), far.ID()
	web := l.make(t, function(0), r)
	if err := reach(web.Attr("address")); err != nil {
		t.Error(err)
	}
	if err := l.Delete(t.Context(), web, "r2"); err != nil {
		t.Fatal(err)
	}
	e.Docker("rmi", o.ID())
	obs, err := l.provider(t).Read(t.Context(), o)
	if err != nil || obs.Presence != engine.Down || !strings.Contains(obs.Why, "does not have the image") {
		t.Errorf("removed by hand: %v %s %v", obs.Presence, obs.Why, err)
	}
	if o, err = l.Apply(t.Context(), providers.Call{Operation: "r3", Address: a, Gen: 1, Want: o.Value, Prior: &obs.Object}); err != nil {
		t.Fatal(err)
	}
	e.Docker("tag", o.ID(), "somebodys")
	if err := l.Delete(t.Context(), o, "r4"); err != nil {
		t.Fatal(err)
	}
	if left := e.Docker("image", "ls", "--format", "{{.Repository}}"); left != "somebodys" {
		t.Errorf("after the delivery is gone there are %q", left)
	}
	if left := e.Docker("image", "ls", "-q", "--filter", "dangling=true"); left != "" {
		t.Errorf("images without a name are left: %s", left)
	}
}

// Two hosts that share an engine share what is delivered to it.
func TestDeliveriesToOneEngine(t *testing.T) {
	l := newLab(t)
	e, far := l.further(t, "")
	near := l.make(t, engine.Addr(engine.KindHost, "near"), engine.Host{Engine: e.Host})
	a, v := deliver(l.image, far)
	b, w := deliver(l.image, near)
	first, second := l.make(t, a, v), l.make(t, b, w)
	if err := l.Delete(t.Context(), first, "r2"); err != nil {
		t.Fatal(err)
	}
	if obs, err := l.Read(t.Context(), second); err != nil || obs.Presence != engine.Present {
		t.Errorf("one delivery took away the other's: %v %s %v", obs.Presence, obs.Why, err)
	}
	if err := l.Delete(t.Context(), second, "r2"); err != nil {
		t.Fatal(err)
	}
	if left := e.Docker("image", "ls", "-q"); left != "" {
		t.Errorf("images are left: %s", left)
	}
}

// push puts an image of the probe into a registry, and nothing else anywhere.
func (l *lab) publish(t *testing.T, e *dockerlab.Engine, place string) string {
	t.Helper()
	name := place + "/probe:1"
	build := e.Command("build", "-q", "-t", name, "-f", "-", probeDir)
	build.Stdin = strings.NewReader(dockerfile)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	e.Docker("push", "-q", name)
	e.Docker("rmi", name)
	return name
}

// Each host pulls the content that was found first, whatever the tag means by then.
func TestPullOfOneContent(t *testing.T) {
	l := newLab(t)
	e, far := l.further(t, "")
	name := l.publish(t, e, dockerlab.Registry(t, false))
	image := l.make(t, engine.Addr(engine.KindImage, "pulled"), engine.Image{Ref: name, Host: engine.HostLink{ID: l.host.ID()}})
	e.Docker("pull", "-q", name) // somebody else's
	a, v := deliver(image, far)
	o := l.make(t, a, v)
	digest := engine.MustDecode[engine.Image](image.Value).Digest
	if got := e.Docker("image", "ls", "--digests", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}"); !strings.Contains(got, digest) || !strings.Contains(got, o.ID()) {
		t.Errorf("images are\n%s\nwant %s", got, digest)
	}
	here, err := l.engine.ImageInspect(t.Context(), image.ID())
	if err != nil || len(here.RepoDigests) > 0 {
		t.Errorf("the pull left names behind: %v %v", here.RepoDigests, err)
	}
	if there := e.Docker("image", "inspect", "--format", "{{.Id}}", o.ID()); there != here.ID {
		t.Errorf("the hosts have %s and %s", here.ID, there)
	}
	if err := l.Delete(t.Context(), o, "r2"); err != nil {
		t.Fatal(err)
	}
	if left := e.Docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}"); left != name {
		t.Errorf("after the delivery is gone there are %q, want somebody else's %s", left, name)
	}
}

func TestDeliveriesThatFail(t *testing.T) {
	needEngine(t)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	l := newLabAlone(t)
	e, far := l.further(t, smallDisk(t))
	closed := dockerlab.Registry(t, true)
	e.Docker("login", "-u", dockerlab.User, "-p", dockerlab.Password, closed)
	name := l.publish(t, e, closed)
	image := l.make(t, engine.Addr(engine.KindImage, "closed"), engine.Image{Ref: name, Host: engine.HostLink{ID: l.host.ID()}})
	a, v := deliver(image, far)
	if err := l.Delete(t.Context(), l.make(t, a, v), "r1"); err != nil {
		t.Error(err)
	}

	missing := v
	missing.Digest = "sha256:" + strings.Repeat("0", 64)
	missing.Name += "1"
	l.refused(t, a, missing, "image.closed", "host.far", closed+"/probe@"+missing.Digest, "Correct the name or the tag, or push the image")
	e.Docker("logout", closed)
	l.refused(t, a, v, "image.closed", "host.far", "log in with 'docker login'")

	big := l.make(t, engine.Addr(engine.KindImage, "big"), engine.Image{Build: bigBuild(t), Host: engine.HostLink{ID: l.host.ID()}})
	b, w := deliver(big, far)
	l.refused(t, b, w, "image.big", "host.far", "Make room on the host")

	alien := engine.Image{Archive: alienImage(t), Host: engine.HostLink{ID: l.host.ID()}}
	l.refused(t, engine.Addr(engine.KindImage, "alien"), alien, "the image is for linux/s390x, but the engine at", "set platform in the image")
	alien.Platform = "linux/s390x"
	c, x := deliver(l.make(t, engine.Addr(engine.KindImage, "alien"), alien), far)
	x.Platform = ""
	l.refused(t, c, x, "image.alien", "host.far", "the image is for linux/s390x")
}

// smallDisk mounts a file system on which little has room.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=48m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func bigBuild(t *testing.T) *engine.ImageBuild {
	t.Helper()
	b := probeBuild(t, dockerfile+"COPY filling /\n")
	f, err := os.Create(filepath.Join(b.Context, "filling"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	return b
}

// alienImage is a saved image for another kind of processor.
func alienImage(t *testing.T) string {
	t.Helper()
	var layer bytes.Buffer
	if err := tar.NewWriter(&layer).Close(); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{"architecture":"s390x","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%x"]}}`, sha256.Sum256(layer.Bytes()))
	file := filepath.Join(t.TempDir(), "alien.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, part := range []struct {
		name    string
		content []byte
	}{
		{"config.json", []byte(config)}, {"layer.tar", layer.Bytes()},
		{"manifest.json", []byte(`[{"Config":"config.json","RepoTags":["alien:1"],"Layers":["layer.tar"]}]`)},
	} {
		if err := w.WriteHeader(&tar.Header{Name: part.name, Mode: 0o600, Size: int64(len(part.content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(part.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

// What is brought to a machine that is no object is there when a delivery comes, with
// the network; and nothing remembers the machine.
func TestStock(t *testing.T) {
	l := newLab(t)
	e := dockerlab.Start(t, "")
	machine := engine.Addr(engine.KindVM, "node").At(0)
	_, v := deliver(l.image, engine.Object{Address: machine, Value: engine.Encode(engine.VM{ID: e.Host + "#vm.node[0]"})})
	for range 2 {
		if err := l.Stock(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	if out := e.Docker("image", "inspect", "-f", "{{.ID}}", v.Name); !strings.HasPrefix(out, "sha256:") {
		t.Errorf("the image is %q", out)
	}
	if out := e.Docker("network", "ls", "-q", "-f", "name="+l.flow+".machine"); len(strings.Fields(out)) != 1 {
		t.Errorf("networks: %q", out)
	}
	all, err := l.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if id := engine.MustDecode[engine.Host](o.Value).ID; strings.HasPrefix(id, e.Host) {
			t.Errorf("%s is remembered there: %s", o.Address, id)
		}
	}
}

// A machine that is kept ready has been through the start of a container by the time that
// it has an image: one that runs nothing, and is not there any more.
func TestRehearsal(t *testing.T) {
	l := newLab(t)
	e := dockerlab.Start(t, "")
	for _, kind := range []engine.Kind{engine.KindVM, engine.KindWarm} {
		machine := engine.Addr(kind, "node").At(0)
		a, v := deliver(l.image, engine.Object{Address: machine, Value: engine.Encode(engine.VM{ID: e.Host + "#" + machine.String()})})
		if _, err := l.Apply(t.Context(), providers.Call{Operation: "r1-" + string(kind), Address: a, Gen: 1, Want: want(a.Kind, v)}); err != nil {
			t.Fatal(err)
		}
		happened := e.Docker("events", "--since", "0", "--until", time.Now().Format(time.RFC3339Nano), "--filter", "type=container", "--filter", "container="+l.flow+".rehearsal", "--format", "{{.Action}}")
		if rehearsed := strings.Contains(happened, "create") && strings.Contains(happened, "destroy"); rehearsed != (kind == engine.KindWarm) || strings.Contains(happened, "start") {
			t.Errorf("on a %s happened %q", kind, strings.Fields(happened))
		}
	}
	if left := e.Docker("ps", "-aq"); left != "" {
		t.Errorf("left are %s", left)
	}
}
