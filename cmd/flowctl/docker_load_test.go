package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/flowctl/flowctl/internal/load"
)

// dockerLoadFlow has containers that are rolled out; %[1]s is the strategy, %[2]s the
// environment.
const dockerLoadFlow = `
flow "dock-load" {
  provider = "docker"
}

host "box" {}

image "demo" {
  host = host.box
  build {
    context    = %[3]q
    dockerfile = "${flow.dir}/Dockerfile"
  }
}

function "web" {
  on       = host.box
  replicas = 3
  image    = image.demo.id
  exec     = ["flowctl-demo", "api"]
  port     = 8080
  env      = { %[2]s }
  health {
    http          = "/healthz"
    start_timeout = "10s"
  }
  update {
    strategy   = %[1]q
    pause      = "1s"
    keep       = "10s"
    max_slower = 0
  }
}

frontend "www" {
  listen = "127.0.0.1:0"
  to     = function.web
}

output "url" { value = frontend.www.url }
`

// Good and broken revisions of containers come in by each strategy, until 50,000
// requests were answered, on kept connections and on new ones: none fails.
func TestDockerRolloutsUnderLoad(t *testing.T) {
	needEngine(t)
	if !everyPoint() {
		t.Skip("takes minutes: make live runs it, and testdata/docker/rollout.txtar is a short form of it")
	}
	f := flowctl{t: t, dir: t.TempDir(), name: "dock-load"}
	t.Cleanup(func() { killLeftovers(t, f.dir) })
	write := func(strategy, env string) {
		text := fmt.Sprintf(dockerLoadFlow, strategy, env, demoDir)
		if err := os.WriteFile(filepath.Join(f.dir, "flow.hcl"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(f.dir, "Dockerfile"), []byte("FROM scratch\nCOPY flowctl-demo /bin/flowctl-demo\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	write("rolling", `BANNER = "0"`)
	f.must("apply", "-auto-approve")
	url := f.must("output", "-raw", "url") + "/fib/5"
	loads := map[string]*sender{"kept connections": f.send(url, 250), "new connections": f.send(url, 100, "-new-connections")}
	good, broken, ok := 0, 0, 0
	for ok < 50_000 {
		for _, strategy := range []string{"rolling", "blue_green", "canary"} {
			good++
			write(strategy, fmt.Sprintf("BANNER = \"%d\"", good))
			f.must("apply", "-auto-approve")
			if good%6 > 2 { // every second round
				continue
			}
			broken++
			write(strategy, fmt.Sprintf("BANNER = \"%d\", SLOW_START = \"1h\"", good))
			f.fails(exitIncomplete, "apply", "-auto-approve")("function.web is back at revision")
		}
		ok = loads["kept connections"].sofar() + loads["new connections"].sofar()
	}
	for name, l := range loads {
		if r := l.stop(t); r.Failed() > 0 || r.Cut > 0 {
			t.Errorf("%s: %d of %d failed, %d cut\n%s", name, r.Failed(), r.Sent, r.Cut, load.Summary(r))
		}
	}
	t.Logf("%d requests through %d good and %d broken revisions", ok, good, broken)
	f.must("destroy", "-auto-approve")
	if left := onEngine("", f.name); len(left) > 0 {
		t.Errorf("on the engine are %v", left)
	}
}
