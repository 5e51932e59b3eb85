package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/internal/dockerlab"
)

// faultsFlow has replicas on an engine that the test ends, and one beside it that
// has nothing to do with it; %[1]s is its name, %[2]s the engine, %[5]s a version.
const faultsFlow = `
flow "%[1]s" {
  provider = "docker"
}

host "box" {
  engine = "%[2]s"
}

image "demo" {
  host = host.box
  build {
    context    = "%[3]s"
    dockerfile = "%[4]s"
  }
}

function "web" {
  on       = host.box
  replicas = 4
  image    = image.demo.id
  exec     = ["flowctl-demo", "fib"]
  env      = { BANNER = "%[5]s" }
  port     = 8080

  volume "/data" {}
  volume "/shared" {
    name = "shared"
  }
  health {
    http          = "/healthz"
    start_timeout = "2m"
  }
}

vm "node" {
  provider = "local"
  cpus     = 1
  memory   = "256MiB"
}

function "beside" {
  on   = vm.node
  exec = ["flowctl-demo", "fib"]
  env  = { BANNER = "%[5]s" }
}
`

type faultyFlow struct {
	flowctl
	engine *dockerlab.Engine
}

func newFaultyFlow(t *testing.T, name string) faultyFlow {
	needEngine(t)
	f := faultyFlow{flowctl{t: t, dir: t.TempDir(), name: name}, dockerlab.Start(t, "")}
	f.write("1")
	t.Cleanup(func() { killLeftovers(t, f.dir) })
	t.Setenv("DOCKER_HOST", f.engine.Host)
	return f
}

func (f faultyFlow) write(version string) {
	text := fmt.Sprintf(faultsFlow, f.name, f.engine.Host, demoDir, must(filepath.Abs("../../examples/demo/Dockerfile")), version)
	if err := os.WriteFile(filepath.Join(f.dir, "flow.hcl"), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// during runs a command and calls f when so many tasks have ended well.
func (f faultyFlow) during(tasks int, do func(), args ...string) error {
	f.t.Helper()
	cmd := osexec.Command(filepath.Join(plainDir, "flowctl"), append(args, "-json")...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "PATH="+demoDir+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	var text, errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	lines := bufio.NewScanner(io.TeeReader(out, &text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct{ Type, State string }
		if json.Unmarshal(lines.Bytes(), &e); e.Type == "task" && e.State == "done" {
			if tasks--; tasks == 0 {
				do()
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("flowctl %v: %w\n%s%s", args, err, &text, &errs)
	}
	return nil
}

// An engine that is restarted, or killed, while an apply is under way: the apply
// waits for it and comes to its end; nothing is there twice.
func TestDockerRestartedDuringApply(t *testing.T) {
	f := newFaultyFlow(t, "dock-restart")
	f.must("apply", "-auto-approve")
	const changes = 9 // of web and beside, and their old ones
	points := []int{1 + rand.IntN(changes-1)}
	if everyPoint() {
		points = nil
		for n := 1; n < changes; n++ {
			points = append(points, n)
		}
	}
	version := 1
	for _, point := range points {
		for how, end := range map[string]func(){"restarted": f.engine.Stop, "killed": f.engine.Kill} {
			t.Logf("%s after %d tasks", how, point)
			version++
			f.write(fmt.Sprint(version))
			if err := f.during(point, func() { end(); f.engine.Up() }, "apply", "-auto-approve"); err != nil {
				t.Fatal(err)
			}
			f.asRecorded(point)
		}
	}
	f.must("destroy", "-auto-approve")
	f.goneDocker(0)
}

// An engine that stays away: it is said, all else goes on, and nothing is lost.
func TestDockerStopped(t *testing.T) {
	f := newFaultyFlow(t, "dock-stopped")
	f.must("apply", "-auto-approve")
	f.engine.Stop()
	away := "the container engine at " + f.engine.Host + " does not answer"
	f.fails(1, "plan", "-detailed-exitcode")(away, "host.box, image.demo, function.web[0] and 3 more", "Nothing to do with what can be reached. 6 of the flow's resources cannot.")
	f.write("2")
	f.fails(5, "apply", "-auto-approve")(away, "1 replaced", "function.web[0] and 3 more could not be reached, and so is as it was")
	if got := f.must("exec", "function.beside[0]", "--", "/bin/sh", "-c", "echo $BANNER"); strings.TrimSpace(got) != "2" {
		t.Errorf("what is beside the engine has version %s", got)
	}
	f.fails(5, "apply", "-auto-approve")(away)
	f.fails(5, "destroy", "-auto-approve", "-target=function.web[0]")(away)
	f.engine.Up()
	f.must("apply", "-auto-approve")
	f.asRecorded(0)
	f.must("destroy", "-auto-approve")
	f.goneDocker(0)
}

// fails runs a command that ends with a status, and returns a check of what it
// said.
func (f flowctl) fails(status int, args ...string) func(says ...string) {
	f.t.Helper()
	out, _, err := f.run(0, args...)
	var exit *osexec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != status {
		f.t.Fatalf("flowctl %v, want status %d: %v\n%s", args, status, err, out)
	}
	said := strings.Join(strings.Fields(err.Error()), " ")
	return func(says ...string) {
		f.t.Helper()
		for _, text := range says {
			if !strings.Contains(said, text) {
				f.t.Errorf("flowctl %v does not say %q:\n%v", args, text, err)
			}
		}
	}
}
