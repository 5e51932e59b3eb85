package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/sim"
	"github.com/flowctl/flowctl/runtime"
	"github.com/zclconf/go-cty/cty"
)

// landlord gives the machines of one world to the functions of another.
type landlord struct {
	*lab
	tenants *sim.World
}

// Get implements tasks.Source.
func (l landlord) Get(ctx context.Context, name string) (providers.Provider, error) {
	if name == "other" {
		return tenant{sim.New(l.tenants, sim.Config{}), l.world, l.tenants}, nil
	}
	return l.lab.Get(ctx, name)
}

// tenant keeps from a world on which machine of another one its replicas are. Nobody
// reaches what is on a machine that does not work, and a replica takes an image that is
// on its machine.
type tenant struct {
	providers.Provider
	machines, tenants *sim.World
}

func (t tenant) Unwrap() providers.Provider { return t.Provider }

// Read implements providers.Provider.
func (t tenant) Read(ctx context.Context, o engine.Object) (engine.Observation, error) {
	if err := t.reach(ctx, o.Value); err != nil {
		return engine.Observation{}, err
	}
	obs, err := t.Provider.Read(ctx, o)
	if carried(o.Value) {
		obs.Object.Value = on(obs.Object.Value, o.Value.GetAttr("machine_id"))
	}
	return obs, err
}

// Apply implements providers.Provider.
func (t tenant) Apply(ctx context.Context, c providers.Call) (engine.Object, error) {
	if err := errors.Join(t.reach(ctx, c.Want), t.supplied(c)); err != nil {
		return engine.Object{}, err
	}
	if !carried(c.Want) {
		return t.Provider.Apply(ctx, c)
	}
	machine := c.Want.GetAttr("machine_id")
	c.Want = on(c.Want, cty.NullVal(cty.String))
	o, err := t.Provider.Apply(ctx, c)
	if err == nil {
		o.Value = on(o.Value, machine)
	}
	return o, err
}

// Delete implements providers.Provider.
func (t tenant) Delete(ctx context.Context, o engine.Object, operation string) error {
	if err := t.reach(ctx, o.Value); err != nil {
		return err
	}
	return t.Provider.Delete(ctx, o, operation)
}

// reach fails if the machine of a tenant does not work.
func (t tenant) reach(ctx context.Context, v cty.Value) error {
	id := machineOf(v)
	for _, m := range t.machines.Objects() {
		if m.ID() == id {
			if obs, err := sim.New(t.machines, sim.Config{}).Read(ctx, m); err == nil && obs.Presence == engine.Present {
				return nil
			}
		}
	}
	return providers.Passing(fmt.Errorf("the engine of %s does not answer", id))
}

// supplied fails if a replica's machine does not have its image.
func (t tenant) supplied(c providers.Call) error {
	want := engine.Object{Value: c.Want}
	if c.Address.Kind != engine.KindFunction || want.Attr("image") == "" {
		return nil
	}
	for _, o := range t.tenants.Objects() {
		made := o.Address.Kind == engine.KindImage && o.ID() == want.Attr("image") && machineOf(o.Value) == machineOf(c.Want)
		brought := o.Address.Kind == engine.KindDelivery && o.Attr("name") == want.Attr("image") && o.Attr("machine") == want.Attr("machine")
		if made || brought {
			return nil
		}
	}
	return providers.Permanent(errors.New("no such image: " + want.Attr("image")))
}

// carried reports whether a value tells which machine it is on.
func carried(v cty.Value) bool { return v.Type().HasAttribute("machine_id") }

// machineOf is the id of the machine that a tenant is on.
func machineOf(v cty.Value) string {
	if carried(v) {
		return engine.Object{Value: v}.Attr("machine_id")
	}
	return engine.Object{Value: v.GetAttr("host")}.ID()
}

func on(replica, machine cty.Value) cty.Value {
	return engine.With(replica, map[string]cty.Value{"machine_id": machine})
}

// What runs on another provider's machine is gone with it, and stands still with
// it, whatever the engine that nobody reaches any more had.
func TestWhatIsOnAMachineSharesItsFate(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(w *sim.World)
		want    string
	}{
		"nothing happens":      {func(*sim.World) {}, ""},
		"the machine is gone":  {func(w *sim.World) { w.Vanish(engine.Addr(engine.KindVM, "node").At(0)) }, "+ vm.node[0]\n+ function.web[0]"},
		"the machine is still": {func(w *sim.World) { w.Break(engine.Addr(engine.KindVM, "node").At(0), "it is shut off") }, "~ vm.node[0]\n~ function.web[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			tenants := sim.NewWorld()
			l.flow.Providers = landlord{l, tenants}
			d := load(t, `
vm "node" {
  cpus   = 1
  memory = "1GiB"
}
function "web" {
  on   = vm.node
  exec = ["web"]
}`)
			d.Runners = map[string]string{"sim": "other"}
			l.apply(d)
			if n := len(tenants.Objects()); n != 1 {
				t.Fatalf("the other provider runs %d objects, want the replica", n)
			}
			c.happens(l.world)
			if got := show(l.plan(d).Plan); got != c.want {
				t.Errorf("plan:\n%s\nwant:\n%s", got, c.want)
			}
			l.apply(d)
			if got := show(l.plan(d).Plan); got != "" {
				t.Errorf("after apply there is still\n%s", got)
			}
		})
	}
}

// lodging is a machine with an image, a network and what uses them, and one that gets the
// image from there; another provider runs what is on them.
func lodging(t *testing.T, ref string) engine.Desired {
	d := load(t, fmt.Sprintf(`
vm "home" {
  cpus   = 1
  memory = "1GiB"
}
vm "node" {
  cpus   = 1
  memory = "1GiB"
}
network "lan" {
  provider = "other"
  host     = vm.home[0]
}
image "app" {
  provider = "other"
  ref      = %q
  host     = vm.home[0]
}
function "db" {
  on      = vm.home
  exec    = ["db"]
  network = network.lan
  image   = image.app.id
}
function "web" {
  on    = vm.node
  exec  = ["web"]
  image = image.app.id
}`, ref))
	d.Runners = map[string]string{"sim": "other"}
	return d
}

// A machine that is gone has taken along what it has for others, and one that did not work
// may have: one apply makes them again, before anything there needs them.
func TestAnImageIsMadeAgainWithItsMachine(t *testing.T) {
	home := engine.Addr(engine.KindVM, "home").At(0)
	shutOff := func(w *sim.World) { w.Break(home, "it is shut off") }
	const mended = "~ network.lan\n~ vm.home[0]\n~ image.app\n~ function.db[0]"
	for name, c := range map[string]struct {
		happens func(w *sim.World)
		lost    bool // what it has
		want    string
	}{
		"the machine is gone":                      {func(w *sim.World) { w.Vanish(home) }, true, "+ network.lan\n+ vm.home[0]\n+ image.app\n~ delivery.app/vm.node[0]\n+ function.db[0]\n+/- function.web[0]"},
		"the machine is shut off":                  {shutOff, false, mended},
		"the machine is shut off, its disk is new": {shutOff, true, mended},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			tenants := sim.NewWorld()
			l.flow.Providers = landlord{l, tenants}
			d := lodging(t, "app:1")
			l.apply(d)
			c.happens(l.world)
			for _, o := range tenants.Objects() {
				if c.lost && machineOf(o.Value) == "sim:vm.home[0]#1" {
					tenants.Vanish(o.Address)
				}
			}
			if c.lost {
				tenants.Vanish(engine.Addr(engine.KindFunction, "db").At(0)) // it does not tell where it is
			}
			if got := show(l.plan(d).Plan); got != c.want {
				t.Errorf("plan:\n%s\nwant:\n%s", got, c.want)
			}
			l.apply(d)
			if got := show(l.plan(d).Plan); got != "" {
				t.Errorf("after apply there is still\n%s", got)
			}
		})
	}
}

// Nothing is done to what is on a machine that is suspended, nothing is waited for, and that
// is no fault. With its machine it is destroyed all the same.
func TestWhatIsOnASuspendedMachineIsLeftAlone(t *testing.T) {
	for _, machine := range []string{"home", "node"} {
		t.Run(machine, func(t *testing.T) {
			l := newLab(t)
			l.flow.Providers = landlord{l, sim.NewWorld()}
			d := lodging(t, "app:1")
			l.apply(d)
			target := engine.Addr(engine.KindVM, machine).At(0)
			l.mustOrder(engine.Suspend, d, target)
			for _, ref := range []string{"app:1", "app:2"} {
				if machine == "node" && ref == "app:2" {
					continue // it comes to the other machine at least
				}
				p := l.plan(lodging(t, ref))
				if got := show(p.Plan); got != "" || len(p.Plan.Away()) > 0 {
					t.Errorf("with %s the plan has\n%s\naway: %v", ref, got, p.Plan.Away())
				}
			}
			l.apply(d)
			l.mustOrder(engine.Resume, d, target)
			if got := show(l.plan(d).Plan); got != "" {
				t.Errorf("resumed, the plan has\n%s", got)
			}
			l.mustOrder(engine.Suspend, d, target)
			if _, err := l.try(runtime.Request{Desired: engine.Desired{Flow: d.Flow, Providers: d.Providers}, Destroy: true}); err != nil {
				t.Error(err)
			}
			if snap, err := l.store.Snapshot(t.Context()); err != nil || len(snap.Objects) > 0 {
				t.Errorf("destroy leaves %v (%v)", snap.Objects, err)
			}
		})
	}
}

// What is on a machine that does not work goes with it.
func TestWhatIsOnAMachineThatIsShutOffIsDestroyed(t *testing.T) {
	l := newLab(t)
	l.flow.Providers = landlord{l, sim.NewWorld()}
	d := lodging(t, "app:1")
	l.apply(d)
	l.world.Break(engine.Addr(engine.KindVM, "home").At(0), "it is shut off")
	if _, err := l.try(runtime.Request{Desired: engine.Desired{Flow: d.Flow, Providers: d.Providers}, Destroy: true}); err != nil {
		t.Error(err)
	}
	if snap, err := l.store.Snapshot(t.Context()); err != nil || len(snap.Objects) > 0 {
		t.Errorf("destroy leaves %v (%v)", snap.Objects, err)
	}
}
