package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/load"
	"github.com/flowctl/flowctl/internal/plot"
	"github.com/flowctl/flowctl/internal/trial"
)

// spikeFlow is two sizes, one above the other, that are quick to follow the load.
const spikeFlow = `
flow "spike" {}

vm "node" {
  cpus   = 4
  memory = "1GiB"
  slots  = 2
}

function "web" {
  on    = vm.node
  exec  = ["flowctl-demo", "api"]
  drain = "1s"
  health {
    http = "/healthz"
  }
}

frontend "www" {
  listen = "127.0.0.1:0"
  to     = function.web
}

scaling "web" {
  target = function.web
  min    = 1
  max    = 4
  metric "rps" {
    target = 40
    window = "3s"
    burst {
      hold = "1s"
    }
  }
  down {
    stabilise = "3s"
    cooldown  = "1s"
    limit {
      percent = 100
      per     = "1s"
    }
  }
}

scaling "node" {
  target = vm.node
  min    = 1
  max    = 2
  down {
    stabilise = "3s"
    cooldown  = "1s"
  }
  budget {
    machines = 1
  }
}

output "url" {
  value = frontend.www.url
}
`

// spiked applies a spec in a folder of its own, and returns its url.
func spiked(t *testing.T, name, spec string, vars ...string) (trial.Flow, string) {
	t.Helper()
	f := tried(t, name, spec, vars...)
	url, err := f.Output(t.Context(), "url")
	if err != nil {
		t.Fatal(err)
	}
	return f, url
}

// tried applies a spec in a folder of its own.
func tried(t *testing.T, name, spec string, vars ...string) trial.Flow {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { killLeftovers(t, dir) })
	f := trial.Flow{Program: filepath.Join(plainDir, "flowctl"), Spec: filepath.Join(dir, "flow.hcl"), Name: name, Vars: vars,
		Env: []string{"PATH=" + demoDir + string(os.PathListSeparator) + os.Getenv("PATH")}}
	if err := os.WriteFile(f.Spec, []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

// Replicas and the machines under them follow a spike and go back, and no request
// fails: what make demo-scale shows.
func TestSizesFollowASpike(t *testing.T) {
	t.Parallel()
	f, url := spiked(t, "spike", spikeFlow)
	c := load.Preset(load.Spike)
	c.Request.URL, c.Request.Timeout, c.MaxInFlight = url+"/fib/5", time.Minute, 5000
	c.Shape.BaseRPS, c.Shape.PeakRPS, c.Shape.At, c.Shape.Period = 10, 150, 2*time.Second, 8*time.Second
	r, err := trial.Scale{Flow: f, Load: c, Patience: 2 * time.Minute}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(); err != nil {
		var seconds []string
		for _, p := range r.Points {
			seconds = append(seconds, p.String())
		}
		t.Errorf("%v\n%s\n%s", err, r, strings.Join(seconds, "\n"))
	}
	var b bytes.Buffer
	if err := plot.Write(&b, r.Chart("spike")); err != nil || !strings.Contains(b.String(), "vm.node, machines") {
		t.Errorf("the chart: %v\n%s", err, &b)
	}
	if err := f.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
	flowctl{t: t, dir: filepath.Dir(f.Spec), name: "spike"}.gone(0)
}
