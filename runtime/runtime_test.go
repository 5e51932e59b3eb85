package runtime_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/engine/plan"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/builtin"
	"github.com/flowctl/flowctl/providers/sim"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/spec"
	"github.com/flowctl/flowctl/state"
	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"
)

// lab is a flow over a simulated world.
type lab struct {
	t      failing
	world  *sim.World
	store  *state.Store
	flow   *runtime.Flow
	wrap   func(providers.Provider) providers.Provider
	events []engine.Event

	parallelism int    // 4, if not set
	specs       string // the folder of its spec
}

// failing is a test, or one check of a property, so that the least one that fails is
// found and told.
type failing interface {
	Helper()
	Context() context.Context
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

func newLab(t testing.TB) *lab {
	store, err := state.Open(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	l := &lab{t: t, world: sim.NewWorld(), store: store, specs: t.TempDir()}
	l.flow = &runtime.Flow{
		Store: store, Log: slog.New(slog.DiscardHandler), Now: time.Now, Rand: rand.New(rand.NewPCG(1, 1)),
		Journal: func(lease *state.Lease) exec.Journal { return store.Journal(lease) }, Providers: l,
		Backoff: exec.Backoff{Base: time.Millisecond, Max: 10 * time.Millisecond},
	}
	return l
}

// Get implements tasks.Source: everything but tasks and rules is simulated.
func (l *lab) Get(_ context.Context, name string) (providers.Provider, error) {
	if name == builtin.Name {
		return builtin.New(providers.Settings{SpecDir: l.specs}), nil
	}
	var p providers.Provider = sim.New(l.world, sim.Config{})
	if l.wrap != nil {
		p = l.wrap(p)
	}
	return p, nil
}

func load(t testing.TB, text string) engine.Desired {
	t.Helper()
	if !strings.Contains(text, "flow ") {
		text = "flow \"test\" {}\n" + text
	}
	d, diags := spec.Load(spec.Bundle{Dir: "/", Files: []spec.File{{Name: "test.hcl", Bytes: []byte(text)}}}, spec.Options{
		Providers: map[string]*engine.Schema{
			"sim": sim.Factory.Config, "other": sim.Factory.Config, builtin.Name: engine.SchemaOf[struct{}](),
		},
		DefaultProvider: "sim", Builtin: builtin.Name, Balancer: "sim",
	})
	if diags.HasErrors() {
		t.Fatalf("spec: %v\n%s", diags.Err(), text)
	}
	return d
}

func (l *lab) plan(d engine.Desired) runtime.Planned {
	l.t.Helper()
	p, diags, err := l.flow.Plan(context.Background(), runtime.Request{Desired: d})
	if err := errors.Join(err, diags.Err()); err != nil {
		l.t.Fatalf("plan: %v", err)
	}
	return p
}

// lock takes the flow's lock, from whoever has it.
func (l *lab) lock() *state.Lease {
	l.t.Helper()
	lease, err := l.store.Acquire(context.Background(), state.ApplyLock, state.Holder{Since: time.Now()}, func(state.Holder) bool { return false })
	if err != nil {
		l.t.Fatal(err)
	}
	return lease
}

// try applies once and returns what went wrong.
func (l *lab) try(r runtime.Request) (runtime.Outcome, error) {
	ctx := context.Background()
	lease := l.lock()
	p, diags, err := l.flow.Plan(ctx, r)
	if err := errors.Join(err, diags.Err()); err != nil {
		return runtime.Outcome{}, err
	}
	out, err := l.flow.Apply(ctx, ctx, lease, p, runtime.Options{
		Command: "apply", Limits: exec.Limits{Total: cmp.Or(l.parallelism, 4)}, Observe: func(e engine.Event) { l.events = append(l.events, e) },
	})
	for i := range out.Report.Failed {
		err = errors.Join(err, &out.Report.Failed[i])
	}
	return out, errors.Join(err, lease.Release(ctx))
}

func (l *lab) apply(d engine.Desired) runtime.Outcome {
	l.t.Helper()
	out, err := l.try(runtime.Request{Desired: d})
	if err != nil {
		l.t.Fatalf("apply: %v", err)
	}
	return out
}

// show lists a plan's changes as "+ vm.node[0]".
func show(p engine.Plan) string {
	var lines []string
	signs := map[engine.Action]string{engine.Create: "+", engine.Update: "~", engine.Replace: "-/+", engine.Delete: "-", engine.Run: ">"}
	for _, c := range p.Changes {
		if c.Action == engine.NoOp && len(c.Leftovers) == 0 {
			continue
		}
		sign := signs[c.Action]
		if c.Action == engine.Replace && c.CreateFirst {
			sign = "+/-"
		}
		line := strings.TrimSpace(sign + " " + c.Address.String())
		if len(c.Leftovers) > 0 {
			line += fmt.Sprintf(" (%d leftovers)", len(c.Leftovers))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// why lists the changes of a plan with their reasons.
func why(p engine.Plan) string {
	text := show(p)
	for _, c := range p.Changes {
		if d := plan.Describe(c); d != "" {
			text += fmt.Sprintf("\n%s: %s", c.Address, d)
		}
	}
	return text
}

// settled checks that nothing is left to do and that world and state agree.
func (l *lab) settled(d engine.Desired) {
	l.t.Helper()
	if p := l.plan(d); !p.Plan.Empty() {
		l.t.Fatalf("a second plan is not empty:\n%s", why(p.Plan))
	}
	snap, err := l.store.Snapshot(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	if len(snap.Open) > 0 {
		l.t.Fatalf("open operations are left: %+v", snap.Open)
	}
	recorded := map[engine.Key]engine.Object{}
	for _, o := range snap.Objects {
		if o.Provider != builtin.Name {
			recorded[o.Key()] = o
		}
		if o.Lifecycle != engine.Ready {
			l.t.Fatalf("%s is %s", o.Key(), o.Lifecycle)
		}
	}
	for _, o := range l.world.Objects() {
		r, ok := recorded[o.Key()]
		if !ok {
			l.t.Fatalf("an orphan: %s exists and is not recorded", o.Key())
		}
		if !r.Value.RawEquals(o.Value) {
			l.t.Fatalf("%s is recorded as\n%#v\nand is\n%#v", o.Key(), r.Value, o.Value)
		}
		delete(recorded, o.Key())
	}
	if len(recorded) > 0 {
		l.t.Fatalf("recorded, but not there: %v", slices.Collect(maps.Keys(recorded)))
	}
}

const twoTier = `
flow "test" {}
vm "node" {
  cpus   = 2
  memory = "1GiB"
  slots  = 4
  count  = 2
}
function "api" {
  on       = vm.node
  replicas = 2
  exec     = ["api"]
  env      = { LEVEL = "info" }
  spread   = true
}
frontend "api" {
  listen = "127.0.0.1:0"
  to     = function.api
}
function "web" {
  on       = vm.node
  replicas = 2
  exec     = ["web"]
  env      = { API_URL = frontend.api.url }
  spread   = true
}
frontend "www" {
  listen = "127.0.0.1:8080"
  route "/" { to = function.web }
}
output "url" { value = frontend.www.url }
`

func edit(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("nothing to edit: %q", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func TestApplyThenPlanIsEmpty(t *testing.T) {
	l := newLab(t)
	d := load(t, twoTier)
	out := l.apply(d)
	l.settled(d)
	if u := out.Outputs["url"].Value; !u.RawEquals(cty.StringVal("http://127.0.0.1:8080")) {
		t.Errorf("output url = %#v", u)
	}
	if a, b := l.plan(d), l.plan(d); runtime.Digest(a.Plan) != runtime.Digest(b.Plan) {
		t.Error("two plans of the same differ")
	}
}

func TestEditsShowJustThatChange(t *testing.T) {
	for _, c := range []struct {
		name string
		edit []string
		want string
	}{
		{"one replica more", []string{"replicas = 2\n  exec     = [\"api\"]", "replicas = 3\n  exec     = [\"api\"]"},
			"+ function.api[2]\n+ backend.api/api[2]"},
		{"one replica less", []string{"replicas = 2\n  exec     = [\"api\"]", "replicas = 1\n  exec     = [\"api\"]"},
			"- function.api[1]\n- backend.api/api[1]"},
		{"env", []string{`LEVEL = "info"`, `LEVEL = "debug"`},
			"+/- function.api[0]\n+/- function.api[1]\n+/- backend.api/api[0]\n+/- backend.api/api[1]"},
		{"a route", []string{`route "/" { to = function.web }`, `route "/" { to = function.web }
  route "/api" { to = function.api }`},
			"~ frontend.www\n+ backend.www/api[0]\n+ backend.www/api[1]"},
		{"a machine's size", []string{`memory = "1GiB"`, `memory = "2GiB"`}, "~ vm.node[0]\n~ vm.node[1]"},
		{"a name", []string{`function "web"`, `function "site"`, "to = function.web", "to = function.site"},
			"+ function.site[0]\n+ function.site[1]\n- function.web[0]\n- function.web[1]\n~ frontend.www\n+ backend.www/site[0]\n+ backend.www/site[1]\n- backend.www/web[0]\n- backend.www/web[1]"},
		{"nothing but layout", []string{"count  = 2", "count  = 1 + 1 # two"}, ""},
		{"the same size in other words", []string{`memory = "1GiB"`, `memory = "1024MiB"`}, ""},
		{"one machine less", []string{"count  = 2", "count  = 1"},
			"- vm.node[1]\n+/- function.api[1]\n+/- function.web[1]\n+/- backend.api/api[1]\n+/- backend.www/web[1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.apply(load(t, twoTier))
			d := load(t, edit(t, twoTier, c.edit...))
			if got := show(l.plan(d).Plan); got != c.want {
				t.Errorf("plan:\n%s\nwant:\n%s", got, c.want)
			}
			l.apply(d)
			l.settled(d)
		})
	}
}

func TestWithoutRoomReplicasAreReplacedOneByOne(t *testing.T) {
	text := edit(t, twoTier, "slots  = 4", "slots  = 2")
	l := newLab(t)
	l.apply(load(t, text))
	d := load(t, edit(t, text, `LEVEL = "info"`, `LEVEL = "debug"`))
	if got, want := show(l.plan(d).Plan), "-/+ function.api[0]\n-/+ function.api[1]\n-/+ backend.api/api[0]\n-/+ backend.api/api[1]"; got != want {
		t.Errorf("plan:\n%s\nwant:\n%s", got, want)
	}
	least := l.watchServing(engine.Addr(engine.KindFrontend, "api"))
	l.apply(d)
	l.settled(d)
	if *least != 1 {
		t.Errorf("at the worst moment %d backends served, want 1 of 2", *least)
	}
}

// As many new replicas start at once as max_surge allows and the machine has room for.
func TestASurgeTakesTheRoomThatThereIs(t *testing.T) {
	for _, c := range []struct{ surge, slots, want int }{{3, 5, 1}, {3, 6, 2}, {3, 10, 3}, {9, 10, 4}} {
		spec := func(version string) engine.Desired {
			return load(t, edit(t, shop(version, fmt.Sprintf("max_surge = %d", c.surge)), "slots  = 10", fmt.Sprintf("slots = %d", c.slots)))
		}
		l := newLab(t)
		l.apply(spec("1"))
		if ch := l.plan(spec("2")).Plan.Find(web.At(0)); ch.Window != c.want || !ch.CreateFirst {
			t.Errorf("max_surge = %d, %d slots: %d at once, new one first %v; want %d", c.surge, c.slots, ch.Window, ch.CreateFirst, c.want)
		}
	}
}

// watchServing follows how many backends a frontend has at the worst moment.
func (l *lab) watchServing(frontend engine.Address) *int {
	least := 1 << 30
	var mu sync.Mutex
	l.world.Watch(func(_ sim.Event, things map[engine.Key]engine.Object) {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for k := range things {
			if k.Address.Kind == engine.KindBackend {
				if f, _ := k.Address.Membership(); f == frontend {
					n++
				}
			}
		}
		least = min(least, n)
	})
	return &least
}

func TestASurgeNeverHasFewerBackends(t *testing.T) {
	l := newLab(t)
	l.apply(load(t, twoTier))
	for _, frontend := range []string{"api", "www"} {
		least := l.watchServing(engine.Addr(engine.KindFrontend, frontend))
		d := load(t, edit(t, twoTier, `LEVEL = "info"`, `LEVEL = "`+frontend+`"`, `function "web"`, `function "web`+frontend+`"`, "to = function.web", "to = function.web"+frontend))
		l.apply(d)
		if *least < 2 {
			t.Errorf("%s: at the worst moment %d backends served, want 2", frontend, *least)
		}
		l.settled(d)
	}
}

func TestDriftIsSeenAndRepaired(t *testing.T) {
	for _, c := range []struct {
		name  string
		drift func(*sim.World)
		want  string
	}{
		{"a replica is gone", func(w *sim.World) { w.Vanish(engine.Addr(engine.KindFunction, "api").At(1)) }, "+ function.api[1]\n+/- backend.api/api[1]"},
		{"a backend is gone", func(w *sim.World) { w.Vanish(engine.Address{Kind: engine.KindBackend, Name: "www/web"}.At(0)) }, "+ backend.www/web[0]"},
		{"a machine is gone", func(w *sim.World) { w.Vanish(engine.Addr(engine.KindVM, "node").At(0)) },
			"+ vm.node[0]\n+ function.api[0]\n+ function.web[0]\n+/- backend.api/api[0]\n+/- backend.www/web[0]"},
		{"a frontend is gone", func(w *sim.World) { w.Vanish(engine.Addr(engine.KindFrontend, "www")) }, "+ frontend.www"},
		{"a replica does not work", func(w *sim.World) { w.Break(engine.Addr(engine.KindFunction, "api").At(0), "it hangs") }, "~ function.api[0]"},
		{"a machine is smaller", func(w *sim.World) {
			w.Alter(engine.Addr(engine.KindVM, "node").At(0), map[string]cty.Value{"memory": cty.StringVal("512MiB")})
		}, "~ vm.node[0]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			d := load(t, twoTier)
			l.apply(d)
			c.drift(l.world)
			if got := show(l.plan(d).Plan); got != c.want {
				t.Errorf("plan:\n%s\nwant:\n%s", got, c.want)
			}
			l.apply(d)
			l.settled(d)
		})
	}
}

func TestDestroyLeavesNothing(t *testing.T) {
	l := newLab(t)
	d := load(t, twoTier)
	l.apply(d)
	if _, err := l.try(runtime.Request{Desired: engine.Desired{Flow: d.Flow, Providers: d.Providers}, Destroy: true}); err != nil {
		t.Fatal(err)
	}
	if left := l.world.Objects(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	snap, err := l.store.Snapshot(t.Context())
	if err != nil || len(snap.Objects) > 0 || len(snap.Outputs) > 0 {
		t.Errorf("state: %+v (%v)", snap, err)
	}
}

func TestTargets(t *testing.T) {
	l := newLab(t)
	d := load(t, twoTier)
	out, err := l.try(runtime.Request{Desired: d, Targets: []engine.Address{engine.Addr(engine.KindFunction, "api")}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(l.world.Objects()); n != 4 {
		t.Errorf("%d objects, want 2 machines and 2 replicas (%v)", n, out.Report.Failed)
	}
	l.apply(d)
	l.settled(d)
	if _, err := l.try(runtime.Request{Desired: engine.Desired{Flow: d.Flow}, Destroy: true, Targets: []engine.Address{engine.Addr(engine.KindFrontend, "www")}}); err != nil {
		t.Fatal(err)
	}
	for _, o := range l.world.Objects() {
		if strings.Contains(o.Address.String(), "www") {
			t.Errorf("%s is left", o.Address)
		}
	}
	l.apply(d)
	l.settled(d)
}

func TestATaskRunsBetweenDeployAndStitch(t *testing.T) {
	dir := t.TempDir()
	text := twoTier + fmt.Sprintf(`
task "migrate" {
  phase      = "deploy"
  when       = "update"
  depends_on = [function.api]
  exec       = ["/bin/sh", "-c", "echo ran >> %s/log; echo done"]
  triggers   = { version = "1" }
}
output "said" { value = task.migrate.output }
`, dir)
	l := newLab(t)
	d := load(t, text)
	out := l.apply(d)
	if v := out.Outputs["said"].Value; v == cty.NilVal || v.AsString() != "done\n" {
		t.Errorf("output = %#v", v)
	}
	l.settled(d)
	var order []string
	for _, e := range l.events {
		if e.State == engine.Done && (e.Step.Address.Kind == engine.KindTask || e.Step.Address.String() == "function.api[1]" || e.Step.Address.Kind == engine.KindBackend) {
			order = append(order, string(e.Step.Address.Kind))
		}
	}
	if i := slices.Index(order, "task"); i < 0 || slices.Contains(order[:i], "backend") || slices.Contains(order[i:], "function") {
		t.Errorf("order: %v, want the task after the functions and before the backends", order)
	}
	if got := show(l.plan(load(t, edit(t, text, `version = "1"`, `version = "2"`))).Plan); got != "~ task.migrate" {
		t.Errorf("a changed trigger: %s", got)
	}
	if got := show(l.plan(load(t, edit(t, text, `LEVEL = "info"`, `LEVEL = "x"`))).Plan); !strings.Contains(got, "~ task.migrate") {
		t.Errorf("a changed dependency: %s", got)
	}
	always := load(t, edit(t, text, `when       = "update"`, `when       = "always"`, "  triggers   = { version = \"1\" }\n", "", "output \"said\" { value = task.migrate.output }\n", ""))
	l.apply(always)
	if p := l.plan(always); !p.Plan.Empty() || show(p.Plan) != "> task.migrate" {
		t.Errorf("always: %s", show(p.Plan))
	}
}

func TestAFailedTaskFailsTheRestAndIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	text := twoTier + fmt.Sprintf(`
task "migrate" {
  depends_on = [function.api]
  exec       = ["/bin/sh", "-c", "test -e %s/ok || { echo 'no schema' >&2; exit 3; }"]
}`, dir)
	l := newLab(t)
	d := load(t, text)
	_, err := l.try(runtime.Request{Desired: d})
	if err == nil || !strings.Contains(err.Error(), "no schema") || !strings.Contains(err.Error(), "exit status 3") {
		t.Fatalf("err = %v", err)
	}
	for _, o := range l.world.Objects() {
		if o.Address.Kind == engine.KindBackend {
			t.Errorf("%s was stitched although the task failed", o.Address)
		}
	}
}

func TestASavedPlanIsRefusedAfterTheStateMoved(t *testing.T) {
	l := newLab(t)
	d := load(t, twoTier)
	l.apply(d)
	changed := load(t, edit(t, twoTier, `LEVEL = "info"`, `LEVEL = "debug"`))
	p := l.plan(changed)
	content, err := runtime.Save(p, []byte(`{}`), []byte(`{}`), "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !runtime.IsSaved(content) || runtime.IsSaved([]byte(twoTier)) {
		t.Error("saved plans and specs are not told apart")
	}
	saved, err := runtime.ReadSaved(content)
	if err != nil {
		t.Fatal(err)
	}
	again, diags, err := l.flow.Restore(t.Context(), saved, changed)
	if err != nil || diags.HasErrors() || runtime.Digest(again.Plan) != runtime.Digest(p.Plan) {
		t.Fatalf("restore: %v %v", err, diags)
	}
	other := load(t, edit(t, twoTier, `LEVEL = "info"`, `LEVEL = "trace"`))
	if _, _, err := l.flow.Restore(t.Context(), saved, other); !errors.Is(err, runtime.ErrStale) {
		t.Errorf("with another spec: %v, want ErrStale", err)
	}
	l.apply(load(t, edit(t, twoTier, `replicas = 2`, `replicas = 3`)))
	if _, _, err := l.flow.Restore(t.Context(), saved, changed); !errors.Is(err, runtime.ErrStale) {
		t.Errorf("after the state moved: %v, want ErrStale", err)
	}
}

// killer is a journal that dies: from write n on nothing is written any more.
type killer struct {
	exec.Journal
	mu   sync.Mutex
	left int
	torn bool // the last write before death is made, but nobody hears of it
}

var errKilled = errors.New("killed")

func (k *killer) Append(ctx context.Context, b engine.Batch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left--; k.left < 0 {
		return errKilled
	}
	err := k.Journal.Append(ctx, b)
	if k.left == 0 && k.torn {
		return errKilled
	}
	return err
}

func TestKilledAtEveryWriteThenApplied(t *testing.T) {
	for _, torn := range []bool{false, true} {
		for n := 0; ; n++ {
			l := newLab(t)
			d := load(t, twoTier)
			l.flow.Journal = func(lease *state.Lease) exec.Journal {
				return &killer{Journal: l.store.Journal(lease), left: n, torn: torn}
			}
			_, err := l.try(runtime.Request{Desired: d})
			l.flow.Journal = func(lease *state.Lease) exec.Journal { return l.store.Journal(lease) }
			if err == nil {
				if n < 4 { // a busy machine writes more at once
					t.Errorf("only %d writes: the test has lost its points", n)
				}
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			l.apply(d)
			l.settled(d)
			created := map[engine.Key]int{}
			for _, e := range l.world.Events() {
				if e.Op == "create" {
					created[e.Key]++
				}
			}
			for k, times := range created {
				if times > 1 {
					t.Errorf("killed at write %d: %s was made %d times", n, k, times)
				}
			}
		}
	}
}

// mute is a provider that cannot say what there is until it is told to make something.
type mute struct {
	providers.Provider
	asked *atomic.Bool
}

func (m mute) Unwrap() providers.Provider { return m.Provider }

func (m mute) Read(ctx context.Context, o engine.Object) (engine.Observation, error) {
	if !m.asked.Load() {
		return engine.Observation{}, errors.New("it does not answer")
	}
	return m.Provider.Read(ctx, o)
}

func (m mute) Apply(ctx context.Context, c providers.Call) (engine.Object, error) {
	m.asked.Store(true)
	return m.Provider.Apply(ctx, c)
}

// What an interrupted operation left cannot be found out, but the next apply makes it
// all the same: then that operation is over, too.
func TestAnInterruptedOperationIsOvertaken(t *testing.T) {
	l := newLab(t)
	d := load(t, "vm \"node\" {\n cpus = 1\n memory = \"1GiB\"\n}\n")
	l.flow.Journal = func(lease *state.Lease) exec.Journal { return &killer{Journal: l.store.Journal(lease), left: 1} }
	if _, err := l.try(runtime.Request{Desired: d}); !errors.Is(err, errKilled) || len(l.world.Objects()) != 1 {
		t.Fatalf("killed with %d machines made: %v", len(l.world.Objects()), err)
	}
	l.flow.Journal = func(lease *state.Lease) exec.Journal { return l.store.Journal(lease) }
	asked := &atomic.Bool{}
	l.wrap = func(p providers.Provider) providers.Provider { return mute{p, asked} }
	l.apply(d)
	snap, err := l.store.Snapshot(t.Context())
	if err != nil || len(snap.Open) > 0 {
		t.Errorf("open are %v (%v)", snap.Open, err)
	}
	if p := l.plan(d); !p.Plan.Empty() {
		t.Errorf("planned again: %s", show(p.Plan))
	}
	if n := len(l.world.Objects()); n != 1 {
		t.Errorf("there are %d machines", n)
	}
}

// strategies are ways to update a function, without waiting.
var strategies = []string{
	"", "", " strategy = \"blue_green\"\n", " strategy = \"blue_green\"\n keep = \"0s\"\n", " strategy = \"canary\"\n pause = \"0s\"\n step = [30]\n",
}

// flows draws a random flow: machines, functions, frontends and edges between
// them.
func flows(t *rapid.T) string {
	var b strings.Builder
	b.WriteString("flow \"test\" {}\n")
	pools := rapid.IntRange(1, 2).Draw(t, "pools")
	for i := range pools {
		count := rapid.IntRange(1, 3).Draw(t, "count") // with room for all replicas that there may be
		fmt.Fprintf(&b, "vm \"pool%d\" {\n cpus = %d\n memory = \"%dGiB\"\n count = %d\n slots = %d\n warm = %d\n}\n", i,
			rapid.IntRange(4, 6).Draw(t, "cpus"), rapid.IntRange(4, 6).Draw(t, "memory"), count, rapid.SampledFrom([]int{0, 12 / count, 12, 13}).Draw(t, "slots"), rapid.IntRange(0, 2).Draw(t, "warm"))
	}
	images := rapid.Bool().Draw(t, "images")
	if images {
		fmt.Fprintf(&b, "vm \"home\" {\n cpus = 8\n memory = \"8GiB\"\n}\nimage \"app\" {\n ref = \"app:%d\"\n host = vm.home[0]\n}\n", rapid.IntRange(0, 2).Draw(t, "version"))
	}
	functions := rapid.IntRange(1, 3).Draw(t, "functions")
	for i := range functions {
		if rapid.IntRange(0, 5).Draw(t, "skip") == 0 {
			fmt.Fprintf(&b, "function \"f%d\" {\n on = vm.pool0\n replicas = 1\n exec = [\"x\"]\n}\n", i)
			continue
		}
		env := fmt.Sprintf("V = \"%d\"", rapid.IntRange(0, 2).Draw(t, "v"))
		if i > 0 && rapid.Bool().Draw(t, "uses") {
			env += fmt.Sprintf(", URL = frontend.front%d.url", i-1)
		}
		on, image := fmt.Sprintf("vm.pool%d", rapid.IntRange(0, pools-1).Draw(t, "on")), ""
		if images && rapid.Bool().Draw(t, "image") {
			image = " image = image.app.id\n"
			if rapid.IntRange(0, 2).Draw(t, "there, too") == 0 {
				on = "[" + on + ", vm.home]"
			}
		}
		fmt.Fprintf(&b, "function \"f%d\" {\n on = %s\n replicas = %d\n exec = [\"x\"]\n%s spread = %v\n env = { %s }\n update {\n max_surge = %d\n max_unavailable = %d\n%s }\n}\n", i,
			on, rapid.IntRange(0, 4).Draw(t, "replicas"), image, rapid.Bool().Draw(t, "spread"), env,
			rapid.IntRange(0, 2).Draw(t, "surge"), rapid.IntRange(1, 2).Draw(t, "unavailable"),
			rapid.SampledFrom(strategies).Draw(t, "strategy"))
	}
	for i := range functions {
		fmt.Fprintf(&b, "frontend \"front%d\" {\n listen = \"127.0.0.1:%d\"\n", i, rapid.SampledFrom([]int{0, 9000 + i}).Draw(t, "port"))
		fmt.Fprintf(&b, " route \"/\" { to = function.f%d }\n", i)
		if other := rapid.IntRange(0, functions-1).Draw(t, "other"); other != i && rapid.Bool().Draw(t, "second") {
			fmt.Fprintf(&b, " route \"/x\" { to = function.f%d }\n", other)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// storeFaults are the ways in which a state fails: those of providers.Faults.
var storeFaults = []state.Fault{
	{Err: fmt.Errorf("write the state: %w", context.DeadlineExceeded)},
	{Err: errors.New("write the state: the file system is away")},
	{Err: errors.New("write the state: database or disk is full")},
	{Err: state.ErrFenced},
	{Err: errors.New("write the state: it took effect, but nobody heard of it"), After: true},
}

func init() {
	if os.Getenv("FLOWCTL_TEST_EVERY_POINT") == "" {
		flag.Set("rapid.checks", "40") // of 100; -rapid.checks says otherwise
	}
}

// Any sequence of specs, with faults and deaths in between, ends in the world
// that the last spec asks for.
func TestConvergence(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newLab(t)
		l.t = rt
		defer l.store.Close() // of thousands of flows, not one is to stay open until the test ends
		seed := rapid.Uint64().Draw(rt, "seed")
		var mu sync.Mutex
		rnd := rand.New(rand.NewPCG(seed, 0))
		chaos := false
		pick := func(string, engine.Address) providers.Fault {
			mu.Lock()
			defer mu.Unlock()
			if !chaos || rnd.Float64() > 0.15 {
				return providers.NoFault
			}
			return providers.Faults[rnd.IntN(len(providers.Faults))]
		}
		l.wrap = func(p providers.Provider) providers.Provider { return &providers.Faulty{Provider: p, Pick: pick} }
		store := &state.Faulty{Store: l.store, Pick: func(string) state.Fault {
			mu.Lock()
			defer mu.Unlock()
			if !chaos || rnd.Float64() > 0.05 {
				return state.Fault{}
			}
			return storeFaults[rnd.IntN(len(storeFaults))]
		}}
		l.flow.Store = store
		l.flow.Journal = func(lease *state.Lease) exec.Journal { return store.Journal(lease) }
		var text string
		for range rapid.IntRange(1, 4).Draw(rt, "edits") {
			text = flows(rt)
			d := load(t, text)
			chaos = rapid.Bool().Draw(rt, "chaos")
			if deadline := rapid.IntRange(0, 12).Draw(rt, "dies at"); deadline > 0 {
				l.flow.Journal = func(lease *state.Lease) exec.Journal {
					return &killer{Journal: store.Journal(lease), left: deadline, torn: deadline%2 == 0}
				}
			}
			l.try(runtime.Request{Desired: d}) // whatever comes of it
			l.flow.Journal = func(lease *state.Lease) exec.Journal { return store.Journal(lease) }
			if o := l.world.Objects(); len(o) > 0 && rapid.Bool().Draw(rt, "drift") {
				l.world.Vanish(o[rapid.IntRange(0, len(o)-1).Draw(rt, "which")].Address)
			}
		}
		chaos = false
		d := load(t, text)
		rt.Logf("the last of them is\n%s", text)
		if _, err := l.try(runtime.Request{Desired: d}); err != nil {
			if strings.Contains(err.Error(), "No room ") {
				return // for replicas of the last spec, for its second set, or its canary
			}
			rt.Fatalf("apply without faults: %v\n%s", err, text)
		}
		l.settled(d)
		if _, err := l.try(runtime.Request{Desired: engine.Desired{Flow: "test"}, Destroy: true}); err != nil {
			rt.Fatalf("destroy: %v", err)
		}
		if left := l.world.Objects(); len(left) > 0 {
			rt.Fatalf("left after destroy: %v", left)
		}
	})
}
