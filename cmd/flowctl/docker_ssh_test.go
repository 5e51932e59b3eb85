package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/internal/dockerlab"
)

// sshFlow has replicas on an engine that is reached by ssh; %[1]s is the engine.
const sshFlow = `
flow "far" {
  provider = "docker"
}

host "box" {
  engine = "%[1]s"
}

image "demo" {
  host = host.box
  build {
    context    = "%[2]s"
    dockerfile = "%[3]s"
  }
}

function "web" {
  on       = host.box
  replicas = 2
  image    = image.demo.id
  exec     = ["flowctl-demo", "fib"]
  port     = 8080
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

// newFar is a flow on a box that is reached by ssh.
func newFar(t *testing.T) (flowctl, *dockerlab.Box) {
	t.Helper()
	socket := strings.TrimPrefix(needEngine(t), "unix://")
	box := dockerlab.SSH(t)
	t.Setenv("DOCKER_HOST", "unix:///nowhere") // the box alone is asked
	f := flowctl{t: t, dir: t.TempDir(), name: "far"}
	t.Cleanup(func() { killLeftovers(t, f.dir) })
	text := fmt.Sprintf(sshFlow, "ssh://"+box.User+"@"+box.Addr+socket, demoDir, must(filepath.Abs("../../examples/demo/Dockerfile")))
	if err := os.WriteFile(filepath.Join(f.dir, "flow.hcl"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return f, box
}

// An engine by ssh, from nothing to nothing, with a real sshd: images, replicas, their
// logs, commands in them and files of them come through it.
func TestDockerBySSH(t *testing.T) {
	f, _ := newFar(t)
	f.must("apply", "-auto-approve")
	f.recorded("applied")
	if out := f.must("exec", "function.web[0]", "--", "flowctl-demo", "-version"); !strings.Contains(out, "flowctl-demo") {
		t.Errorf("exec prints %q", out)
	}
	if out := f.must("logs", "-tail=5", "function.web[1]"); !strings.Contains(out, "listening") {
		t.Errorf("the log is %q", out)
	}
	from, back := filepath.Join(f.dir, "there.txt"), filepath.Join(f.dir, "back.txt")
	if err := os.WriteFile(from, []byte("brought\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.must("cp", from, "function.web[0]:/there.txt")
	f.must("cp", "function.web[0]:/there.txt", back)
	if text, err := os.ReadFile(back); err != nil || string(text) != "brought\n" {
		t.Errorf("what was copied is %q (%v)", text, err)
	}
	f.must("destroy", "-auto-approve")
	if left := onEngine(os.Getenv("FLOWCTL_TEST_DOCKER_HOST"), f.name); len(left) > 0 {
		t.Errorf("destroy leaves %v", left)
	}
}

// What ssh refuses is told at once, with what to do; when that is done, the next apply
// does all.
func TestDockerBySSHThatIsRefused(t *testing.T) {
	f, box := newFar(t)
	box.Key("other")
	_, port, _ := net.SplitHostPort(box.Addr)
	for _, c := range []struct {
		name    string
		prepare func()
		says    []string
	}{
		{"a key that it does not know", func() { box.Authorize("other") }, []string{
			"the box does not let you in (root@127.0.0.1: Permission denied (publickey).)", "ssh-copy-id", "'ssh -p " + port + " root@127.0.0.1'"}},
		{"a box that was never seen", func() { box.Authorize("user"); box.Know("") }, []string{
			"the box's key is not known here (Host key verification failed.)", "Connect once by hand, and compare the key: 'ssh -p " + port + " root@127.0.0.1'"}},
		{"a box that is another now", func() { box.Know("other") }, []string{
			"the box shows another key than it did (Host key verification failed.)", "ssh-keygen -R '[127.0.0.1]:" + port + "'"}},
		{"a box without docker", func() { box.Know("host"); box.Again("SetEnv PATH=/nowhere") }, []string{
			"the box has no docker command", "Install it there"}},
		{"a box that does not answer", func() { box.Down() }, []string{
			"does not answer", "Connection refused", "attempt 2 failed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.prepare()
			_, _, err := f.run(0, "apply", "-auto-approve", "-no-serve")
			if err == nil {
				t.Fatal("it was applied")
			}
			said := strings.Join(strings.Fields(err.Error()), " ")
			for _, text := range c.says {
				if !strings.Contains(said, text) {
					t.Errorf("it does not say %q:\n%v", text, err)
				}
			}
			if again := strings.Contains(said, "attempt 1 failed"); again != strings.Contains(strings.Join(c.says, " "), "attempt") {
				t.Errorf("it is tried again: %v\n%v", again, err)
			}
		})
	}
	box.Up()
	f.must("apply", "-auto-approve", "-no-serve")
	f.recorded("let in")
	f.must("destroy", "-auto-approve")
}
