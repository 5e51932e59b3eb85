package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/decide"
)

// silent hides what a provider can do, but for measuring.
type silent struct{ providers.Provider }

func (s silent) Usage(ctx context.Context, objects []engine.Object) ([]providers.Usage, error) {
	m, _ := providers.As[providers.Meter](s.Provider)
	return m.Usage(ctx, objects)
}

// What is removed behind our back is made again within one interval, and at once
// where the provider tells of it.
func TestDriftIsRepaired(t *testing.T) {
	for _, tells := range []bool{false, true} {
		t.Run(fmt.Sprintf("told %v", tells), func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *lab) {
				text := fmt.Sprintf(twoTier, 20)
				l.ask(0.4)
				l.apply(text)
				limit := 5 * time.Second
				if !tells {
					limit = time.Minute + 5*time.Second
					l.wrapIn(func(p providers.Provider) providers.Provider { return silent{p} })
				}
				_, stop := l.serve()
				defer stop()
				after(90 * time.Second)
				l.world.Vanish(web.At(0))
				after(limit)
				l.expect("after the repair", 1, 1)
				l.empty(text)
				l.world.Vanish(engine.BackendOf(engine.Addr(engine.KindFrontend, "www"), web.At(0)))
				after(limit)
				l.empty(text)
			})
		})
	}
}

// on lists the replicas on a machine.
func (l *lab) on(machine engine.Address) []engine.Address {
	var all []engine.Address
	for _, o := range l.world.Objects() {
		if o.Address.Kind == engine.KindFunction && o.Attr("machine") == machine.String() {
			all = append(all, o.Address)
		}
	}
	return all
}

// A machine that fails is made again, slowly; what was on it runs elsewhere at
// once, as far as there is room.
func TestAMachineThatFails(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		text := fmt.Sprintf(twoTier, 20)
		l.ask(2)
		l.apply(text)
		_, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		l.expect("under load", 4, 2)
		slow := newBooting(3 * time.Minute)
		l.wrapIn(slow.wrap)
		if len(l.on(node.At(0))) == 0 {
			t.Fatal("nothing is on the machine")
		}
		began := time.Now()
		l.world.Vanish(node.At(0))
		after(10 * time.Second)
		l.expect("while the machine boots", 4, 1)
		if slow.booting() != 1 {
			t.Error("the machine is not being made again")
		}
		after(4 * time.Minute)
		l.expect("afterwards", 4, 2)
		l.empty(text)
		list, err := l.store.Decisions(t.Context(), "node", time.Time{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			var d decide.Decision
			if err := json.Unmarshal(x.Body, &d); err != nil || d.Act && d.At.After(began) {
				t.Errorf("a repair was decided about, too: %s (%v)", d.Why, err)
			}
		}
	})
}

// A machine on which a set is kept for a rollback stays for as long as that is, and then
// goes, although nothing else happens.
func TestAMachineWithAKeptSetStays(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		spec := func(version string) string {
			return fmt.Sprintf(`flow "test" {}
vm "node" {
  cpus   = 4
  memory = "4GiB"
  slots  = 4
}
function "web" {
  on       = vm.node
  replicas = 4
  exec     = ["web"]
  env      = { V = %q }
  update {
    strategy = "blue_green"
    keep     = "30m"
  }
}
frontend "www" {
  listen = "127.0.0.1:8080"
  to     = function.web
}
scaling "node" {
  target = vm.node
  min    = 1
  max    = 3
}
`, version)
		}
		l.apply(spec("1"))
		l.apply(spec("2"))
		l.expect("with both sets", 8, 2)
		_, stop := l.serve()
		defer stop()
		after(29 * time.Minute)
		l.expect("while the first is kept", 8, 2)
		l.empty(spec("2"))
		after(20 * time.Minute)
		l.expect("when its time is over", 4, 1)
		l.empty(spec("2"))
	})
}

// What finds no room elsewhere waits for the machine.
func TestAMachineThatFailsOfManyThatAreFull(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		text := strings.Replace(fmt.Sprintf(twoTier, 8), "headroom = 1", "headroom = 0", 1)
		l.ask(8)
		l.apply(text)
		c, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		l.expect("under load", 8, 2)
		slow := newBooting(3 * time.Minute)
		l.wrapIn(slow.wrap)
		l.world.Vanish(node.At(0))
		after(10 * time.Second)
		l.expect("while the machine boots", 4, 1)
		if why := c.Status().Closed; len(l.on(node.At(1))) != 4 {
			t.Errorf("closed: %v", why)
		}
		after(4 * time.Minute)
		l.expect("afterwards", 8, 2)
		l.empty(text)
	})
}

// When nearly half of many machines do not work, nothing is done about it, and that
// is said.
func TestItHaltsWhenTooMuchIsBroken(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		text := strings.Replace(fmt.Sprintf(twoTier, 20), "max      = 5", "max      = 8", 1)
		l.ask(10)
		l.apply(text)
		c, stop := l.serve()
		defer stop()
		after(10 * time.Minute)
		l.expect("under load", 20, 6)
		for i := range 4 {
			l.world.Vanish(node.At(i))
		}
		after(5 * time.Minute)
		if n := l.count(node); n != 2 {
			t.Errorf("there are %d machines, want 2: something else must be wrong", n)
		}
		if notes := c.Status().Notes(); len(notes) == 0 || !strings.Contains(notes[0], "vm.node: 4 of its 6 machines") {
			t.Errorf("the status says %q", notes)
		}
	})
}

// A machine that fails again and again is made again ever more seldom.
func TestAMachineThatKeepsFailing(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		text := fmt.Sprintf(twoTier, 20)
		l.ask(0.4)
		l.apply(text)
		_, stop := l.serve()
		defer stop()
		after(time.Minute)
		made := 0
		for range 600 {
			if l.count(node) > 0 {
				made++
				l.world.Vanish(node.At(0))
			}
			after(time.Second)
		}
		if made < 3 || made > 10 {
			t.Errorf("it was made %d times in ten minutes", made)
		}
	})
}

// ending is a provider whose machines take a minute to end.
type ending struct {
	providers.Provider
	now, most *atomic.Int32 // machines that end
}

func (e ending) Unwrap() providers.Provider { return e.Provider }

func (e ending) Delete(ctx context.Context, o engine.Object, operation string) error {
	if o.Address.Kind == engine.KindVM {
		e.most.Store(max(e.most.Load(), e.now.Add(1)))
		defer e.now.Add(-1)
		<-time.After(time.Minute)
	}
	return e.Provider.Delete(ctx, o, operation)
}

// Machines are emptied, no more of them at once than the budget lets; the replicas
// on them have their replacements first, and requests all the while.
func TestMachinesAreEmptied(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		wide := strings.Replace(fmt.Sprintf(twoTier, 20), "min      = 1", "min      = 4", 1)
		text := strings.Replace(fmt.Sprintf(twoTier, 20), "headroom = 1", "headroom = 0\n  budget {\n    machines = 1\n  }\n  down {\n    limit {\n      percent = 100\n    }\n  }", 1)
		l.ask(2)
		l.apply(wide)
		_, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		l.expect("spread out", 4, 4)
		if n := len(l.on(node.At(3))); n != 1 {
			t.Fatalf("%d replicas are on the last machine, want 1", n)
		}
		slow := ending{now: &atomic.Int32{}, most: &atomic.Int32{}}
		l.wrapIn(func(p providers.Provider) providers.Provider { return ending{p, slow.now, slow.most} })
		l.apply(text)
		least := 4
		for range 20 * 60 {
			after(time.Second)
			serving := 0
			for _, o := range l.world.Objects() {
				if o.Address.Kind == engine.KindBackend {
					serving++
				}
			}
			least = min(least, serving)
		}
		l.expect("drawn together", 4, 1)
		if n := slow.most.Load(); n != 1 {
			t.Errorf("%d machines ended at once, want 1", n)
		}
		if least < 4 {
			t.Errorf("only %d replicas were in the frontend at one time", least)
		}
		l.empty(text)
	})
}

// The oldest go where that is asked for, and what is left keeps its numbers.
func TestTheOldestReplicasGo(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		text := strings.Replace(fmt.Sprintf(twoTier, 20), `metric "cpu"`, "down {\n    victim = \"oldest\"\n  }\n  metric \"cpu\"", 1)
		l.ask(0.4)
		l.apply(text)
		_, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		l.ask(2)
		after(5 * time.Minute)
		l.expect("under load", 4, 2)
		l.ask(0.9)
		after(20 * time.Minute)
		if n := l.count(web); n != 2 {
			t.Fatalf("there are %d replicas, want 2\n%s", n, l.decisions())
		}
		if slices.ContainsFunc(l.world.Objects(), func(o engine.Object) bool { return o.Address == web.At(0) }) {
			t.Error("the oldest is still there")
		}
		l.empty(text)
		l.ask(1.4)
		after(5 * time.Minute)
		l.empty(text)
	})
}

// counting counts what is planned.
type counting struct {
	providers.Provider
	planned *atomic.Int64
}

func (c counting) Unwrap() providers.Provider { return c.Provider }

// Refine implements providers.Refiner.
func (c counting) Refine(p engine.Proposal) engine.Proposal {
	c.planned.Add(1)
	return p
}

// While all is as it was when nothing was left to do, nothing is planned: it is looked
// at, and what has changed then is seen.
func TestAtRestNothingIsPlanned(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		text := fmt.Sprintf(twoTier, 20)
		l.ask(0.4)
		l.apply(text)
		var planned atomic.Int64
		l.wrapIn(func(p providers.Provider) providers.Provider { return counting{silent{p}, &planned} })
		_, stop := l.serve()
		defer stop()
		after(2 * time.Minute)
		before := planned.Load()
		if before == 0 {
			t.Fatal("what is planned is not counted")
		}
		after(10 * time.Minute)
		if n := planned.Load(); n != before {
			t.Errorf("at rest, %d resources were planned", n-before)
		}
		l.world.Vanish(web.At(0))
		after(time.Minute + 5*time.Second)
		l.expect("after the repair", 1, 1)
		l.empty(text)
	})
}
