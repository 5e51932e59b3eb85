package runtime_test

import (
	"context"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/sim"
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
		return tenant{sim.New(l.tenants, sim.Config{})}, nil
	}
	return l.lab.Get(ctx, name)
}

// tenant keeps from a world on which machine of another one its replicas are.
type tenant struct{ providers.Provider }

// Read implements providers.Provider.
func (t tenant) Read(ctx context.Context, o engine.Object) (engine.Observation, error) {
	obs, err := t.Provider.Read(ctx, o)
	obs.Object.Value = on(obs.Object.Value, o.Value.GetAttr("machine_id"))
	return obs, err
}

// Apply implements providers.Provider.
func (t tenant) Apply(ctx context.Context, c providers.Call) (engine.Object, error) {
	machine := c.Want.GetAttr("machine_id")
	c.Want = on(c.Want, cty.NullVal(cty.String))
	o, err := t.Provider.Apply(ctx, c)
	if err == nil {
		o.Value = on(o.Value, machine)
	}
	return o, err
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
