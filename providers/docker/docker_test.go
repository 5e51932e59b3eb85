package docker_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/docker"
	"github.com/flowctl/flowctl/providers/providertest"
	"github.com/zclconf/go-cty/cty"
)

// engineVar names the variable that says which engine tests may use. hack/lab sets
// it to one that is theirs alone.
const engineVar = "FLOWCTL_TEST_DOCKER_HOST"

// probeDir is the folder with the program that runs in the tests' containers.
var probeDir string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	if os.Getenv(engineVar) == "" {
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "flowctl-docker-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	cmd := osexec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, "probe"), "./testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the probe: %w\n%s", err, out)
	}
	probeDir = dir
	// Builds find its layer in the engine's cache as long as some image has it.
	cmd = osexec.Command("docker", "build", "-q", "-t", "probe-layers", "-f", "-", dir)
	cmd.Stdin, cmd.Env = strings.NewReader(dockerfile), append(os.Environ(), "DOCKER_BUILDKIT=0", "DOCKER_HOST="+os.Getenv(engineVar))
	if out, err := cmd.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("docker build: %w\n%s", err, out)
	}
	defer osexec.Command("docker", "rmi", "probe-layers").Run()
	return m.Run(), nil
}

// lab is a provider with a host, an image of the probe, and a way to the engine
// behind the provider's back.
type lab struct {
	*docker.Docker
	engine *client.Client
	host   engine.Object
	image  engine.Object
	flow   string
}

// newLab sets up a flow of its own on the engine. When the test ends, nothing of
// it may be left there.
func newLab(t *testing.T) *lab {
	t.Helper()
	needEngine(t)
	t.Parallel() // engines take their time, but not the processor's
	return newLabAlone(t)
}

func needEngine(t *testing.T) {
	t.Helper()
	if os.Getenv(engineVar) == "" {
		t.Skipf("needs a container engine: run it with hack/lab, or set %s", engineVar)
	}
}

// newLabAlone is newLab for a test that runs by itself.
func newLabAlone(t *testing.T) *lab {
	t.Helper()
	place := os.Getenv(engineVar)
	c, err := client.NewClientWithOpts(client.WithHost(place), client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	l := &lab{engine: c, flow: strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))}
	l.Docker = l.provider(t)
	t.Cleanup(func() { l.nothingLeft(t) })
	l.host = l.make(t, engine.Addr(engine.KindHost, "box"), engine.Host{Engine: place})
	l.image = l.make(t, engine.Addr(engine.KindImage, "probe"), engine.Image{Build: probeBuild(t, dockerfile), Host: engine.HostLink{ID: l.host.ID()}})
	return l
}

// provider makes another provider for the same flow: one that remembers nothing.
func (l *lab) provider(t *testing.T) *docker.Docker {
	d := docker.New(providers.Settings{
		Name: docker.Name, Flow: l.flow, Dir: filepath.Join(t.TempDir(), docker.Name), SpecDir: "/", Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() { d.Close() })
	return d
}

// dockerfile is that of the probe.
const dockerfile = "FROM scratch\nCOPY probe /bin/probe\n"

// probeBuild is a build context with the probe.
func probeBuild(t *testing.T, dockerfile string) *engine.ImageBuild {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(probeDir, "probe"), filepath.Join(dir, "probe")); err != nil {
		t.Fatal(err)
	}
	return &engine.ImageBuild{Context: dir, Dockerfile: "Dockerfile"}
}

// make makes an object; it is removed when the test ends.
func (l *lab) make(t *testing.T, a engine.Address, v any) engine.Object {
	t.Helper()
	o, err := l.Apply(t.Context(), providers.Call{Operation: "r0-" + a.Name, Address: a, Gen: 1, Want: want(a.Kind, v)})
	if err != nil {
		t.Fatalf("make %s: %v", a, err)
	}
	t.Cleanup(func() {
		if err := l.Delete(context.WithoutCancel(t.Context()), o, "r0-gone"); err != nil {
			t.Errorf("remove %s: %v", a, err)
		}
	})
	return o
}

func want(k engine.Kind, v any) cty.Value {
	attrs := engine.Encode(v).AsValueMap()
	for _, a := range engine.ValueSchema(k).Attributes {
		if x, ok := attrs[a.Name]; ok && a.Computed && x.IsNull() {
			attrs[a.Name] = cty.UnknownVal(a.Type)
		}
	}
	return cty.ObjectVal(attrs)
}

// replica is a replica of the probe.
func (l *lab) replica() engine.Replica {
	return engine.Replica{
		Exec: []string{"probe", "serve"}, Image: l.image.ID(), Port: 8080, Protocol: "http", Drain: engine.Duration(10e9),
		CPU: 0.5, Memory: 64 * engine.MiB, Machine: l.host.Address.String(), MachineID: l.host.ID(),
		Stop: &engine.Stop{Signal: "SIGTERM", Grace: engine.Duration(2e9)},
	}
}

func function(n int) engine.Address { return engine.Addr(engine.KindFunction, "web").At(n) }

// nothingLeft checks that the engine has nothing of the flow any more.
func (l *lab) nothingLeft(t *testing.T) {
	pick := "label=flowctl.flow=" + l.flow
	for _, args := range [][]string{
		{"ps", "-aq", "--filter", pick}, {"network", "ls", "-q", "--filter", pick}, {"volume", "ls", "-q", "--filter", pick},
		{"image", "ls", "-q", "--filter", "reference=flowctl/" + l.flow + "/*"},
	} {
		out, err := osexec.Command("docker", args...).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("docker %s: left is\n%s%v", strings.Join(args, " "), out, err)
		}
	}
}

// kill removes a container behind the provider's back.
func (l *lab) kill(t *testing.T, o engine.Object) {
	t.Helper()
	if err := l.engine.ContainerRemove(t.Context(), o.ID(), container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	l := newLab(t)
	providertest.Run(t, providertest.Case{
		Name: "host", Provider: l, Once: true,
		Address: func(n int) engine.Address { return engine.Addr(engine.KindHost, fmt.Sprintf("h%d", n)) },
		Want: func(*testing.T, int) cty.Value {
			return want(engine.KindHost, engine.Host{Engine: os.Getenv(engineVar)})
		},
		Change: func(v cty.Value) cty.Value { return engine.With(v, map[string]cty.Value{"slots": cty.NumberIntVal(7)}) },
		Vanish: func(t *testing.T, o engine.Object) {
			if err := l.engine.NetworkRemove(t.Context(), l.flow+".host-"+o.Address.Name); err != nil {
				t.Fatal(err)
			}
		},
	})
	providertest.Run(t, providertest.Case{
		Name: "network", Provider: l,
		Address: func(n int) engine.Address { return engine.Addr(engine.KindNetwork, fmt.Sprintf("n%d", n)) },
		Want: func(*testing.T, int) cty.Value {
			return want(engine.KindNetwork, engine.Network{Mode: "nat", Host: engine.HostLink{ID: l.host.ID()}})
		},
		Vanish: func(t *testing.T, o engine.Object) {
			if err := l.engine.NetworkRemove(t.Context(), o.ID()); err != nil {
				t.Fatal(err)
			}
		},
	})
	providertest.Run(t, providertest.Case{
		Name: "function", Provider: l, Vanish: l.kill, Address: function,
		Want: func(*testing.T, int) cty.Value { return want(engine.KindFunction, l.replica()) },
		Change: func(v cty.Value) cty.Value {
			return engine.With(v, map[string]cty.Value{"memory": cty.StringVal("96MiB"), "cpu": cty.NumberFloatVal(0.75)})
		},
	})
}
