package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/internal/load"
)

// rolloutFlow is a function behind a frontend: its name, its environment, how long it
// may take to be healthy, and its policy are to be filled in.
const rolloutFlow = `
flow %q {}

vm "node" {
  cpus   = 2
  memory = "1GiB"
  slots  = 8
}

function "web" {
  on       = vm.node
  replicas = 3
  exec     = ["flowctl-demo", "api"]
  env      = { %s }
  health {
    http          = "/healthz"
    start_timeout = %q
  }
  update {
    %s
  }
}

frontend "www" {
  listen = "127.0.0.1:0"
  to     = function.web
}

output "url" { value = frontend.www.url }
`

// policies are the strategies of a test, with verdicts that do not go by how busy the
// computer is.
var policies = map[string]string{
	"rolling":         `strategy = "rolling"`,
	"blue-green":      `strategy = "blue_green"`,
	"blue-green, now": "strategy = \"blue_green\"\n    keep     = \"0s\"",
	"canary":          "strategy     = \"canary\"\n    pause        = \"300ms\"\n    step         = [20, 60]\n    min_requests = 10\n    max_slower   = 0",
}

// patientCanary has pauses in which the load may stand still; one ends as soon as the
// verdict is clear.
const patientCanary = "strategy     = \"canary\"\n    pause        = \"20s\"\n    step         = [20, 60]\n    min_requests = 10\n    max_slower   = 0"

func (f flowctl) rollout(policy, env, patience string) {
	f.t.Helper()
	f.rolloutBy(policies[policy], env, patience)
}

func (f flowctl) rolloutBy(policy, env, patience string) {
	f.t.Helper()
	text := fmt.Sprintf(rolloutFlow, f.name, env, patience, policy)
	if err := os.WriteFile(filepath.Join(f.dir, "flow.hcl"), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func newRollout(t *testing.T, policy string) flowctl {
	name := strings.NewReplacer(",", "", " ", "-", "/", "-", "#", "-").Replace(strings.ToLower(t.Name()))
	f := flowctl{t: t, dir: t.TempDir(), name: name}
	t.Cleanup(func() { killLeftovers(t, f.dir) })
	f.rollout(policy, `BANNER = "1"`, "1m")
	f.must("apply", "-auto-approve")
	return f
}

// Good revisions, sick ones that go back by themselves, and rollbacks, by each
// strategy: no request fails, neither on kept connections nor on new ones.
func TestRolloutsUnderLoad(t *testing.T) {
	least := 2000
	if everyPoint() {
		least = 50_000
	}
	for policy := range policies {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			f := newRollout(t, policy)
			url := f.must("output", "-raw", "url") + "/fib/5"
			loads := []*sender{f.send(url, 150), f.send(url, 50, "-new-connections")}
			ok, version := 0, 1
			for ok < least {
				version++
				f.rollout(policy, fmt.Sprintf(`BANNER = "%d"`, version), "1m")
				f.must("apply", "-auto-approve")
				f.rollout(policy, fmt.Sprintf(`BANNER = "%d", SLOW_START = "1h"`, version), "200ms")
				f.fails(exitIncomplete, "apply", "-auto-approve")("function.web is back at revision", "it was not healthy within 200ms")
				f.must("rollback", "-auto-approve", "function.web")
				ok = loads[0].sofar() + loads[1].sofar()
			}
			for _, l := range loads {
				if r := l.stop(t); r.Failed() > 0 || r.Cut > 0 {
					t.Errorf("%d of %d failed, %d cut\n%s", r.Failed(), r.Sent, r.Cut, load.Summary(r))
				}
			}
			t.Logf("%d requests through %d revisions", ok, 2*version-1)
			f.must("destroy", "-auto-approve")
			f.gone(0)
		})
	}
}

// A canary whose requests fail is found out by what the frontend counts; no more of
// the clients' requests fail than its share for as long as that takes.
func TestACanaryThatFailsRequestsGoesBack(t *testing.T) {
	f := newRollout(t, "canary")
	l := f.send(f.must("output", "-raw", "url")+"/fib/5", 200)
	f.rolloutBy(patientCanary, `BANNER = "2", FAIL_RATE = "1"`, "1m")
	f.fails(exitIncomplete, "apply", "-auto-approve")("judge function.web at 20 % failed",
		"is not good at 20 % of the requests", "max_error_rate allows 1 % more", "function.web is back at revision 1")
	was := l.sofar()
	for l.sofar() == was { // a new second has begun: nothing of the canary is in flight any more
		f.must("version")
	}
	r := l.stop(t)
	if r.Failed() == 0 || r.Failed() > r.Sent/2 {
		t.Errorf("%d of %d failed", r.Failed(), r.Sent)
	}
	if got := f.must("history", "function.web"); !strings.Contains(got, "2            bad") || !strings.Contains(got, "1 (current)  good") {
		t.Errorf("history:\n%s", got)
	}
	f.rollout("canary", `BANNER = "1"`, "1m")
	f.must("plan", "-detailed-exitcode")
	f.must("destroy", "-auto-approve")
	f.gone(0)
}

// Killed at a point of a rollout, and applied again: it converges, with no orphan and
// no duplicate. Every so many points are tried, at each with FLOWCTL_TEST_EVERY_POINT.
func TestRolloutKilledAtPoints(t *testing.T) {
	every := 37
	if everyPoint() {
		every = 1
	}
	for policy := range policies {
		if policy == "rolling" {
			continue // see TestRollingUpdateKilledAtPoints
		}
		for _, env := range []string{`BANNER = "2"`, `BANNER = "2", SLOW_START = "1h"`} {
			sick := strings.Contains(env, "SLOW")
			t.Run(fmt.Sprintf("%s, sick %t", policy, sick), func(t *testing.T) {
				t.Parallel()
				points := 0
				for point := every; ; point += every {
					var killed bool
					t.Run(fmt.Sprint(point), func(t *testing.T) { killed = rolloutKilledAt(t, policy, env, sick, point) })
					if points++; !killed || t.Failed() {
						break
					}
				}
				t.Logf("%d points", points)
			})
		}
	}
}

func rolloutKilledAt(t *testing.T, policy, env string, sick bool, point int) (killed bool) {
	f := newRollout(t, policy)
	patience := "1m"
	if sick {
		patience = "200ms"
	}
	f.rollout(policy, env, patience)
	_, killed, err := f.run(point, "apply", "-auto-approve")
	if !killed && (err != nil) != sick {
		t.Fatal(err)
	}
	if sick {
		f.fails(exitIncomplete, "apply", "-auto-approve")("function.web is back at revision 1")
		f.rollout(policy, `BANNER = "1"`, "1m")
	} else {
		f.must("apply", "-auto-approve")
	}
	f.justAsRecorded(point)
	f.must("destroy", "-auto-approve")
	f.gone(point)
	return killed
}

// justAsRecorded checks that replicas and backends are just those of the state.
func (f flowctl) justAsRecorded(point int) {
	f.t.Helper()
	state := f.recorded(fmt.Sprintf("killed at point %d", point))
	var replicas, backends []string
	for _, o := range state.Objects {
		switch name := fmt.Sprintf("%s#%d", o.Address, o.Generation); {
		case strings.HasPrefix(name, "function."):
			replicas = append(replicas, name)
		case strings.HasPrefix(name, "backend."):
			backends = append(backends, name)
		}
	}
	if got := processes("FLOWCTL_FLOW=" + f.name + "\x00"); len(got) != len(replicas) || len(replicas) < 3 {
		f.t.Errorf("killed at point %d: %d processes, recorded are %v", point, len(got), replicas)
	}
	f.membership(point, backends)
}
