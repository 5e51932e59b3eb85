package control_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
)

// twoSites is a function on machines that follow it, and one elsewhere.
const twoSites = `
flow "test" {}
vm "node" {
  cpus   = 4
  memory = "4GiB"
  slots  = 4
}
vm "edge" {
  cpus   = 8
  memory = "4GiB"
}
function "web" {
  on     = vm.node
  exec   = ["x"]
  cpu    = 1
  drain  = "1s"
}
function "api" {
  on     = vm.edge
  exec   = ["x"]
  cpu    = 1
  drain  = "1s"
}
frontend "www" {
  listen = "127.0.0.1:0"
  route "/" { to = function.web }
  route "/api" { to = function.api }
}
scaling "web" {
  target = function.web
  min    = 1
  max    = 10
  metric "cpu" { utilisation = 0.25 }
}
scaling "api" {
  target = function.api
  min    = 1
  max    = 8
  metric "cpu" { utilisation = 0.5 }
}
scaling "node" {
  target   = vm.node
  min      = 1
  max      = 5
}
`

var api = engine.Addr(engine.KindFunction, "api")

// booting is a provider whose machines take their time.
type booting struct {
	providers.Provider
	takes time.Duration

	mu   *sync.Mutex
	now  *int // machines that boot
	most *int // at once
}

func newBooting(takes time.Duration) booting {
	return booting{takes: takes, mu: &sync.Mutex{}, now: new(int), most: new(int)}
}

func (b booting) wrap(p providers.Provider) providers.Provider {
	b.Provider = p
	return b
}

func (b booting) Unwrap() providers.Provider { return b.Provider }

func (b booting) count(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*b.now += n
	*b.most = max(*b.most, *b.now)
}

// booting is how many machines boot.
func (b booting) booting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *b.now
}

func (b booting) Apply(ctx context.Context, c providers.Call) (engine.Object, error) {
	if c.Address.Kind == engine.KindVM || c.Address.Kind == engine.KindWarm {
		b.count(1)
		defer b.count(-1)
		select {
		case <-time.After(b.takes):
		case <-ctx.Done():
			return c.Object(c.Want), context.Cause(ctx)
		}
	}
	return b.Provider.Apply(ctx, c)
}

// While machines boot for minutes, replicas that fit into free slots start at once,
// other functions grow and shrink, and what breaks is repaired; the rest follows
// when the machines, which boot side by side, are up.
func TestASlowBootDelaysNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		l.askOf(web, 0.2)
		l.askOf(api, 0.4)
		l.apply(twoSites)
		slow := newBooting(5 * time.Minute)
		l.wrapIn(slow.wrap)
		c, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		l.expect("at rest", 1, 1)
		l.askOf(web, 2.5) // ten replicas, on three machines
		after(time.Minute)
		l.expect("while the machines boot", 4, 1)
		if slow.booting() != 2 {
			t.Errorf("%d machines boot at once, want 2", slow.booting())
		}
		if why := c.Status().Waits[web]; why == "" {
			t.Error("the status does not say what the order waits for")
		}
		l.askOf(api, 2)
		after(time.Minute)
		if n := l.count(api); n != 4 {
			t.Errorf("the other function has %d replicas while the machines boot, want 4\n%s", n, l.decisions())
		}
		l.world.Vanish(web.At(0))
		after(time.Minute + 5*time.Second)
		l.expect("after a repair while the machines boot", 4, 1)
		after(3 * time.Minute)
		l.expect("when the machines are up", 10, 3)
		l.empty(twoSites)
	})
}

// A command that wants the lock gets it as soon as what is under way is done: the
// controller begins nothing more while somebody waits.
func TestACommandGetsTheLockBetweenRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		l.askOf(web, 0.2)
		l.askOf(api, 0.4)
		l.apply(twoSites)
		slow := newBooting(time.Minute)
		l.wrapIn(slow.wrap)
		_, stop := l.serve()
		defer stop()
		after(5 * time.Minute)
		l.askOf(web, 2.5)
		after(40 * time.Second)
		if slow.booting() == 0 {
			t.Fatalf("no machine boots\n%s", l.decisions())
		}
		got := make(chan error)
		go func() {
			lease, err := l.flow().Lock(t.Context(), runtime.Owner("flowctl apply", time.Now()), 0, nil)
			if err == nil {
				<-time.After(30 * time.Second)
				err = lease.Release(t.Context())
			}
			got <- err
		}()
		after(5 * time.Second)
		l.askOf(api, 2)
		after(20 * time.Second)
		if n := l.count(api); n != 1 {
			t.Errorf("%d replicas of the other function although somebody waits, want 1", n)
		}
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if n := l.count(api); n != 4 {
			t.Errorf("%d replicas of the other function afterwards, want 4", n)
		}
	})
}

// What a controller that was killed in the middle of a scale-out has left is taken
// up by the next: nothing is made twice, nothing is left over.
func TestAnInterruptedScaleOutGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		l.askOf(web, 0.2)
		l.askOf(api, 0.2)
		l.apply(twoSites)
		// One replica was made and not recorded, another was only meant to be made.
		lease := l.lock()
		run, err := l.store.BeginRun(t.Context(), lease, engine.RunInfo{Command: "serve", Started: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		var made engine.Object
		for _, o := range l.world.Objects() {
			if o.Address == web.At(0) {
				made = o
			}
		}
		p, _ := l.Get(t.Context(), "sim")
		batch := engine.Batch{Run: run}
		for n := 1; n < 3; n++ {
			in := engine.Intent{Operation: fmt.Sprintf("r%d-s%d", run, n), Run: run, Step: n, Address: web.At(n), Gen: 1, Op: engine.OpCreate, Provider: "sim", Planned: made.Value, At: time.Now()}
			batch.Intents = append(batch.Intents, in)
		}
		if err := l.store.Journal(lease).Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Apply(t.Context(), providers.Call{Operation: batch.Intents[0].Operation, Address: web.At(1), Gen: 1, Want: made.Value}); err != nil {
			t.Fatal(err)
		}
		lease.Release(t.Context())
		l.askOf(web, 0.9)
		_, stop := l.serve()
		defer stop()
		after(3 * time.Minute)
		l.expect("afterwards", 4, 1)
		l.empty(twoSites)
		snap, err := l.store.Snapshot(t.Context())
		if err != nil || len(snap.Open) > 0 {
			t.Errorf("open are %v (%v)", snap.Open, err)
		}
		for _, o := range snap.Objects {
			if o.Gen != 1 {
				t.Errorf("%s is of generation %d", o.Address, o.Gen)
			}
		}
	})
}
