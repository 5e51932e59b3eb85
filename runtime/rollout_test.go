package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/sim"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
)

// shop is a function behind a frontend, of a version, with a policy.
func shop(version, policy string) string {
	return fmt.Sprintf(`
flow "test" {}
vm "node" {
  cpus   = 4
  memory = "4GiB"
  slots  = 10
}
function "web" {
  on       = vm.node
  replicas = 4
  exec     = ["web"]
  env      = { V = "%s" }
  health {
    http          = "/"
    start_timeout = "1s"
  }
  update {
    %s
  }
}
frontend "www" {
  listen = "127.0.0.1:8080"
  to     = function.web
}
`, version, policy)
}

const (
	blueGreen = `strategy = "blue_green"`
	canary    = `strategy = "canary"`
)

// traffic follows which versions serve behind frontend.www.
type traffic struct {
	mu    sync.Mutex
	turns []string // "1:100x4 2:10x1": version, share and backends, each time it changes
}

func (l *lab) traffic() *traffic {
	f := &traffic{}
	l.world.Watch(func(e sim.Event, things map[engine.Key]engine.Object) {
		f.mu.Lock()
		defer f.mu.Unlock()
		ids := map[string]string{}
		for k, o := range things {
			if k.Address.Kind == engine.KindFunction {
				ids[o.ID()] = engine.MustDecode[engine.Replica](o.Value).Env["V"]
			}
		}
		n := map[string]int{}
		for k, o := range things {
			if k.Address.Kind != engine.KindBackend {
				continue
			}
			share := 100
			if s, ok := e.Shares[k]; ok {
				share = s
			}
			if share > 0 {
				n[fmt.Sprintf("%s:%d", ids[o.Attr("replica_id")], share)]++
			}
		}
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(n)) {
			parts = append(parts, fmt.Sprintf("%sx%d", k, n[k]))
		}
		if turn := strings.Join(parts, " "); len(f.turns) == 0 || f.turns[len(f.turns)-1] != turn {
			f.turns = append(f.turns, turn)
		}
	})
	return f
}

func (f *traffic) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.turns, "\n")
}

// replicas lists the replicas of function.web that there are, as "0#1".
func (l *lab) replicas() string {
	var all []string
	for _, o := range l.world.Objects() {
		if o.Address.Group() == web {
			n, _ := o.Address.Index()
			all = append(all, fmt.Sprintf("%d#%d", n, o.Gen))
		}
	}
	return strings.Join(all, " ")
}

func (l *lab) want(what, got, want string) {
	l.t.Helper()
	if got != want {
		l.t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

func TestBlueGreenSwitchesAtOnceAndKeepsTheOldSet(t *testing.T) {
	l := newLab(t)
	now := time.Now()
	l.flow.Now = func() time.Time { return now }
	l.apply(load(t, shop("1", blueGreen)))
	f := l.traffic()
	d := load(t, shop("2", blueGreen))
	l.apply(d)
	l.want("traffic", f.String(), "1:100x4\n2:100x4")
	l.want("replicas", l.replicas(), "0#1 0#2 1#1 1#2 2#1 2#2 3#1 3#2")
	l.settled(d)

	now = now.Add(9 * time.Minute)
	l.settled(d)
	back := load(t, shop("1", blueGreen))
	created := len(l.world.Events())
	l.apply(back)
	l.want("traffic after the rollback", f.String(), "1:100x4\n2:100x4\n1:100x4")
	l.want("replicas after the rollback", l.replicas(), "0#1 1#1 2#1 3#1")
	if snap, err := l.store.Snapshot(t.Context()); err != nil || slices.ContainsFunc(snap.Objects, func(o engine.Object) bool { return !o.Kept.IsZero() }) {
		t.Errorf("what stands again is still recorded as kept (%v)", err)
	}
	for _, e := range l.world.Events()[created:] {
		if e.Op != "delete" {
			t.Errorf("the rollback is not instant: %s %s", e.Op, e.Key)
		}
	}
	l.settled(back)

	l.apply(d)
	now = now.Add(11 * time.Minute)
	if p := l.plan(d).Plan; p.Empty() {
		t.Error("the time of the old set is over, and nothing is planned")
	}
	l.apply(d)
	l.want("replicas in the end", l.replicas(), "0#2 1#2 2#2 3#2")
	l.settled(d)
}

// scalingOf lets vm.node of a shop scale.
func scalingOf(most int) string {
	return fmt.Sprintf("scaling \"node\" {\n target = vm.node\n min = 1\n max = %d\n}\n", most)
}

// crowded is a shop whose one machine has no room for a second set, or for two
// canaries, and which gets a second machine by its rule.
func crowded(t *testing.T, version, policy string) engine.Desired {
	return load(t, edit(t, shop(version, policy), "slots  = 10", "slots = 5")+scalingOf(2))
}

// on lists which replicas of function.web are on a machine, as "0#1".
func (l *lab) on(machine engine.Address) string {
	var all []string
	for _, o := range l.world.Objects() {
		if n, _ := o.Address.Index(); o.Address.Group() == web && o.Attr("machine") == machine.String() {
			all = append(all, fmt.Sprintf("%d#%d", n, o.Gen))
		}
	}
	return strings.Join(all, " ")
}

// A second set that finds no room beside the first goes onto other machines, of which
// there come more, and is taken back as instantly. The kept set holds its machine.
func TestASecondSetGoesWhereThereIsRoom(t *testing.T) {
	l := newLab(t)
	now := time.Now()
	l.flow.Now = func() time.Time { return now }
	first, second := crowded(t, "1", blueGreen), crowded(t, "2", blueGreen)
	l.apply(first)
	l.settled(first)
	f := l.traffic()
	p := l.plan(second).Plan
	if n := p.Sizes[slices.IndexFunc(p.Sizes, func(s engine.GroupSize) bool { return s.Group == node })]; n.Size != 2 || p.Find(node.At(1)).Action != engine.Create {
		t.Errorf("the plan has %d machines:\n%s", n.Size, show(p))
	}
	l.apply(second)
	l.want("traffic", f.String(), "1:100x4\n2:100x4")
	l.want("on the first machine", l.on(node.At(0)), "0#1 0#2 1#1 2#1 3#1")
	l.want("on the second machine", l.on(node.At(1)), "1#2 2#2 3#2")
	l.settled(second)

	now = now.Add(9 * time.Minute)
	n := len(l.world.Events())
	l.apply(first)
	l.want("traffic after the rollback", f.String(), "1:100x4\n2:100x4\n1:100x4")
	l.want("on the first machine after the rollback", l.on(node.At(0)), "0#1 1#1 2#1 3#1")
	for _, e := range l.world.Events()[n:] {
		if e.Op != "delete" {
			t.Errorf("the rollback is not instant: %s %s", e.Op, e.Key)
		}
	}
	l.settled(first)

	l.apply(second)
	now = now.Add(11 * time.Minute)
	l.apply(second)
	l.want("replicas in the end", l.replicas(), "0#2 1#2 2#2 3#2")
	l.settled(second)
}

// counts lets versions answer: each backend has got so many requests of which some
// failed, and took so long, each time somebody looks.
func (l *lab) counts(by map[string]providers.Tally) {
	total := map[engine.Key]*providers.Tally{}
	l.world.Count(func(b, replica engine.Object, share int) providers.Tally {
		if total[b.Key()] == nil {
			total[b.Key()] = &providers.Tally{}
		}
		t := total[b.Key()]
		t.Add(by[engine.MustDecode[engine.Replica](replica.Value).Env["V"]])
		return providers.Tally{Answered: t.Answered, Failed: t.Failed, Latency: maps.Clone(t.Latency)}
	})
}

func took(d time.Duration, n uint64) map[time.Duration]uint64 { return map[time.Duration]uint64{d: n} }

var fine = providers.Tally{Answered: 100, Latency: took(20*time.Millisecond, 100)}

func TestAGoodCanaryReplacesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.apply(load(t, shop("1", canary)))
		l.counts(map[string]providers.Tally{"1": fine, "2": fine})
		f := l.traffic()
		d := load(t, shop("2", canary))
		begun := time.Now()
		l.apply(d)
		l.want("traffic", f.String(), `1:100x4
1:100x4 2:10x1
1:100x4 2:50x2
1:100x4 2:100x2
1:100x3 2:100x2
1:100x2 2:100x2
1:100x2 2:100x3
1:100x1 2:100x3
1:100x1 2:100x4
2:100x4`)
		if took := time.Since(begun); took != time.Minute {
			t.Errorf("it took %s, want two pauses of 30s", took)
		}
		l.settled(d)
	})
}

func TestABadCanaryGoesBack(t *testing.T) {
	for _, c := range []struct {
		name string
		is   providers.Tally
		want string
	}{
		{"it fails", providers.Tally{Answered: 100, Failed: 20, Latency: took(20*time.Millisecond, 80)}, "20 of 100 requests (20 %) to it failed"},
		{"it is slow", providers.Tally{Answered: 100, Latency: took(80*time.Millisecond, 100)}, "max_slower = 1.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				good := load(t, shop("1", canary))
				l.apply(good)
				l.counts(map[string]providers.Tally{"1": fine, "2": c.is})
				f := l.traffic()
				d := load(t, shop("2", canary))
				out, err := l.try(runtime.Request{Desired: d})
				if err == nil || !strings.Contains(err.Error(), c.want) || out.Back == nil || out.Back.Err != nil || len(out.Back.Outcome.Report.Failed) > 0 {
					t.Fatalf("err = %v, back = %+v", err, out.Back)
				}
				l.want("traffic", f.String(), `1:100x4
1:100x4 2:10x1
1:100x4`)
				l.want("replicas", l.replicas(), "0#1 1#1 2#1 3#1")
				l.settled(good)
			})
		})
	}
}

// sick is a provider on which replicas of a version are never healthy.
type sick struct {
	providers.Provider
	version string
}

func (s sick) Unwrap() providers.Provider { return s.Provider }

func (s sick) Probe(ctx context.Context, o engine.Object) error {
	if engine.MustDecode[engine.Replica](o.Value).Env["V"] == s.version {
		return errors.New("it is sick")
	}
	return nil
}

func TestASickRevisionGoesBack(t *testing.T) {
	for _, strategy := range []string{"rolling", "blue_green", "canary"} {
		t.Run(strategy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				l.wrap = func(p providers.Provider) providers.Provider { return sick{p, "2"} }
				policy := fmt.Sprintf("strategy = %q", strategy)
				good, bad := load(t, shop("1", policy)), load(t, shop("2", policy))
				l.apply(good)
				f := l.traffic()
				out, err := l.try(runtime.Request{Desired: bad})
				if err == nil || !strings.Contains(err.Error(), "it is sick") || out.Back == nil || out.Back.Err != nil {
					t.Fatalf("err = %v, back = %+v", err, out.Back)
				}
				l.want("traffic", f.String(), "1:100x4")
				l.want("replicas", l.replicas(), "0#1 1#1 2#1 3#1")
				l.settled(good)
				if _, diags, _ := l.flow.Plan(t.Context(), runtime.Request{Desired: bad}); len(diags) != 1 || diags[0].Summary != "Revision that is not good" {
					t.Errorf("the next plan says %v", diags)
				}
			})
		})
	}
}

// A revision that turns sick half-way: those that were replaced are replaced again.
func TestARollingUpdateThatTurnsSickGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		good, bad := load(t, shop("1", "max_surge = 1")), load(t, shop("2", "max_surge = 1"))
		l.apply(good)
		l.wrap = func(p providers.Provider) providers.Provider {
			if strings.Count(l.replicas(), "#2") < 2 {
				return p
			}
			return sick{p, "2"}
		}
		f := l.traffic()
		if _, err := l.try(runtime.Request{Desired: bad}); err == nil {
			t.Fatal("nothing failed")
		}
		if turns := f.String(); !strings.Contains(turns, "2:100x") || !strings.HasSuffix(turns, "\n1:100x4") {
			t.Errorf("traffic:\n%s", turns)
		}
		l.settled(good)
	})
}

// Killed at every write of the journal, during every strategy and on the way back,
// and then applied: it converges, nothing is lost or made twice, and at every moment
// as many replicas serve as are wanted.
func TestARolloutKilledAtEveryWrite(t *testing.T) {
	every := 3
	if os.Getenv("FLOWCTL_TEST_EVERY_POINT") != "" {
		every = 1
	}
	for _, policy := range []string{"max_surge = 2", blueGreen, blueGreen + "\n keep = \"0s\"", canary} {
		for _, version := range []string{"2", "sick"} {
			t.Run(fmt.Sprintf("%.26q to %s", policy, version), func(t *testing.T) {
				for n := 0; rolloutKilled(t, roomy, 4, 10, policy, version, n); n += every {
				}
			})
		}
	}
}

// The same where new replicas go onto another machine than those that they take over
// from.
func TestARolloutToAnotherMachineKilledAtEveryWrite(t *testing.T) {
	every := 4
	if os.Getenv("FLOWCTL_TEST_EVERY_POINT") != "" {
		every = 1
	}
	for policy, least := range map[string]int{blueGreen: 4, blueGreen + "\n keep = \"0s\"": 4, canary: 3} { // what follows canaries finds no room for a surge
		for _, version := range []string{"2", "sick"} {
			t.Run(fmt.Sprintf("%.26q to %s", policy, version), func(t *testing.T) {
				for n := 0; rolloutKilled(t, crowded, least, 5, policy, version, n); n += every {
				}
			})
		}
	}
}

func roomy(t *testing.T, version, policy string) engine.Desired {
	return load(t, shop(version, policy))
}

// rolloutKilled applies a version that is killed at a write, and applies again. As many
// as least serve at every moment, and no machine has more than so many replicas. It
// reports whether the run was killed.
func rolloutKilled(t *testing.T, spec func(t *testing.T, version, policy string) engine.Desired, least, slots int, policy, version string, n int) (killed bool) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.wrap = func(p providers.Provider) providers.Provider { return sick{p, "sick"} }
		was, d := spec(t, "1", policy), spec(t, version, policy)
		l.apply(was)
		room := l.roomTaken()
		writes := &killer{left: n, torn: n%2 == 1}
		l.flow.Journal = func(lease *state.Lease) exec.Journal {
			writes.Journal = l.store.Journal(lease) // of the run that goes back, too
			return writes
		}
		_, err := l.try(runtime.Request{Desired: d})
		killed = errors.Is(err, errKilled) || writes.left <= 0
		l.flow.Journal = func(lease *state.Lease) exec.Journal { return l.store.Journal(lease) }
		if _, err = l.try(runtime.Request{Desired: d}); (err != nil) != (version == "sick") {
			t.Fatalf("killed at write %d, then applied: %v", n, err)
		}
		if version == "sick" {
			d = was
		}
		l.settled(d)
		if room.least < least || room.most > slots {
			t.Errorf("killed at write %d: for a moment only %d serve, and a machine with %d slots has %d replicas", n, room.least, slots, room.most)
		}
	})
	return killed
}

// forgetful is a store of a process that is killed before it records revisions.
type forgetful struct{ runtime.Store }

func (forgetful) Revise(context.Context, *state.Lease, []engine.Revision) error { return errKilled }

// An update that was done and killed before its revision was recorded is what a later
// rollback goes back to, whether an apply of the same spec comes between or not.
func TestARevisionThatWasNotRecordedIsRecalled(t *testing.T) {
	for _, again := range []bool{true, false} {
		t.Run(fmt.Sprintf("applied again %v", again), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				l.apply(load(t, shop("1", "max_surge = 1")))
				<-time.After(time.Minute)
				l.flow.Store = forgetful{l.store}
				second := load(t, shop("2", "max_surge = 1"))
				if _, err := l.try(runtime.Request{Desired: second}); !errors.Is(err, errKilled) {
					t.Fatalf("it was not killed: %v", err)
				}
				l.flow.Store = l.store
				back := func(when, version string) {
					t.Helper()
					<-time.After(time.Minute) // of the bubble: each revision has a time of its own
					snap, err := l.store.Snapshot(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					r, err := runtime.Earlier(snap, web, 0)
					if err != nil {
						t.Fatal(err)
					}
					l.want(when+" it goes back to", engine.MustDecode[engine.Replica](engine.With(r.Value, nil)).Env["V"], version)
				}
				back("after the kill", "1")
				if again {
					l.apply(second)
					back("after another apply", "1")
				}
				l.apply(load(t, shop("3", "max_surge = 1")))
				back("after the next update", "2")
			})
		})
	}
}

// blind is a provider whose counts cannot be read so many times.
type blind struct {
	*sim.Sim
	left *int
}

func (b blind) Tally(ctx context.Context, frontend engine.Address, backends []engine.Key) (providers.Tally, error) {
	if *b.left--; *b.left >= 0 {
		return providers.Tally{}, providers.Passing(errors.New("the data plane does not answer"))
	}
	return b.Sim.Tally(ctx, frontend, backends)
}

func TestACanaryThatCannotBeJudgedIsNoBadOne(t *testing.T) {
	for _, c := range []struct {
		fails  int
		judged bool
	}{{4, true}, {1000, false}} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t)
			left := c.fails
			l.wrap = func(p providers.Provider) providers.Provider { return blind{p.(*sim.Sim), &left} }
			good, d := load(t, shop("1", canary)), load(t, shop("2", canary))
			l.apply(good)
			l.counts(map[string]providers.Tally{"1": fine, "2": fine})
			_, err := l.try(runtime.Request{Desired: d})
			if c.judged {
				if err != nil {
					t.Fatalf("%d readings failed in passing: %v", c.fails, err)
				}
				l.settled(d)
				return
			}
			if err == nil || !strings.Contains(err.Error(), "function.web could not be judged at 10 % of the requests") || strings.Contains(err.Error(), "not good") {
				t.Errorf("err = %v", err)
			}
			l.settled(good)
			if _, diags, _ := l.flow.Plan(t.Context(), runtime.Request{Desired: d}); len(diags) > 0 {
				t.Errorf("the next plan warns of %v", diags)
			}
		})
	}
}

// A pause ends at once when the run is stopped; the next apply uses what is there.
func TestAStoppedCanaryGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.apply(load(t, shop("1", canary)))
		l.counts(map[string]providers.Tally{"1": fine, "2": fine})
		d := load(t, shop("2", canary))
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, stop)
		lease, err := l.store.Acquire(t.Context(), state.ApplyLock, state.Holder{}, func(state.Holder) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		out, err := l.flow.Apply(ctx, t.Context(), lease, l.plan(d), runtime.Options{Command: "apply"})
		if err != nil || !out.Report.Interrupted || len(out.Report.Failed) > 0 || out.Back != nil || time.Since(begun) != 10*time.Second {
			t.Fatalf("after %s: %+v, %v", time.Since(begun), out.Report, err)
		}
		if err := lease.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.want("replicas", l.replicas(), "0#1 0#2 1#1 2#1 3#1")
		l.apply(d)
		l.want("replicas in the end", l.replicas(), "0#2 1#2 2#2 3#2")
		l.settled(d)
	})
}

// What is delivered to a machine stays there for the old set that is kept on it.
func TestAKeptSetKeepsItsImage(t *testing.T) {
	l := newLab(t)
	now := time.Now()
	l.flow.Now = func() time.Time { return now }
	spec := func(version string) engine.Desired {
		text := edit(t, shop(version, blueGreen), "slots  = 10", "slots = 4\n count = 2", `exec     = ["web"]`, "exec = [\"web\"]\n image = image.app.id")
		return load(t, text+"vm \"home\" {\n cpus = 1\n memory = \"1GiB\"\n}\nimage \"app\" {\n ref = \"app:1\"\n host = vm.home[0]\n}\n")
	}
	l.apply(spec("1"))
	l.want("deliveries", l.deliveries(), "delivery.app/vm.node[0]")
	l.apply(spec("2"))
	l.want("replicas", l.replicas(), "0#1 0#2 1#1 1#2 2#1 2#2 3#1 3#2")
	l.want("deliveries while both sets are there", l.deliveries(), "delivery.app/vm.node[0] delivery.app/vm.node[1]")
	l.settled(spec("2"))
	l.apply(spec("1"))
	l.want("replicas after the rollback", l.replicas(), "0#1 1#1 2#1 3#1")
	l.want("deliveries after the rollback", l.deliveries(), "delivery.app/vm.node[0]")
	l.settled(spec("1"))
	l.apply(spec("2"))
	now = now.Add(11 * time.Minute)
	l.apply(spec("2"))
	l.want("replicas in the end", l.replicas(), "0#2 1#2 2#2 3#2")
	l.want("deliveries in the end", l.deliveries(), "delivery.app/vm.node[1]")
	l.settled(spec("2"))
}

// deliveries lists the deliveries that there are.
func (l *lab) deliveries() string {
	var all []string
	for _, o := range l.world.Objects() {
		if o.Address.Kind == engine.KindDelivery {
			all = append(all, o.Address.String())
		}
	}
	return strings.Join(all, " ")
}

// Of an old set as much is kept as its machines, smaller now, have room for.
func TestASetIsKeptAsFarAsThereIsRoom(t *testing.T) {
	l := newLab(t)
	l.apply(load(t, shop("1", blueGreen)))
	d := load(t, edit(t, shop("2", blueGreen), "slots  = 10", "slots = 3\n count = 3"))
	l.apply(d)
	l.want("replicas", l.replicas(), "0#1 0#2 1#1 1#2 2#1 2#2 3#2")
	l.settled(d)
}

// A rollout that was stopped gives way to another revision, and until that takes over,
// those serve that did before.
func TestAStoppedRolloutGivesWayToAnother(t *testing.T) {
	every := 3
	if os.Getenv("FLOWCTL_TEST_EVERY_POINT") != "" {
		every = 1
	}
	for _, c := range []struct {
		policy       string
		slots, least int
	}{
		{blueGreen, 10, 4}, {canary + "\n max_unavailable = 0", 10, 4}, {canary + "\n max_unavailable = 2", 4, 2}, {"max_surge = 0\n max_unavailable = 2", 10, 2},
	} {
		spec := func(version string) engine.Desired {
			return load(t, edit(t, shop(version, c.policy), "slots  = 10", fmt.Sprint("slots = ", c.slots)))
		}
		for n := 0; n < 40; n += every {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				l.apply(spec("1"))
				r := l.roomTaken()
				l.flow.Journal = func(lease *state.Lease) exec.Journal {
					return &killer{Journal: l.store.Journal(lease), left: n, torn: n%2 == 1}
				}
				l.try(runtime.Request{Desired: spec("2")})
				l.flow.Journal = func(lease *state.Lease) exec.Journal { return l.store.Journal(lease) }
				l.apply(spec("3"))
				if r.least < c.least {
					t.Errorf("%s, killed at write %d: %d served at the worst moment", c.policy, n, r.least)
				}
			})
		}
	}
}
