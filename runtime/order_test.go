package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/sim"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
)

var (
	api  = engine.Addr(engine.KindFunction, "api")
	node = engine.Addr(engine.KindVM, "node")
)

// order carries out an operator's order.
func (l *lab) order(a engine.Action, d engine.Desired, targets ...engine.Address) (runtime.Outcome, error) {
	l.t.Helper()
	ctx := context.Background()
	lease := l.lock()
	p, diags, err := l.flow.Order(ctx, runtime.OrderRequest{Action: a, Targets: targets, Desired: d})
	if err := errors.Join(err, diags.Err()); err != nil {
		return runtime.Outcome{}, errors.Join(err, lease.Release(ctx))
	}
	out, err := l.flow.Apply(ctx, ctx, lease, p, runtime.Options{Command: a.String(), Limits: exec.Limits{Total: 4}})
	for i := range out.Report.Failed {
		err = errors.Join(err, &out.Report.Failed[i])
	}
	return out, errors.Join(err, lease.Release(ctx))
}

func (l *lab) mustOrder(a engine.Action, d engine.Desired, targets ...engine.Address) runtime.Outcome {
	l.t.Helper()
	out, err := l.order(a, d, targets...)
	if err != nil {
		l.t.Fatalf("%s %v: %v", a, targets, err)
	}
	return out
}

// lifecycles tells which objects are not ready.
func (l *lab) lifecycles() string {
	snap, err := l.store.Snapshot(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	var parts []string
	for _, o := range snap.Objects {
		if o.Lifecycle != engine.Ready {
			parts = append(parts, fmt.Sprintf("%s %s", o.Address, o.Lifecycle))
		}
	}
	return strings.Join(parts, ", ")
}

// did lists what happened in the world since a number of events.
func (l *lab) did(since int) string {
	var parts []string
	for _, e := range l.world.Events()[since:] {
		parts = append(parts, e.Op+" "+e.Key.Address.String())
	}
	return strings.Join(parts, ", ")
}

func TestSuspendedReplicasAreLeftAlone(t *testing.T) {
	l := newLab(t)
	d := load(t, twoTier)
	l.apply(d)
	n := len(l.world.Events())
	l.mustOrder(engine.Suspend, d, web.At(1))
	if got, want := l.did(n), "delete backend.www/web[1], suspend function.web[1]"; got != want {
		t.Errorf("suspending did %s, want %s", got, want)
	}
	if p := l.plan(d); !p.Plan.Empty() || p.Plan.Find(web.At(1)).Hold != "it is suspended" {
		t.Errorf("a plan is\n%s\nheld: %q", why(p.Plan), p.Plan.Find(web.At(1)).Hold)
	}
	l.apply(d)
	edited := load(t, edit(t, twoTier, "exec     = [\"web\"]", "exec     = [\"web\", \"-v\"]"))
	if got := show(l.plan(edited).Plan); got != "+/- function.web[0]\n+/- backend.www/web[0]" {
		t.Errorf("an edited spec plans\n%s", got)
	}
	l.apply(edited)
	if got := l.lifecycles(); got != "function.web[1] suspended" {
		t.Errorf("then %s", got)
	}
	n = len(l.world.Events())
	l.mustOrder(engine.Resume, edited, web)
	if got, want := l.did(n), "resume function.web[1], create backend.www/web[1]"; got != want {
		t.Errorf("resuming did %s, want %s", got, want)
	}
	l.apply(edited)
	l.settled(edited)
}

func TestASuspendedMachineTakesNoReplica(t *testing.T) {
	l := newLab(t)
	d := load(t, twoTier)
	l.apply(d)
	n := len(l.world.Events())
	l.mustOrder(engine.Suspend, d, node.At(0))
	if got := l.did(n); !strings.HasSuffix(got, "suspend vm.node[0]") || strings.Count(got, "suspend function") != 2 {
		t.Errorf("suspending the machine did %s", got)
	}
	if p := l.plan(d); !p.Plan.Empty() {
		t.Errorf("a plan is\n%s", why(p.Plan))
	}
	if _, err := l.try(runtime.Request{Desired: d, Hands: map[engine.Address]int{web: 4}}); err != nil {
		t.Fatal(err)
	}
	for _, o := range l.world.Objects() {
		if i, _ := o.Address.Index(); o.Address.Group() == web && i >= 2 && o.Attr("machine") != "vm.node[1]" {
			t.Errorf("%s is on %s", o.Address, o.Attr("machine"))
		}
	}
	if _, err := l.try(runtime.Request{Desired: d, Hands: map[engine.Address]int{web: 5}}); err == nil || !strings.Contains(err.Error(), "it is suspended") {
		t.Errorf("a size that only the suspended machine has room for: %v", err)
	}
	n = len(l.world.Events())
	l.mustOrder(engine.Resume, d, node)
	if got := l.did(n); !strings.HasPrefix(got, "resume vm.node[0]") || l.lifecycles() != "" {
		t.Errorf("resuming did %s; then %s", got, l.lifecycles())
	}
	l.settled(d)
}

// A machine with an old set that is kept for a rollback is suspended with it, and a set
// whose time is over meanwhile goes when the machine works again.
func TestAMachineWithAKeptSetIsSuspended(t *testing.T) {
	l := newLab(t)
	now := time.Now()
	l.flow.Now = func() time.Time { return now }
	l.apply(load(t, shop("1", blueGreen)))
	d := load(t, shop("2", blueGreen))
	l.apply(d)
	const both = "0#1 0#2 1#1 1#2 2#1 2#2 3#1 3#2"
	l.want("replicas", l.replicas(), both)
	f := l.traffic()
	l.mustOrder(engine.Suspend, d, node.At(0))
	if p := l.plan(d); !p.Plan.Empty() {
		t.Errorf("a plan is\n%s", why(p.Plan))
	}
	now = now.Add(11 * time.Minute)
	if p := l.plan(d); !p.Plan.Empty() {
		t.Errorf("later, a plan is\n%s", why(p.Plan))
	}
	l.want("replicas", l.replicas(), both)
	l.mustOrder(engine.Resume, d, node)
	l.want("what the order left suspended", l.lifecycles(), "")
	turns := strings.Split(f.String(), "\n")
	l.want("traffic after it", turns[len(turns)-1], "2:100x4")
	l.want("replicas after it", l.replicas(), both)
	l.apply(d)
	l.want("replicas in the end", l.replicas(), "0#2 1#2 2#2 3#2")
	l.settled(d)
}

// Replicas restart one after the other, each out of its frontends while it does;
// more at once if the update policy says so.
func TestRestartsRoll(t *testing.T) {
	for _, c := range []struct {
		policy string
		least  int
	}{{"", 3}, {"update { max_unavailable = 2 }", 2}} {
		l := newLab(t)
		d := load(t, edit(t, twoTier, "replicas = 2\n  exec     = [\"web\"]", "replicas = 4\n  exec     = [\"web\"]\n  "+c.policy))
		l.apply(d)
		least := l.watchServing(engine.Addr(engine.KindFrontend, "www"))
		n := len(l.world.Events())
		l.mustOrder(engine.Restart, d, node, web) // the machines are of them all
		if got := strings.Count(l.did(n), "restart function."); got != 6 {
			t.Errorf("%d restarts, want 6: %s", got, l.did(n))
		}
		if *least < c.least {
			t.Errorf("with %q %d of 4 served at the worst moment, want %d at the least", c.policy, *least, c.least)
		}
		l.settled(d)
	}
}

// With max_unavailable = 0 a restart is a replacement: none is missing at any moment, and
// no more than max_surge are there besides. What the spec says otherwise is left alone.
func TestARestartThatLetsNoneBeMissing(t *testing.T) {
	for _, c := range []struct {
		surge, slots int
		most         int // replicas of web at any moment; 0 if it is refused
	}{{1, 10, 5}, {2, 10, 6}, {3, 6, 6}, {1, 4, 0}} {
		t.Run(fmt.Sprintf("max_surge = %d, %d slots", c.surge, c.slots), func(t *testing.T) {
			l := newLab(t)
			text := edit(t, shop("1", fmt.Sprintf("max_unavailable = 0\n max_surge = %d", c.surge)), "slots  = 10", fmt.Sprintf("slots = %d", c.slots))
			d := load(t, text)
			l.apply(d)
			least, most := 4, 0
			var mu sync.Mutex
			l.world.Watch(func(_ sim.Event, things map[engine.Key]engine.Object) {
				mu.Lock()
				defer mu.Unlock()
				n := map[engine.Kind]int{}
				for k := range things {
					n[k.Address.Kind]++
				}
				least, most = min(least, n[engine.KindBackend]), max(most, n[engine.KindFunction])
			})
			n := len(l.world.Events())
			edited := load(t, edit(t, text, `V = "1"`, `V = "2"`))
			_, err := l.order(engine.Restart, edited, web)
			if c.most == 0 {
				if err == nil || !strings.Contains(err.Error(), "No room to restart replicas") || len(l.world.Events()) > n {
					t.Errorf("it did %s: %v", l.did(n), err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if least != 4 || most != c.most {
				t.Errorf("at least %d served and at most %d were there, want 4 and %d", least, most, c.most)
			}
			l.want("replicas", l.replicas(), "0#2 1#2 2#2 3#2")
			l.settled(d)
			l.mustOrder(engine.Restart, edited, web.At(2))
			l.want("replicas after the restart of one", l.replicas(), "0#2 1#2 2#3 3#2")
			l.settled(d)
		})
	}
}

// Killed at any write, a restart that replaces is made up for by an apply, and if what it
// starts is not healthy, the others stay.
func TestARestartThatReplacesFails(t *testing.T) {
	d := load(t, shop("1", "max_unavailable = 0"))
	for n, killed := 0, true; killed; n += 3 {
		l := newLab(t)
		l.apply(d)
		f := l.traffic()
		l.flow.Journal = func(lease *state.Lease) exec.Journal {
			return &killer{Journal: l.store.Journal(lease), left: n, torn: n%2 == 1}
		}
		_, err := l.order(engine.Restart, d, web)
		killed = errors.Is(err, errKilled)
		l.flow.Journal = func(lease *state.Lease) exec.Journal { return l.store.Journal(lease) }
		l.apply(d)
		l.settled(d)
		for _, turn := range strings.Split(f.String(), "\n") {
			if !slices.Contains([]string{"", "1:100x4", "1:100x5"}, turn) {
				t.Errorf("killed at write %d: %s serve for a moment", n, turn)
			}
		}
	}
	l := newLab(t)
	l.apply(d)
	f := l.traffic()
	l.wrap = func(p providers.Provider) providers.Provider { return sick{p, "1"} }
	if _, err := l.order(engine.Restart, d, web); err == nil || !strings.Contains(err.Error(), "it is sick") {
		t.Errorf("a restart into sickness: %v", err)
	}
	l.want("replicas", l.replicas(), "0#1 1#1 2#1 3#1")
	l.want("traffic", f.String(), "1:100x4")
	l.settled(d)
}

func TestAReplicaThatDoesNotComeBackStopsTheRoll(t *testing.T) {
	l := newLab(t)
	d := load(t, edit(t, twoTier, "exec     = [\"web\"]", "exec     = [\"web\"]\n  health { start_timeout = \"1s\" }"))
	l.apply(d)
	l.wrap = func(p providers.Provider) providers.Provider { return hanging{p, l.world} }
	out, err := l.order(engine.Restart, d, web)
	if err == nil || !strings.Contains(err.Error(), "it hangs") || len(out.Report.Failed) != 1 {
		t.Fatalf("restart: %v", err)
	}
	if got := l.lifecycles(); got != "function.web[0] unverified" {
		t.Errorf("then %s", got)
	}
	l.wrap = nil
	l.apply(d)
	l.settled(d)
}

func TestWhatCannotBeDoneIsSaidBeforeAnythingIsDrained(t *testing.T) {
	l := newLab(t)
	d := load(t, twoTier)
	l.apply(d)
	n := len(l.world.Events())
	l.wrap = func(p providers.Provider) providers.Provider { return plain{p} }
	for _, a := range []engine.Action{engine.Suspend, engine.Restart} {
		_, err := l.order(a, d, node)
		if err == nil || !strings.Contains(err.Error(), "function.api[0]: its provider sim cannot "+a.String()) {
			t.Errorf("%s: %v", a, err)
		}
	}
	if did := l.did(n); did != "" {
		t.Errorf("all the same it did %s", did)
	}
}

// hanging is a provider whose replicas hang after a restart.
type hanging struct {
	providers.Provider
	world *sim.World
}

func (h hanging) Unwrap() providers.Provider { return h.Provider }

func (h hanging) Restart(_ context.Context, o engine.Object) error {
	h.world.Break(o.Address, "it hangs")
	return nil
}

// plain is a provider that can do nothing besides.
type plain struct{ p providers.Provider }

func (p plain) Read(ctx context.Context, o engine.Object) (engine.Observation, error) {
	return p.p.Read(ctx, o)
}

func (p plain) Apply(ctx context.Context, c providers.Call) (engine.Object, error) {
	return p.p.Apply(ctx, c)
}

func (p plain) Delete(ctx context.Context, o engine.Object, operation string) error {
	return p.p.Delete(ctx, o, operation)
}

// Whatever is ordered in whatever order, an apply in between changes nothing, and
// when all is resumed the world is as the spec has it.
func TestOrdersInAnyOrder(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 2))
		l := newLab(t)
		d := load(t, twoTier)
		l.apply(d)
		suspended := map[engine.Address]bool{}
		targets := []engine.Address{web, web.At(0), api.At(1), node.At(0), node.At(1)}
		for range 6 {
			target := targets[rng.IntN(len(targets))]
			a := []engine.Action{engine.Suspend, engine.Resume, engine.Restart}[rng.IntN(3)]
			_, err := l.order(a, d, target)
			if err != nil && !(a == engine.Restart && strings.Contains(err.Error(), "is suspended")) {
				t.Fatalf("seed %d: %s %s: %v", seed, a, target, err)
			}
			snap, err := l.store.Snapshot(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range snap.Objects {
				suspended[o.Address] = o.Lifecycle == engine.Suspended
			}
			for _, o := range snap.Objects {
				if o.Address.Kind == engine.KindBackend {
					if _, r := o.Address.Membership(); suspended[r] {
						t.Fatalf("seed %d: %s is there, and its replica is suspended", seed, o.Address)
					}
				}
			}
			if p := l.plan(d); !p.Plan.Empty() {
				t.Fatalf("seed %d: after %s %s a plan is\n%s", seed, a, target, why(p.Plan))
			}
		}
		l.mustOrder(engine.Resume, d, node, api, web)
		l.settled(d)
		if objects := l.world.Objects(); slices.ContainsFunc(objects, func(o engine.Object) bool { return o.Address.Kind == engine.KindVM && o.Gen != 1 }) {
			t.Errorf("seed %d: a machine was replaced", seed)
		}
	}
}

// babbling is a provider whose errors repeat what a replica was given.
type babbling struct{ providers.Provider }

func (b babbling) Unwrap() providers.Provider { return b.Provider }

func (b babbling) Restart(_ context.Context, o engine.Object) error {
	return fmt.Errorf("cannot start it with %#v", o.Value.GetAttr("env").AsValueMap())
}

func TestOrdersTellNoSecrets(t *testing.T) {
	l := newLab(t)
	d := load(t, "variable \"token\" {\n default = \"hunter2\"\n sensitive = true\n}\n"+edit(t, twoTier, `LEVEL = "info"`, `LEVEL = var.token`))
	l.apply(d)
	l.wrap = func(p providers.Provider) providers.Provider { return babbling{p} }
	_, err := l.order(engine.Restart, engine.Desired{}, api.At(0)) // the state alone tells what is sensitive
	if err == nil || !strings.Contains(err.Error(), "(sensitive value)") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("restart: %v", err)
	}
}
