package runtime_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/sim"
	"github.com/flowctl/flowctl/runtime"
)

// hpc is a head and workers, one for each name.
func hpc(workers ...string) string {
	for i, w := range workers {
		workers[i] = fmt.Sprintf("%q", w)
	}
	return fmt.Sprintf(`
flow "test" {}
vm "head" {
  cpus   = 1
  memory = "1GiB"
}
vm "worker" {
  for_each = toset([%s])
  cpus     = 1
  memory   = "1GiB"
}
cluster "hpc" {
  head    = vm.head
  workers = vm.worker
}
`, strings.Join(workers, ", "))
}

var hpcAddr = engine.Addr(engine.KindCluster, "hpc")

func worker(name string) engine.Address { return engine.Addr(engine.KindVM, "worker").For(name).At(0) }

// known checks that all machines of the cluster know just the others, and returns
// the names in their hosts files.
func (l *lab) known() string {
	l.t.Helper()
	var first providers.Roster
	var ids []string
	for i, o := range l.world.Objects() {
		if o.Address.Kind != engine.KindVM {
			continue
		}
		r := l.world.Knows(o.Key(), "hpc")
		if i == 0 {
			first = r
		}
		if !r.Equal(first) {
			l.t.Errorf("%s knows\n%+v\nand others\n%+v", o.Address, r, first)
		}
		ids = append(ids, o.ID())
	}
	if len(first.Authorized) != len(ids) || len(first.Known) != len(ids) {
		l.t.Errorf("there are %d machines, and they know %+v", len(ids), first)
	}
	for _, id := range ids {
		if !slices.ContainsFunc(first.Authorized, func(key string) bool { return strings.Contains(key, id) }) {
			l.t.Errorf("the key of %s is not known: %v", id, first.Authorized)
		}
	}
	var names []string
	for _, line := range first.Hosts {
		_, name, _ := strings.Cut(line, " ")
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// Machines come, go from the middle, are replaced and vanish: those that are there
// always know just each other, and who leaves is forgotten before it is gone.
func TestClusterFollowsItsMachines(t *testing.T) {
	l := newLab(t)
	var order []string
	l.world.Watch(func(e sim.Event, _ map[engine.Key]engine.Object) {
		order = append(order, e.Op+" "+e.Key.Address.String())
	})
	step := func(what, changes, names string, workers ...string) {
		t.Helper()
		d := load(t, hpc(workers...))
		if got := show(l.plan(d).Plan); got != changes {
			t.Errorf("%s plans\n%s\nwant\n%s", what, got, changes)
		}
		order = nil
		l.apply(d)
		l.settled(d)
		if got := l.known(); got != names {
			t.Errorf("%s: they know %q, want %q", what, got, names)
		}
	}
	step("making it", "+ vm.head[0]\n+ vm.worker[\"a\"][0]\n+ vm.worker[\"b\"][0]\n+ vm.worker[\"c\"][0]\n+ cluster.hpc",
		"head-0 worker-a-0 worker-b-0 worker-c-0", "a", "b", "c")
	step("one leaves", "- vm.worker[\"b\"][0]\n~ cluster.hpc", "head-0 worker-a-0 worker-c-0", "a", "c")
	if gone := slices.Index(order, "delete "+worker("b").String()); slices.Index(order, "introduce vm.head[0]") > gone || gone < 0 {
		t.Errorf("it is gone before it is forgotten: %v", order)
	}
	step("one comes, one leaves", "+ vm.worker[\"0\"][0]\n- vm.worker[\"c\"][0]\n~ cluster.hpc", "head-0 worker-0-0 worker-a-0", "0", "a")

	l.world.Vanish(worker("a"))
	step("one has vanished", "+ vm.worker[\"a\"][0]\n~ cluster.hpc", "head-0 worker-0-0 worker-a-0", "0", "a")

	d := load(t, hpc("0", "a"))
	if _, err := l.try(runtime.Request{Desired: d, Replace: []engine.Address{worker("0")}}); err != nil {
		t.Fatal(err)
	}
	l.settled(d)
	l.known()
	if err := forget(l, "vm.head[0]"); err != nil {
		t.Fatal(err)
	}
	step("one was told of nobody", "~ cluster.hpc", "head-0 worker-0-0 worker-a-0", "0", "a")
	if why := l.plan(load(t, hpc("0", "a", "z"))).Plan.Find(hpcAddr).Why; why != `with vm.worker["z"][0]` {
		t.Errorf("the plan says why: %q", why)
	}

	without := load(t, strings.Split(hpc("0", "a"), "cluster ")[0])
	l.apply(without)
	l.settled(without)
	for _, o := range l.world.Objects() {
		if r := l.world.Knows(o.Key(), "hpc"); !r.Equal(providers.Roster{}) {
			t.Errorf("%s still knows %+v", o.Address, r)
		}
	}
}

// forget lets a machine forget its cluster behind everybody's back.
func forget(l *lab, address string) error {
	for _, o := range l.world.Objects() {
		if o.Address.String() == address {
			return sim.New(l.world, sim.Config{}).Introduce(l.t.Context(), o, "hpc", "root", providers.Roster{})
		}
	}
	return fmt.Errorf("there is no %s", address)
}

// A machine that cannot be told of the others leaves the cluster as it is until it
// can; one whose change alone is asked for takes the cluster with it.
func TestClusterWaitsForItsMachines(t *testing.T) {
	l := newLab(t)
	l.apply(load(t, hpc("a", "b")))
	l.mustOrder(engine.Suspend, engine.Desired{}, worker("a"))
	d := load(t, hpc("a", "b", "c"))
	ch := l.plan(d).Plan.Find(hpcAddr)
	if ch.Action != engine.NoOp || !strings.Contains(ch.Hold, `vm.worker["a"][0]`) {
		t.Errorf("with a suspended machine: %v, %q", ch.Action, ch.Hold)
	}
	l.mustOrder(engine.Resume, engine.Desired{}, worker("a"))
	if _, err := l.try(runtime.Request{Desired: d, Targets: []engine.Address{worker("c")}}); err != nil {
		t.Fatal(err)
	}
	l.settled(d)
	if got, want := l.known(), "head-0 worker-a-0 worker-b-0 worker-c-0"; got != want {
		t.Errorf("they know %q, want %q", got, want)
	}
}

// An apply that is cut short anywhere is made up for by the next.
func TestClusterSurvivesFaults(t *testing.T) {
	for seed := range uint64(10) {
		l := newLab(t)
		r := rand.New(rand.NewPCG(seed, 1))
		var mu sync.Mutex
		calls := 0
		stop := r.IntN(12)
		l.wrap = func(p providers.Provider) providers.Provider {
			return &providers.Faulty{Provider: p, Pick: func(string, engine.Address) providers.Fault {
				mu.Lock()
				defer mu.Unlock()
				if calls++; calls > stop && calls < stop+4 {
					return providers.Faults[r.IntN(len(providers.Faults))]
				}
				return providers.NoFault
			}}
		}
		l.parallelism = 1
		for _, workers := range [][]string{{"a", "b"}, {"b", "c"}} {
			d := load(t, hpc(workers...))
			for range 6 { // what cannot be read is left alone, which is no error
				l.try(runtime.Request{Desired: d})
			}
			l.settled(d)
			l.known()
			calls = 0
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// Machines whose provider cannot do it are found in the plan.
func TestClusterOfOthersMachines(t *testing.T) {
	l := newLab(t)
	l.wrap = func(p providers.Provider) providers.Provider { return struct{ providers.Provider }{p} }
	_, diags, err := l.flow.Plan(t.Context(), runtime.Request{Desired: load(t, hpc("a"))})
	if err != nil || !strings.Contains(fmt.Sprint(diags.Err()), "cannot know the others") {
		t.Errorf("the plan says %v (%v)", diags.Err(), err)
	}
}
