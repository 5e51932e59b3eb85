package tasks

import (
	"context"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// readers are providers that read only.
type readers map[string]reader

func (r readers) Get(_ context.Context, name string) (providers.Provider, error) {
	return r[name], nil
}

type reader struct {
	providers.Provider
	read func(engine.Object) engine.Observation
}

func (r reader) Read(_ context.Context, o engine.Object) (engine.Observation, error) {
	return r.read(o), nil
}

// The engine of a machine that stands still is not asked about the images and networks that
// it has: nobody would answer.
func TestWhatIsOnAMachineThatStandsStillIsNotAskedFor(t *testing.T) {
	machine := engine.Object{Address: engine.Addr(engine.KindVM, "node").At(0), Gen: 1, Provider: "maker", Value: engine.Encode(engine.VM{ID: "tcp://10.0.0.2:2376"})}
	on := func(a engine.Address, v any) engine.Object {
		return engine.Object{Address: a, Gen: 1, Provider: "runner", Value: engine.Encode(v)}
	}
	image, lan := engine.Addr(engine.KindImage, "demo"), engine.Addr(engine.KindNetwork, "lan")
	objects := []engine.Object{
		machine, on(image, engine.Image{Host: engine.HostLink{ID: "tcp://10.0.0.2:2376"}}), on(lan, engine.Network{Host: engine.HostLink{ID: "tcp://10.0.0.2:2376"}}),
		on(engine.Addr(engine.KindImage, "other"), engine.Image{Host: engine.HostLink{ID: "tcp://10.0.0.3:2376"}}), on(engine.Addr(engine.KindImage, "here"), engine.Image{}),
	}
	for _, down := range []bool{true, false} {
		asked := map[engine.Address]bool{}
		source := readers{
			"maker": {read: func(o engine.Object) engine.Observation {
				if down {
					return engine.Observation{Object: o, Presence: engine.Down, Why: "its domain is paused"}
				}
				return engine.Observation{Object: o}
			}},
			"runner": {read: func(o engine.Object) engine.Observation {
				asked[o.Address] = true
				return engine.Observation{Object: o}
			}},
		}
		found, err := Observe(t.Context(), source, objects, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects[1:3] {
			obs := found.Observed[o.Key()]
			if asked[o.Address] == down || down && (obs.Presence != engine.Unreachable || obs.Why != "vm.node[0]: its domain is paused") {
				t.Errorf("with a machine that stands still (%v), %s was asked for: %v, and is %d: %q", down, o.Address, asked[o.Address], obs.Presence, obs.Why)
			}
		}
		if !asked[objects[3].Address] || !asked[objects[4].Address] {
			t.Errorf("asked for were %v", asked)
		}
	}
}

// What another provider has brought to a machine is where that is, also when the machine
// is one that is kept ready.
func TestWhatIsOnAnotherProvidersMachine(t *testing.T) {
	for _, kind := range []engine.Kind{engine.KindVM, engine.KindWarm} {
		machine := engine.Object{Address: engine.Addr(kind, "node").At(0), Gen: 1, Provider: "libvirt", Value: engine.Encode(engine.VM{ID: "here"})}
		image := engine.Addr(engine.KindImage, "app")
		brought := func(provider, id string) engine.Object {
			return engine.Object{
				Address: engine.DeliveryOf(image, machine.Address), Gen: 1, Provider: provider,
				Value: engine.Encode(engine.Delivery{Image: image.String(), Machine: machine.Address.String(), MachineID: id}),
			}
		}
		g := ground{machine.Address: {{Object: machine, Presence: engine.Down, Why: "its domain is shut off"}}}
		for name, c := range map[string]struct {
			of   engine.Object
			want bool
		}{
			"on it":                   {brought("docker", "here"), true},
			"on the one before":       {brought("docker", "there"), false},
			"who makes machines, too": {brought("libvirt", "here"), false},
		} {
			obs, known := g.of(c.of)
			if known != c.want || known && (obs.Presence != engine.Down || obs.Why != machine.Address.String()+": its domain is shut off") {
				t.Errorf("%s, %s: %v %q, known %v; want %v", machine.Address, name, obs.Presence, obs.Why, known, c.want)
			}
		}
		if !borne([]engine.Object{machine, brought("docker", "here")}) {
			t.Errorf("%s: nothing is on it", machine.Address)
		}
		seen, err := survey(t.Context(), nil, []engine.Object{brought("docker", "here")}, 1)
		if err != nil || len(seen) > 0 {
			t.Errorf("a delivery is taken for a machine: %v, %v", seen, err)
		}
	}
}
