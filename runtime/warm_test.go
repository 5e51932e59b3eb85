package runtime_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
)

// warmFlow is a group of machines that keeps two ready, with a function on it.
const warmFlow = `
flow "test" {}
network "lan" { cidr = "10.0.0.0/24" }
vm "node" {
  cpus    = 2
  memory  = "1GiB"
  slots   = 1
  count   = 1
  warm    = 2
  network = network.lan
}
function "web" {
  on       = vm.node
  replicas = 1
  exec     = ["web"]
}
`

// done lists what was done in the world since there were some events: "take vm.node[1]".
func (l *lab) done(since int) []string {
	var all []string
	for _, e := range l.world.Events()[since:] {
		all = append(all, e.Op+" "+e.Key.String())
	}
	return all
}

func TestWarmMachines(t *testing.T) {
	l := newLab(t)
	d := load(t, warmFlow)
	l.apply(d)
	l.settled(d)
	made := l.done(0)
	if last := made[len(made)-2:]; !slices.Equal(last, []string{"create warm.node[0] (generation 1)", "create warm.node[1] (generation 1)"}) && last[0] != "create warm.node[1] (generation 1)" {
		t.Errorf("warm machines are not made last: %v", made)
	}

	three := load(t, edit(t, warmFlow, "count   = 1", "count   = 4", "replicas = 1", "replicas = 4"))
	p := l.plan(three).Plan
	if got, want := show(p), "+ vm.node[1]\n+ vm.node[2]\n+ vm.node[3]\n+ warm.node[0]\n+ warm.node[1]\n+ function.web[1]\n+ function.web[2]\n+ function.web[3]"; got != want {
		t.Errorf("plan:\n%s\nwant:\n%s", got, want)
	}
	if !strings.Contains(why(p), "warm.node[0]: the one that there is becomes vm.node[1]") {
		t.Errorf("reasons:\n%s", why(p))
	}
	since := len(l.world.Events())
	l.apply(three)
	l.settled(three)
	events := l.done(since)
	for _, want := range []string{"take vm.node[1] (generation 1)", "take vm.node[2] (generation 1)", "create vm.node[3] (generation 1)", "create warm.node[0] (generation 2)", "create warm.node[1] (generation 2)"} {
		if !slices.Contains(events, want) {
			t.Errorf("%q is missing in %v", want, events)
		}
	}
	if i := slices.Index(events, "create warm.node[0] (generation 2)"); i < slices.Index(events, "create function.web[3] (generation 1)") {
		t.Errorf("warm machines are made before what somebody waits for: %v", events)
	}

	// Another template replaces them, and none is taken of the old.
	other := load(t, edit(t, warmFlow, "count   = 1", "count   = 5", `"10.0.0.0/24"`, `"10.1.0.0/24"`))
	since = len(l.world.Events())
	l.apply(other)
	l.settled(other)
	if events := l.done(since); slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "take") }) || !slices.Contains(events, "delete warm.node[1] (generation 2)") {
		t.Errorf("another network: %v", events)
	}

	fewer := load(t, edit(t, warmFlow, "warm    = 2", "warm    = 1", `"10.0.0.0/24"`, `"10.1.0.0/24"`, "count   = 1", "count   = 5"))
	if got, want := show(l.plan(fewer).Plan), "- warm.node[1]"; got != want {
		t.Errorf("plan:\n%s\nwant:\n%s", got, want)
	}
	l.apply(fewer)
	l.settled(fewer)
	if _, err := l.try(runtime.Request{Desired: fewer, Destroy: true}); err != nil {
		t.Fatal(err)
	}
	if left := l.world.Objects(); len(left) > 0 {
		t.Errorf("destroy leaves %v", left)
	}
}

// A machine is made as ever if the warm one has ended since it was planned.
func TestAWarmMachineThatIsGone(t *testing.T) {
	for _, how := range []string{"gone", "broken"} {
		t.Run(how, func(t *testing.T) {
			l := newLab(t)
			l.apply(load(t, edit(t, warmFlow, "warm    = 2", "warm    = 1")))
			warm := engine.Addr(engine.KindWarm, "node").At(0)
			l.wrap = func(p providers.Provider) providers.Provider {
				return &providers.Faulty{Provider: p, Pick: func(call string, _ engine.Address) providers.Fault {
					switch {
					case call != "take":
					case how == "gone":
						l.world.Vanish(warm)
					default:
						l.world.Break(warm, "its domain is shut off")
					}
					return providers.NoFault
				}}
			}
			d := load(t, edit(t, warmFlow, "warm    = 2", "warm    = 1", "count   = 1", "count   = 2"))
			l.apply(d)
			if !slices.Contains(l.done(0), "create vm.node[1] (generation 1)") {
				t.Errorf("events: %v", l.done(0))
			}
			l.apply(d) // what is recorded of it goes, or it does itself
			l.settled(d)
		})
	}
}

// A plan for some machines leaves warm ones that others would become.
func TestTargetsAndWarmMachines(t *testing.T) {
	l := newLab(t)
	l.apply(load(t, edit(t, warmFlow, "warm    = 2", "warm    = 1")))
	d := load(t, edit(t, warmFlow, "warm    = 2", "warm    = 1", "count   = 1", "count   = 3"))
	for _, c := range []struct{ target, want string }{
		{"vm.node", "+ vm.node[1]\n+ vm.node[2]\n+ warm.node[0]"},
		{"vm.node[1]", "+ vm.node[1]"},
		{"vm.node[2]", "+ vm.node[2]"},
		{"warm.node[0]", ""},
	} {
		target, err := engine.ParseAddress(c.target)
		if err != nil {
			t.Fatal(err)
		}
		p, diags, err := l.flow.Plan(t.Context(), runtime.Request{Desired: d, Targets: []engine.Address{target}})
		if err := errors.Join(err, diags.Err()); err != nil {
			t.Fatal(err)
		}
		if got := show(p.Plan); got != c.want {
			t.Errorf("-target %s:\n%s\nwant:\n%s", c.target, got, c.want)
		}
	}
	if _, err := l.try(runtime.Request{Desired: d, Targets: []engine.Address{engine.Addr(engine.KindVM, "node").At(1)}}); err != nil {
		t.Fatal(err)
	}
	if got, want := show(l.plan(d).Plan), "+ vm.node[2]\n+ warm.node[0]"; got != want {
		t.Errorf("afterwards:\n%s\nwant:\n%s", got, want)
	}
	l.apply(d)
	l.settled(d)
}

// Taking a warm machine dies at any write of the journal, or fails in any way: each
// machine is made once, and none is lost.
func TestTakingAWarmMachineKilledOrFailing(t *testing.T) {
	scaled := edit(t, warmFlow, "count   = 1", "count   = 4", "replicas = 1", "replicas = 4")
	check := func(t *testing.T, l *lab, what string, d engine.Desired) {
		t.Helper()
		l.apply(d)
		if p := l.plan(d); !p.Plan.Empty() { // what was given up beside its successor goes now
			l.apply(d)
		}
		l.settled(d)
		vms := 0
		for _, o := range l.world.Objects() {
			if o.Address.Kind == engine.KindVM {
				vms++
			}
		}
		if vms != 4 {
			t.Errorf("%s: there are %d machines, want 4", what, vms)
		}
		created := map[string]int{}
		for _, e := range l.done(0) {
			if created[e]++; created[e] > 1 && !strings.Contains(e, "warm") {
				t.Errorf("%s: %s was done %d times", what, e, created[e])
			}
		}
	}
	for _, torn := range []bool{false, true} {
		for n := 0; ; n++ {
			l := newLab(t)
			l.parallelism = 1
			l.apply(load(t, warmFlow))
			d := load(t, scaled)
			l.flow.Journal = func(lease *state.Lease) exec.Journal {
				return &killer{Journal: l.store.Journal(lease), left: n, torn: torn}
			}
			_, err := l.try(runtime.Request{Desired: d})
			l.flow.Journal = func(lease *state.Lease) exec.Journal { return l.store.Journal(lease) }
			if err == nil {
				if n < 8 {
					t.Errorf("only %d writes: the test has lost its points", n)
				}
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			check(t, l, fmt.Sprintf("killed at write %d", n), d)
		}
	}
	for _, fault := range providers.Faults {
		for failing := range 2 {
			l := newLab(t)
			l.apply(load(t, warmFlow))
			d := load(t, scaled)
			left := 1 + 9*failing // once, or as often as it is tried
			l.wrap = func(p providers.Provider) providers.Provider {
				return &providers.Faulty{Provider: p, Pick: func(call string, a engine.Address) providers.Fault {
					if n, _ := a.Index(); call != "take" || n != 1 || left == 0 {
						return providers.NoFault
					}
					left--
					return fault
				}}
			}
			_, _ = l.try(runtime.Request{Desired: d})
			l.wrap = nil
			check(t, l, fmt.Sprintf("%s, failing %d", fault, failing), d)
		}
	}
}
