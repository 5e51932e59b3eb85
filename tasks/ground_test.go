package tasks

import (
	"context"
	"slices"
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

// The engine of a machine that does not work is not asked about the images and networks that
// it has: nobody would answer. What follows for them is what follows for the machine.
func TestWhatIsOnAMachineThatDoesNotWorkIsNotAskedFor(t *testing.T) {
	on := func(a engine.Address, v any) engine.Object {
		return engine.Object{Address: a, Gen: 1, Provider: "runner", Value: engine.Encode(v)}
	}
	image, lan := engine.Addr(engine.KindImage, "demo"), engine.Addr(engine.KindNetwork, "lan")
	for _, machine := range []engine.Presence{engine.Present, engine.Down, engine.Gone} {
		objects := []engine.Object{
			{Address: engine.Addr(engine.KindVM, "node").At(0), Gen: 1, Provider: "maker", Value: engine.Encode(engine.VM{ID: "tcp://10.0.0.2:2376"})},
			on(image, engine.Image{Host: engine.HostLink{ID: "tcp://10.0.0.2:2376"}}), on(lan, engine.Network{Host: engine.HostLink{ID: "tcp://10.0.0.2:2376"}}),
			on(engine.Addr(engine.KindImage, "other"), engine.Image{Host: engine.HostLink{ID: "tcp://10.0.0.3:2376"}}), on(engine.Addr(engine.KindImage, "here"), engine.Image{}),
		}
		asked := map[engine.Address]bool{}
		source := readers{
			"maker": {read: func(o engine.Object) engine.Observation {
				return engine.Observation{Object: o, Presence: machine, Why: "it is as it is"}
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
			if asked[o.Address] != (machine == engine.Present) || obs.Presence != machine || machine != engine.Present && obs.Why != "vm.node[0]: it is as it is" {
				t.Errorf("machine %d: %s was asked for: %v, and is %d: %q", machine, o.Address, asked[o.Address], obs.Presence, obs.Why)
			}
		}
		if !asked[objects[3].Address] || !asked[objects[4].Address] {
			t.Errorf("asked for were %v", asked)
		}
	}
}

// Who measures, or clears away, asks nobody on a machine that does not run: by what was seen
// of it, or else if it is suspended.
func TestWhatIsReachable(t *testing.T) {
	machine := func(n int, l engine.Lifecycle) engine.Object {
		a := engine.Addr(engine.KindVM, "node").At(n)
		return engine.Object{Address: a, Gen: 1, Provider: "maker", Lifecycle: l, Value: engine.Encode(engine.VM{ID: a.String()})}
	}
	replica := func(n int, machine engine.Object, provider string) engine.Object {
		r := engine.Replica{Machine: machine.Address.String(), MachineID: machine.ID()}
		return engine.Object{Address: engine.Addr(engine.KindFunction, "web").At(n), Gen: 1, Provider: provider, Value: engine.Encode(r)}
	}
	works, rests := machine(0, engine.Ready), machine(1, engine.Suspended)
	objects := []engine.Object{works, rests, replica(0, works, "runner"), replica(1, rests, "runner"), replica(2, rests, "maker")}
	down := map[engine.Key]engine.Observation{works.Key(): {Presence: engine.Down}, rests.Key(): {}}
	for _, c := range []struct {
		name string
		seen map[engine.Key]engine.Observation
		want []engine.Object
	}{
		{"nobody has looked", nil, []engine.Object{works, rests, objects[2], objects[4]}},
		{"one was seen to stand still, the other to run", down, []engine.Object{works, rests, objects[3], objects[4]}},
	} {
		var got, want []engine.Address
		for _, o := range Reachable(objects, c.seen) {
			got = append(got, o.Address)
		}
		for _, o := range c.want {
			want = append(want, o.Address)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: reachable are %v, want %v", c.name, got, want)
		}
	}
}
