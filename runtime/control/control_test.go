package control_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/builtin"
	"github.com/flowctl/flowctl/providers/sim"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/runtime/control"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/runtime/observe"
	"github.com/flowctl/flowctl/spec"
	"github.com/flowctl/flowctl/state"
)

// twoTier is a function that follows its cpu, on machines that follow it; %d is
// its greatest size.
const twoTier = `
flow "test" {}
vm "node" {
  cpus   = 4
  memory = "4GiB"
  slots  = 4
}
function "web" {
  on     = vm.node
  exec   = ["x"]
  cpu    = 1
  spread = true
  drain  = "1s"
}
frontend "www" {
  listen = "127.0.0.1:0"
  to     = function.web
}
scaling "web" {
  target = function.web
  min    = 1
  max    = %d
  metric "cpu" { utilisation = 0.5 }
}
scaling "node" {
  target   = vm.node
  min      = 1
  max      = 5
  headroom = 1
}
`

var (
	web  = engine.Addr(engine.KindFunction, "web")
	node = engine.Addr(engine.KindVM, "node")
)

// lab is a flow over a simulated world, under a controller, in a bubble of time.
type lab struct {
	t     *testing.T
	world *sim.World
	store *state.Store
	beat  time.Duration // of the controller; 0 means a second
	specs string        // the folder of the spec

	mu   sync.Mutex
	wrap func(providers.Provider) providers.Provider
	load float64                    // cores that are asked of all replicas together; below 0: nobody can say
	each map[engine.Address]float64 // the same of functions that have a load of their own
	mute engine.Address             // a machine of which nothing is measured; zero for none
}

func newLab(t *testing.T) *lab {
	store, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &lab{t: t, world: sim.NewWorld(), store: store, specs: t.TempDir()}
}

// metered is a simulated provider whose replicas share the load.
type metered struct {
	providers.Provider
	l *lab
}

func (m metered) Unwrap() providers.Provider { return m.Provider }

func (m metered) Usage(_ context.Context, objects []engine.Object) ([]providers.Usage, error) {
	m.l.mu.Lock()
	defer m.l.mu.Unlock()
	if m.l.load < 0 {
		return nil, errors.New("nobody can say")
	}
	var all []providers.Usage
	var unheard []engine.Address
	for _, o := range objects {
		if o.Address.Kind == engine.KindFunction {
			all = append(all, providers.Usage{Address: o.Address})
			if machine := o.Attr("machine"); machine == m.l.mute.String() {
				unheard = append(unheard, o.Address)
			}
		}
	}
	count := map[engine.Address]int{}
	for _, u := range all {
		if _, own := m.l.each[u.Address.Group()]; own {
			count[u.Address.Group()]++
		} else {
			count[engine.Address{}]++
		}
	}
	for i := range all {
		if load, own := m.l.each[all[i].Address.Group()]; own {
			all[i].CPUCores = min(1, load/float64(count[all[i].Address.Group()]))
		} else {
			all[i].CPUCores = min(1, m.l.load/float64(count[engine.Address{}]))
		}
	}
	if len(unheard) == 0 {
		return all, nil
	}
	all = slices.DeleteFunc(all, func(u providers.Usage) bool { return slices.Contains(unheard, u.Address) })
	return all, fmt.Errorf("%s does not answer", m.l.mute)
}

// Get implements tasks.Source.
func (l *lab) Get(_ context.Context, name string) (providers.Provider, error) {
	if name == builtin.Name {
		return builtin.New(providers.Settings{SpecDir: l.specs}), nil
	}
	var p providers.Provider = metered{sim.New(l.world, sim.Config{Latency: engine.Duration(20 * time.Millisecond)}), l}
	l.mu.Lock()
	wrap := l.wrap
	l.mu.Unlock()
	if wrap != nil {
		p = wrap(p)
	}
	return p, nil
}

func desired(text string) (engine.Desired, error) {
	d, diags := spec.Load(spec.Bundle{Dir: "/", Files: []spec.File{{Name: "test.hcl", Bytes: []byte(text)}}}, spec.Options{
		Providers:       map[string]*engine.Schema{"sim": sim.Factory.Config, builtin.Name: engine.SchemaOf[struct{}]()},
		DefaultProvider: "sim", Builtin: builtin.Name, Balancer: "sim",
	})
	return d, diags.Err()
}

func (l *lab) flow() *runtime.Flow {
	return &runtime.Flow{
		Store: l.store, Log: slog.New(slog.DiscardHandler), Now: time.Now, Rand: rand.New(rand.NewPCG(1, 1)),
		Journal: func(lease *state.Lease) exec.Journal { return l.store.Journal(lease) }, Providers: l,
	}
}

// lock takes the flow's lock as somebody at a terminal would.
func (l *lab) lock() *state.Lease {
	l.t.Helper()
	lease, err := l.flow().Lock(l.t.Context(), runtime.Owner("flowctl apply", time.Now()), 0, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return lease
}

// apply applies a spec as the command does.
func (l *lab) apply(text string) {
	l.t.Helper()
	l.request(text, func(*runtime.Request) {})
}

// request is an apply that asks for something besides.
func (l *lab) request(text string, edit func(*runtime.Request)) {
	l.t.Helper()
	d, err := desired(text)
	if err != nil {
		l.t.Fatal(err)
	}
	lease := l.lock()
	defer lease.Release(l.t.Context())
	r := runtime.Request{Desired: d}
	edit(&r)
	p, diags, err := l.flow().Plan(l.t.Context(), r)
	if err := errors.Join(err, diags.Err()); err != nil {
		l.t.Fatal(err)
	}
	bundle, _ := json.Marshal(text)
	out, err := l.flow().Apply(l.t.Context(), l.t.Context(), lease, p, runtime.Options{Command: "apply", Spec: text, Bundle: bundle, Limits: exec.Limits{Total: 4}})
	if err != nil || len(out.Report.Failed) > 0 {
		l.t.Fatal(err, out.Report.Failed)
	}
}

// serve runs a controller until stop is called.
func (l *lab) serve() (c *control.Controller, stop func()) {
	c = &control.Controller{
		Flow: l.flow(), Store: l.store, Now: time.Now, Log: slog.New(slog.DiscardHandler), Beat: cmp.Or(l.beat, time.Second), Repair: time.Minute,
		Collector: &observe.Collector{Providers: l, Now: time.Now, Log: slog.New(slog.DiscardHandler)},
		Load: func(bundle []byte) (engine.Desired, error) {
			var text string
			if err := json.Unmarshal(bundle, &text); err != nil {
				return engine.Desired{}, err
			}
			return desired(text)
		},
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx, l.t.Context()) }()
	return c, func() {
		l.t.Helper()
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			l.t.Error(err)
		}
	}
}

func (l *lab) ask(load float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.load = load
}

// wrapIn has all providers decorated from now on.
func (l *lab) wrapIn(wrap func(providers.Provider) providers.Provider) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrap = wrap
}

// askOf is ask, of one function.
func (l *lab) askOf(function engine.Address, load float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.each == nil {
		l.each = map[engine.Address]float64{}
	}
	l.each[function] = load
}

// after lets time pass.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// count counts what there is in the world.
func (l *lab) count(group engine.Address) int {
	n := 0
	for _, o := range l.world.Objects() {
		if o.Address.Group() == group {
			n++
		}
	}
	return n
}

func (l *lab) expect(when string, replicas, machines int) {
	l.t.Helper()
	if w, n := l.count(web), l.count(node); w != replicas || n != machines {
		l.t.Fatalf("%s there are %d replicas on %d machines, want %d on %d\n%s", when, w, n, replicas, machines, l.decisions())
	}
}

// decisions lists what was decided, the newest first.
func (l *lab) decisions() string {
	list, err := l.store.Decisions(l.t.Context(), "", time.Time{}, 20)
	if err != nil {
		l.t.Fatal(err)
	}
	var b strings.Builder
	for _, x := range list {
		var d decide.Decision
		json.Unmarshal(x.Body, &d)
		fmt.Fprintf(&b, "%s %s %d -> %d (run %d) %s\n", d.At.Format(time.TimeOnly), d.Rule, d.From, d.To, x.Run, d.Why)
	}
	return b.String()
}

// empty checks that the plan of the spec is empty.
func (l *lab) empty(text string) {
	l.t.Helper()
	d, err := desired(text)
	if err != nil {
		l.t.Fatal(err)
	}
	p, diags, err := l.flow().Plan(l.t.Context(), runtime.Request{Desired: d})
	if err := errors.Join(err, diags.Err()); err != nil || !p.Plan.Empty() {
		l.t.Errorf("the plan is not empty: %v", err)
	}
}

func inBubble(t *testing.T, f func(t *testing.T, l *lab)) {
	synctest.Test(t, func(t *testing.T) { f(t, newLab(t)) })
}

// Replicas follow the load and machines follow the replicas, both ways; all the
// while, the plan of the spec is empty.
func TestSizesFollowTheLoad(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		text := fmt.Sprintf(twoTier, 20)
		l.ask(0.4)
		l.apply(text)
		_, stop := l.serve()
		defer stop()
		after(time.Minute)
		l.expect("at rest", 1, 1)
		l.empty(text)
		l.ask(4)
		after(2 * time.Minute)
		l.expect("under load", 8, 3)
		l.empty(text)
		l.ask(0.4)
		after(40 * time.Second)
		l.expect("within the window", 8, 3)
		after(15 * time.Minute)
		l.expect("after the load", 1, 1)
		l.empty(text)
		runs := map[int64]bool{}
		list, err := l.store.Decisions(t.Context(), "web", time.Time{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			var d decide.Decision
			if err := json.Unmarshal(x.Body, &d); err != nil {
				t.Fatal(err)
			}
			if d.To < 1 || d.To > 20 {
				t.Errorf("decided %d, which is out of bounds", d.To)
			}
			if d.Act != (x.Run != 0) || d.Act && runs[x.Run] {
				t.Errorf("decision at %s: acts %v, by run %d", d.At, d.Act, x.Run)
			}
			runs[x.Run] = true
		}
	})
}

// What cannot be measured shrinks nothing.
func TestNothingShrinksOnMissingData(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		l.ask(2)
		l.apply(fmt.Sprintf(twoTier, 20))
		_, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		l.expect("under load", 4, 2)
		l.ask(-1)
		after(15 * time.Minute)
		l.expect("without data", 4, 2)
		l.ask(0.4)
		after(20 * time.Minute)
		l.expect("with data again", 1, 1)
	})
}

// What is measured on one machine alone vanishes: that shrinks nothing, and the loop
// goes on by what the others tell.
func TestOneMachineIsNotMeasured(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		l.ask(5)
		l.apply(fmt.Sprintf(twoTier, 20))
		_, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		l.expect("under load", 10, 3)
		if n := len(l.on(node.At(1))); n < 2 || n > 5 {
			t.Fatalf("%d replicas are on the machine", n)
		}
		l.mu.Lock()
		l.mute = node.At(1)
		l.mu.Unlock()
		after(15 * time.Minute)
		l.expect("without the data of one machine", 10, 3)
		l.ask(10)
		after(2 * time.Minute)
		if n := l.count(web); n <= 10 {
			t.Errorf("%d replicas at twice the load: the loop does not go on\n%s", n, l.decisions())
		}
	})
}

// While somebody else changes the flow, an order waits.
func TestOrdersWaitForTheLock(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		l.ask(0.4)
		l.apply(fmt.Sprintf(twoTier, 20))
		_, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		lease := l.lock()
		l.ask(2)
		after(2 * time.Minute)
		l.expect("under another's lock", 1, 1)
		lease.Release(t.Context())
		after(10 * time.Second)
		if l.count(web) < 2 {
			t.Errorf("nothing happened after the lock was free\n%s", l.decisions())
		}
	})
}

// An apply with other rules changes them while the controller runs.
func TestRulesAreTakenUpLive(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		l.ask(4)
		l.apply(fmt.Sprintf(twoTier, 3))
		_, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		l.expect("at the old bound", 3, 1)
		l.apply(fmt.Sprintf(twoTier, 6))
		after(time.Minute)
		l.expect("at the new bound", 6, 2)
	})
}

// A second controller waits while the first leads, and takes over what it knew:
// it does not shrink within a window that the first had begun to watch.
func TestASecondControllerTakesOver(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		l.ask(2)
		l.apply(fmt.Sprintf(twoTier, 20))
		_, stop := l.serve()
		after(5 * time.Minute)
		l.expect("under load", 4, 2)
		second, stopSecond := l.serve()
		defer stopSecond()
		after(time.Minute)
		if st := second.Status(); !strings.Contains(st.Waiting, "locked") {
			t.Errorf("the second is not waiting: %+v", st)
		}
		l.ask(4)
		after(30 * time.Second)
		stop()
		after(30 * time.Second)
		l.expect("under the second", 8, 3)
		if st := second.Status(); st.Waiting != "" || len(st.Rules) != 2 {
			t.Errorf("the second does not lead: %+v", st)
		}
		l.ask(0.4)
		after(40 * time.Second)
		l.expect("within the window", 8, 3)
	})
}

// failing refuses to make replicas.
type failing struct {
	providers.Provider
	calls *int
}

func (f failing) Unwrap() providers.Provider { return f.Provider }

func (f failing) Apply(ctx context.Context, c providers.Call) (engine.Object, error) {
	if c.Address.Group() == web && c.Prior == nil {
		*f.calls++
		return engine.Object{}, providers.Permanent(errors.New("no room at the inn"))
	}
	return f.Provider.Apply(ctx, c)
}

// What fails is tried again, ever more seldom, and said.
func TestFailuresAreSpacedOut(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		l.ask(0.4)
		l.apply(fmt.Sprintf(twoTier, 20))
		calls := 0
		l.wrapIn(func(p providers.Provider) providers.Provider { return failing{p, &calls} })
		c, stop := l.serve()
		defer stop()
		l.ask(0.9)
		after(15 * time.Minute)
		if calls < 5 || calls > 15 {
			t.Errorf("%d tries in 15 minutes", calls)
		}
		if st := c.Status(); !strings.Contains(st.Failed, "no room at the inn") {
			t.Errorf("the status says %q", st.Failed)
		}
		l.expect("all the while", 1, 1)
	})
}

// What was not applied as a whole is not the controller's to put right, nor to undo.
func TestItRestsUntilTheSpecIsWhole(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		text := fmt.Sprintf(twoTier, 20)
		l.ask(0.4)
		l.apply(text)
		c, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		other := strings.Replace(text, "function \"web\"", "function \"more\" {\n on = vm.node\n exec = [\"x\"]\n}\nfunction \"web\"", 1)
		other = strings.Replace(other, "exec   = [\"x\"]", "exec   = [\"y\"]", 1)
		l.request(other, func(r *runtime.Request) { r.Targets = []engine.Address{engine.Addr(engine.KindFunction, "more")} })
		l.ask(4)
		after(5 * time.Minute)
		l.expect("after an apply of one target", 1, 1)
		if n := l.count(engine.Addr(engine.KindFunction, "more")); n != 1 {
			t.Errorf("there are %d of what was asked for besides, want 1", n)
		}
		if st := c.Status(); !strings.Contains(st.Held, "of some targets only") {
			t.Errorf("the status says %q", st.Held)
		}
		l.apply(other)
		after(3 * time.Minute)
		if l.count(web) < 7 { // the other takes a share of the load
			t.Errorf("it rests although the spec was applied as a whole\n%s", l.decisions())
		}
	})
}

// A revision that was gone back from does not come back by itself; its function is
// scaled all the same.
func TestARollbackStays(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		text := fmt.Sprintf(twoTier, 20)
		l.ask(0.4)
		l.apply(text)
		newer := strings.Replace(text, "exec   = [\"x\"]", "exec   = [\"y\"]", 1)
		l.apply(newer)
		_, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		l.rollBack(newer)
		l.ask(4)
		after(3 * time.Minute)
		l.expect("after the rollback", 8, 3)
		for _, o := range l.world.Objects() {
			if o.Address.Group() == web && engine.MustDecode[engine.Replica](o.Value).Exec[0] != "x" {
				t.Errorf("%s runs the revision that was gone back from", o.Address)
			}
		}
	})
}

// rollBack goes back to the revision of web before the one that a spec has.
func (l *lab) rollBack(text string) {
	l.t.Helper()
	snap, err := l.store.Snapshot(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	rev, err := runtime.Earlier(snap, web, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	l.request(text, func(r *runtime.Request) {
		r.Pins = []engine.Pin{{Function: web, Value: rev.Value}}
		r.Targets = []engine.Address{web}
	})
}

// An update that was interrupted and rolled back leaves the flow as its last whole spec
// says, so the controller goes on; where more is left of it, it rests.
func TestItGoesOnAfterARollbackOfWhatWasInterrupted(t *testing.T) {
	for _, more := range []bool{false, true} {
		t.Run(fmt.Sprintf("more is left %v", more), func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *lab) {
				text := fmt.Sprintf(twoTier, 20)
				l.ask(2)
				l.apply(text)
				c, stop := l.serve()
				defer stop()
				after(5 * time.Minute)
				l.expect("under load", 4, 2)
				newer := strings.Replace(text, "exec   = [\"x\"]", "exec   = [\"y\"]", 1)
				if more {
					newer = strings.Replace(newer, "function \"web\"", "function \"more\" {\n on = vm.node\n exec = [\"x\"]\n}\nfunction \"web\"", 1)
				}
				l.interrupted(newer)
				after(time.Second)
				if st := c.Status(); !strings.Contains(st.Held, "has not been finished") {
					t.Fatalf("the status says %q", st.Held)
				}
				l.rollBack(newer)
				l.ask(4)
				after(5 * time.Minute)
				if st := c.Status(); (st.Held != "") != more {
					t.Errorf("the status says %q", st.Held)
				}
				if n := l.count(web); (n > 4) == more {
					t.Errorf("there are %d replicas\n%s", n, l.decisions())
				}
			})
		})
	}
}

// interrupted applies a spec, and stops when a replica of the new revision is there.
func (l *lab) interrupted(text string) {
	l.t.Helper()
	d, err := desired(text)
	if err != nil {
		l.t.Fatal(err)
	}
	lease := l.lock()
	defer lease.Release(l.t.Context())
	p, diags, err := l.flow().Plan(l.t.Context(), runtime.Request{Desired: d})
	if err := errors.Join(err, diags.Err()); err != nil {
		l.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(l.t.Context())
	defer stop()
	bundle, _ := json.Marshal(text)
	out, err := l.flow().Apply(ctx, l.t.Context(), lease, p, runtime.Options{Command: "apply", Spec: text, Bundle: bundle, Limits: exec.Limits{Total: 4},
		Observe: func(e engine.Event) {
			if e.State == engine.Done && e.Step.Op == engine.OpCreate && e.Step.Address.Group() == web {
				stop()
			}
		}})
	if err != nil || !out.Report.Interrupted {
		l.t.Fatalf("it was not interrupted (%v)", err)
	}
}

// An order to shrink that waits is not given again and again, each time from less.
func TestAWaitingScaleInDoesNotCompound(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		l.ask(4)
		l.apply(fmt.Sprintf(twoTier, 20))
		_, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		l.expect("under load", 8, 3)
		lease := l.lock()
		l.ask(2)
		after(15 * time.Minute)
		l.expect("while somebody else has the lock", 8, 3)
		lease.Release(t.Context())
		after(20 * time.Second)
		if n := l.count(web); n != 4 {
			t.Errorf("then there are %d replicas, want 4\n%s", n, l.decisions())
		}
	})
}
