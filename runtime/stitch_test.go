package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
)

// stitched is a flow in which web has a file with the addresses of all of api.
const stitched = `
flow "test" {}
vm "node" {
  cpus   = 2
  memory = "1GiB"
  count  = 2
}
function "api" {
  on       = vm.node
  replicas = 2
  exec     = ["api"]
}
function "web" {
  on       = vm.node
  replicas = 2
  exec     = ["web"]
  file "/etc/upstreams" {
    content = join("\n", function.api[*].address)
    ON_CHANGE
  }
}
function "alone" {
  on   = vm.node
  exec = ["alone"]
}
frontend "www" {
  listen = "127.0.0.1:8080"
  to     = function.web
}
`

func onChange(how string) string { return strings.Replace(stitched, "ON_CHANGE", how, 1) }

// When the list of another function's replicas changes, only what has it is
// touched, in the way that it says.
func TestAListThatChangesReachesWhoHasIt(t *testing.T) {
	for _, c := range []struct{ how, plan, does string }{
		{"", "+ function.api[2]\n+/- function.web[0]\n+/- function.web[1]\n+/- backend.www/web[0]\n+/- backend.www/web[1]",
			"create api[2], create web[0], create www/web[0], delete www/web[0], delete web[0], create web[1], create www/web[1], delete www/web[1], delete web[1]"},
		{`on_change = "none"`, "+ function.api[2]\n~ function.web[0]\n~ function.web[1]", "create api[2], update web[0], update web[1]"},
		{`on_change = "signal"
    signal = "SIGHUP"`, "+ function.api[2]\n~ function.web[0]\n~ function.web[1]", "create api[2], update web[0], SIGHUP web[0], update web[1], SIGHUP web[1]"},
		{`on_change = "exec"
    exec = ["web", "-reload"]`, "+ function.api[2]\n~ function.web[0]\n~ function.web[1]", "create api[2], update web[0], web -reload web[0], update web[1], web -reload web[1]"},
		{`on_change = "restart"`, "+ function.api[2]\n~ function.web[0]\n~ function.web[1]\n-/+ backend.www/web[0]\n-/+ backend.www/web[1]",
			"create api[2], delete www/web[0], update web[0], restart web[0], create www/web[0], delete www/web[1], update web[1], restart web[1], create www/web[1]"},
	} {
		t.Run(strings.ReplaceAll(c.how, "\n", ";"), func(t *testing.T) {
			l := newLab(t)
			l.parallelism = 1
			l.apply(load(t, onChange(c.how)))
			d := load(t, edit(t, onChange(c.how), "replicas = 2\n  exec     = [\"api\"]", "replicas = 3\n  exec     = [\"api\"]"))
			if got := show(l.plan(d).Plan); got != c.plan {
				t.Errorf("plan:\n%s\nwant:\n%s", got, c.plan)
			}
			n := len(l.world.Events())
			l.apply(d)
			did := strings.NewReplacer("function.", "", "backend.", "").Replace(l.did(n))
			if did != c.does {
				t.Errorf("it did %s\nwant %s", did, c.does)
			}
			l.settled(d)

			// One fewer: who has the list lets go of it first.
			d = load(t, onChange(c.how))
			n = len(l.world.Events())
			l.apply(d)
			did = l.did(n)
			if gone, last := strings.Index(did, "delete function.api[2]"), strings.LastIndex(did, "function.web"); gone < last {
				t.Errorf("api[2] went before web had the new list: %s", did)
			}
			l.settled(d)
		})
	}
}

func TestARestartThatMayNotBeIsAReplacement(t *testing.T) {
	l := newLab(t)
	text := edit(t, onChange(`on_change = "restart"`), "exec     = [\"web\"]", "exec     = [\"web\"]\n  update { max_unavailable = 0 }")
	l.apply(load(t, text))
	d := load(t, edit(t, text, "replicas = 2\n  exec     = [\"api\"]", "replicas = 3\n  exec     = [\"api\"]"))
	least := l.watchServing(engine.Addr(engine.KindFrontend, "www"))
	l.apply(d)
	if l.settled(d); *least < 2 {
		t.Errorf("%d of 2 served at the worst moment", *least)
	}
}

// deaf is a provider whose replicas take no signal until they are told to hear.
type deaf struct {
	providers.Provider
	hear *bool
}

func (d deaf) Unwrap() providers.Provider { return d.Provider }

func (d deaf) Signal(ctx context.Context, o engine.Object, name string) error {
	if !*d.hear {
		return providers.Permanent(errors.New("no such process"))
	}
	s, _ := providers.As[providers.Signaler](d.Provider)
	return s.Signal(ctx, o, name)
}

func TestASignalThatFailedIsSentByTheNextApply(t *testing.T) {
	l := newLab(t)
	hear := false
	l.wrap = func(p providers.Provider) providers.Provider { return deaf{p, &hear} }
	text := onChange("on_change = \"signal\"\n    signal = \"SIGUSR1\"")
	l.apply(load(t, text))
	d := load(t, edit(t, text, "replicas = 2\n  exec     = [\"api\"]", "replicas = 1\n  exec     = [\"api\"]"))
	if _, err := l.try(runtime.Request{Desired: d}); err == nil || !strings.Contains(err.Error(), "send it SIGUSR1 for its new files: no such process") {
		t.Fatalf("apply: %v", err)
	}
	hear = true
	n := len(l.world.Events())
	l.apply(d)
	if got := strings.Count(l.did(n), "SIGUSR1"); got != 2 {
		t.Errorf("%d signals, want 2: %s", got, l.did(n))
	}
	l.settled(d)
}

// Files that a replica did not take over are taken back by an apply of the spec from
// before, and it is told.
func TestFilesThatWereRefusedAreTakenBack(t *testing.T) {
	l := newLab(t)
	hear := true
	l.wrap = func(p providers.Provider) providers.Provider { return deaf{p, &hear} }
	text := onChange("on_change = \"signal\"\n    signal = \"SIGUSR1\"")
	before := load(t, edit(t, text, `content = join("\n", function.api[*].address)`, `content = "old"`))
	l.apply(before)
	hear = false
	if _, err := l.try(runtime.Request{Desired: load(t, edit(t, text, `content = join("\n", function.api[*].address)`, `content = "new"`))}); err == nil {
		t.Fatal("nothing failed")
	}
	hear = true
	n := len(l.world.Events())
	l.apply(before)
	for _, o := range l.world.Objects() {
		if o.Address.Group() != web {
			continue
		}
		if files := engine.MustDecode[engine.Replica](o.Value).Files; files[0].Content != "old" {
			t.Errorf("%s has the file %q", o.Address, files[0].Content)
		}
	}
	if got := strings.Count(l.did(n), "SIGUSR1"); got != 2 {
		t.Errorf("%d signals, want 2: %s", got, l.did(n))
	}
	l.settled(before)
}

// An update of files that was killed, at any write, and then taken back in the spec
// leaves no new file.
func TestFilesOfAKilledUpdateAreTakenBack(t *testing.T) {
	text := onChange("on_change = \"signal\"\n    signal = \"SIGUSR1\"")
	spec := func(content string) engine.Desired {
		return load(t, edit(t, text, `content = join("\n", function.api[*].address)`, fmt.Sprintf("content = %q", content)))
	}
	killed := true
	for n := 0; killed; n++ {
		l := newLab(t)
		l.apply(spec("old"))
		writes := &killer{left: n, torn: n%2 == 1}
		l.flow.Journal = func(lease *state.Lease) exec.Journal {
			writes.Journal = l.store.Journal(lease)
			return writes
		}
		begun := len(l.world.Events())
		_, err := l.try(runtime.Request{Desired: spec("new")})
		killed = errors.Is(err, errKilled) || writes.left <= 0
		l.flow.Journal = func(lease *state.Lease) exec.Journal { return l.store.Journal(lease) }
		did, back := l.did(begun), len(l.world.Events())
		l.apply(spec("old"))
		for _, o := range l.world.Objects() {
			if o.Address.Group() != web {
				continue
			}
			update := "update " + o.Address.String()
			if strings.Contains(did, update) && !strings.Contains(l.did(back), "SIGUSR1 "+o.Address.String()) {
				t.Errorf("killed at write %d: %s was not told: %s; then %s", n, o.Address, did, l.did(back))
			}
			if files := engine.MustDecode[engine.Replica](o.Value).Files; files[0].Content != "old" {
				t.Errorf("killed at write %d: %s has the file %q", n, o.Address, files[0].Content)
			}
		}
		l.settled(spec("old"))
	}
}

// slow is a provider whose replicas of api work from their third check on.
type slow struct {
	providers.Provider
	checks map[engine.Address]int
}

func (s slow) Unwrap() providers.Provider { return s.Provider }

func (s slow) Probe(_ context.Context, o engine.Object) error {
	if s.checks[o.Address]++; s.checks[o.Address] < 3 {
		return errors.New("not yet")
	}
	return nil
}

func (s slow) Apply(ctx context.Context, c providers.Call) (engine.Object, error) {
	for a, n := range s.checks {
		if c.Address.Group() == web && a.Group() == api && n < 3 {
			return c.Object(c.Want), providers.Permanent(errors.New(a.String() + " does not work yet"))
		}
	}
	if c.Address.Group() == api {
		s.checks[c.Address] = 0
	}
	return s.Provider.Apply(ctx, c)
}

func TestAFunctionStartsWhenThoseThatItNeedsWork(t *testing.T) {
	l := newLab(t)
	l.parallelism = 1
	checks := map[engine.Address]int{}
	l.wrap = func(p providers.Provider) providers.Provider { return slow{p, checks} }
	text := edit(t, onChange(""), "exec     = [\"api\"]", "exec     = [\"api\"]\n  health { http = \"/\" }")
	l.apply(load(t, text))
	if checks[api.At(0)] < 3 || checks[api.At(1)] < 3 {
		t.Errorf("checks: %v", checks)
	}
}
