package main

import (
	"encoding/json"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/internal/dockerlab"
	"github.com/flowctl/flowctl/internal/load"
	"github.com/rogpeppe/go-internal/testscript"
)

// needEngine skips a test where there is no container engine that it may use.
// hack/lab sets the variable to one of its own.
func needEngine(t *testing.T) string {
	t.Helper()
	place := os.Getenv("FLOWCTL_TEST_DOCKER_HOST")
	if place == "" {
		t.Skip("needs a container engine: run it with hack/lab, or set FLOWCTL_TEST_DOCKER_HOST")
	}
	t.Setenv("DOCKER_HOST", place)
	return place
}

// TestDockerScripts runs testdata/docker: the command line with containers.
func TestDockerScripts(t *testing.T) {
	place := needEngine(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/docker",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", demoDir+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("EXAMPLES", must(filepath.Abs("../../examples")))
			env.Setenv("DOCKER_HOST", place)
			env.Setenv("FLOWCTL_VAR_context", demoDir)
			env.Defer(func() { killLeftovers(t, env.WorkDir) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"http": httpCommand, "until": untilCommand, "sed": sedCommand, "noproc": noprocCommand,
			"jsonpath": jsonCommand, "port": portCommand, "hold": holdCommand, "nodocker": nodockerCommand,
		},
	})
}

// nodocker FLOW: the engine has nothing of a flow.
func nodockerCommand(ts *testscript.TestScript, neg bool, args []string) {
	if left := onEngine("", args[0]); (len(left) > 0) != neg {
		ts.Fatalf("on the engine are %v", left)
	}
}

// onEngine lists what an engine, or that of DOCKER_HOST, has of a flow.
func onEngine(place, flow string) []string {
	var all []string
	pick := "label=flowctl.flow=" + flow
	for _, args := range [][]string{
		{"ps", "-a", "--filter", pick, "--format", "container {{.Names}} {{.Status}}"},
		{"network", "ls", "--filter", pick, "--format", "network {{.Name}}"},
		{"volume", "ls", "--filter", pick, "--format", "volume {{.Name}}"},
		{"image", "ls", "--filter", "reference=flowctl/" + flow + "/*", "--format", "image {{.Repository}}:{{.Tag}}"},
	} {
		cmd := osexec.Command("docker", args...)
		if cmd.Env = os.Environ(); place != "" {
			cmd.Env = append(cmd.Env, "DOCKER_HOST="+place)
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			all = append(all, fmt.Sprintf("docker %v: %v", args, err))
		}
		all = append(all, strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })...)
	}
	return all
}

// dockerFlow is one tier in containers; the values are its name, the build
// context and a version.
const dockerFlow = `
flow "%s" {
  provider = "docker"
}

host "box" {}

image "demo" {
  host = host.box
  build {
    context    = "%s"
    dockerfile = "%s"
  }
}

function "web" {
  on       = host.box
  replicas = 2
  image    = image.demo.id
  exec     = ["flowctl-demo", "fib"]
  env      = { BANNER = "%s" }
  port     = 8080

  stop {
    grace = "5s"
  }
  volume "/data" {}
  volume "/shared" {
    name = "shared"
  }
  file "/etc/demo.conf" {
    content = "x"
  }
  health {
    http = "/healthz"
  }
}

frontend "www" {
  listen = "127.0.0.1:0"
  to     = function.web
}

output "url" {
  value = frontend.www.url
}
`

// farPart has the image brought to a second engine.
const farPart = `
host "far" {
  engine = "%s"
}

function "side" {
  on    = host.far
  image = image.demo.id
  exec  = ["flowctl-demo", "fib"]
}
`

func newDockerFlow(t *testing.T, name, version, far string) flowctl {
	f := flowctl{t: t, dir: t.TempDir(), name: name, far: far}
	f.writeDocker(version, 1)
	t.Cleanup(func() { killLeftovers(t, f.dir) })
	return f
}

func (f flowctl) writeDocker(version string, replicas int) {
	dockerfile := must(filepath.Abs("../../examples/demo/Dockerfile"))
	text := fmt.Sprintf(dockerFlow, f.name, demoDir, dockerfile, version)
	text = strings.Replace(text, "replicas = 2", fmt.Sprintf("replicas = %d", replicas), 1)
	if f.far != "" {
		text += fmt.Sprintf(farPart, f.far)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "flow.hcl"), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// wholeDocker checks that the engine and the frontends have just what the state
// says.
func (f flowctl) wholeDocker(point int) {
	f.t.Helper()
	f.membership(point, f.asRecorded(point))
}

// asRecorded checks that the engine has just what the state says, and returns which
// backends that tells of.
func (f flowctl) asRecorded(point int) (backends []string) {
	f.t.Helper()
	state := f.recorded(fmt.Sprintf("killed at point %d", point))
	want := []string{"network " + f.name + ".host-box", "volume " + f.name + ".shared"}
	for _, o := range state.Objects {
		var value struct{ ID string }
		if err := json.Unmarshal(o.Value, &value); err != nil {
			f.t.Fatal(err)
		}
		if o.Provider != "docker" && !strings.HasPrefix(o.Address, "backend.") {
			continue
		}
		switch strings.SplitN(o.Address, ".", 2)[0] {
		case "function":
			if want = append(want, "container "+value.ID); !strings.HasPrefix(o.Address, "function.side") {
				want = append(want, "volume "+value.ID+"-")
			}
		case "image", "delivery":
			want = append(want, "image "+value.ID)
		case "backend":
			backends = append(backends, fmt.Sprintf("%s#%d", o.Address, o.Generation))
		}
	}
	got := onEngine("", f.name)
	if f.far != "" {
		got = append(got, onEngine(f.far, f.name)...)
		want = append(want, "network "+f.name+".host-far")
	}
	for i, thing := range got { // without how long it has been up, and a volume's hash
		words := strings.Fields(thing)
		if words[0] == "container" && words[2] != "Up" {
			f.t.Errorf("killed at point %d: %s", point, thing)
		}
		if got[i] = words[0] + " " + words[1]; words[0] == "volume" && !strings.HasSuffix(words[1], ".shared") {
			got[i] = words[0] + " " + words[1][:strings.LastIndexByte(words[1], '-')+1]
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		f.t.Errorf("killed at point %d: the engine has\n%s\nwanted are\n%s", point, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return backends
}

func (f flowctl) goneDocker(point int) {
	f.t.Helper()
	left := onEngine("", f.name)
	if f.far != "" {
		left = append(left, onEngine(f.far, f.name)...)
	}
	if len(left) > 0 {
		f.t.Errorf("killed at point %d: after destroy the engine has %v", point, left)
	}
	f.gone(point)
}

// What happens to a run at any point, happens to it here: created, changed and
// destroyed, killed with -9, and continued. An engine takes seconds for each, so
// only every few points are tried, others each time, unless all are asked for.
func TestDockerKilledAtEveryPoint(t *testing.T) {
	needEngine(t)
	keepLayers(t)
	far := dockerlab.Start(t, "").Host
	t.Run("apply", func(t *testing.T) {
		somePoints(t, 16, 24, func(t *testing.T, point int) bool {
			f := newDockerFlow(t, fmt.Sprintf("dock-apply-%d", point), "1", far)
			return f.killedOnce(point, "apply", f.wholeDocker)
		})
	})
	t.Run("update", func(t *testing.T) {
		somePoints(t, 16, 24, func(t *testing.T, point int) bool {
			f := newDockerFlow(t, fmt.Sprintf("dock-roll-%d", point), "1", far)
			f.must("apply", "-auto-approve")
			f.writeDocker("2", 1)
			return f.killedOnce(point, "apply", f.wholeDocker)
		})
	})
	t.Run("destroy", func(t *testing.T) {
		somePoints(t, 16, 24, func(t *testing.T, point int) bool {
			f := newDockerFlow(t, fmt.Sprintf("dock-destroy-%d", point), "1", far)
			f.must("apply", "-auto-approve")
			return f.killedOnce(point, "destroy", f.goneDocker)
		})
	})
}

// keepLayers builds the demo's image under a name of its own, so that engines find
// its layer in their cache, whatever the flows of a test remove.
func keepLayers(t *testing.T) {
	build := osexec.Command("docker", "build", "-q", "-t", "demo-layers", "-f", must(filepath.Abs("../../examples/demo/Dockerfile")), demoDir)
	build.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	t.Cleanup(func() { osexec.Command("docker", "rmi", "demo-layers").Run() })
}

// killedOnce runs a command that is killed at a point, and again; has check look at
// what there is then; and destroys it.
func (f flowctl) killedOnce(point int, command string, check func(point int)) bool {
	_, killed, err := f.run(point, command, "-auto-approve")
	if !killed && err != nil {
		f.t.Fatal(err)
	}
	f.must(command, "-auto-approve")
	check(point)
	f.must("destroy", "-auto-approve")
	f.goneDocker(point)
	return killed
}

// Rolling updates, and replicas that come and go: no request fails, neither on kept
// connections nor on new ones.
func TestDockerNoRequestFailsWhileEverythingChanges(t *testing.T) {
	needEngine(t)
	f := newDockerFlow(t, "dock-steady", "0", "")
	f.writeDocker("0", 2)
	f.must("apply", "-auto-approve")
	url := strings.TrimSpace(f.must("output", "-raw", "url"))
	loads := map[string]*sender{
		"kept connections": f.send(url+"/fib/5", 200),
		"new connections":  f.send(url+"/fib/5", 50, "-new-connections"),
	}
	for version, replicas := range []int{2, 4, 3, 2} {
		f.writeDocker(fmt.Sprint(version+1), replicas)
		f.must("apply", "-auto-approve")
	}
	for name, l := range loads {
		r := l.stop(t)
		if r.OK == 0 || r.Failed() > 0 || r.Cut > 0 {
			t.Errorf("%s: %d of %d failed, %d cut\n%s", name, r.Failed(), r.Sent, r.Cut, load.Summary(r))
		}
		t.Logf("%s: %d requests", name, r.OK)
	}
	f.must("destroy", "-auto-approve")
	f.goneDocker(0)
}
