package control

import (
	"maps"
	"slices"
	"testing"

	"github.com/flowctl/flowctl/engine"
)

// Nothing is done about a group of machines that is halted, nor about what is on those of
// them that do not work.
func TestNothingIsSeenOfHaltedMachines(t *testing.T) {
	node := engine.Addr(engine.KindVM, "node")
	host := func(id string) engine.Image { return engine.Image{Host: engine.HostLink{ID: id}} }
	object := func(a engine.Address, v any) engine.Object {
		return engine.Object{Address: a, Gen: 1, Value: engine.Encode(v)}
	}
	web, app, other := engine.Addr(engine.KindFunction, "web"), engine.Addr(engine.KindImage, "app"), engine.Addr(engine.KindImage, "other")
	snap := engine.Snapshot{Objects: []engine.Object{
		object(node.At(0), engine.VM{ID: "zero"}), object(node.At(1), engine.VM{ID: "one"}),
		object(app, host("zero")), object(other, host("one")),
		object(web.At(0), engine.Replica{Machine: node.At(0).String()}), object(web.At(1), engine.Replica{Machine: node.At(1).String()}),
	}}
	s := health{
		halted: map[engine.Address]string{node: "too many do not work"}, closed: map[engine.Address]string{node.At(0): "it is shut off"},
		seen: map[engine.Key]engine.Observation{},
	}
	for _, o := range snap.Objects {
		s.seen[o.Key()] = engine.Observation{Object: o, Presence: engine.Down}
	}
	var got []engine.Address
	for _, k := range slices.SortedFunc(maps.Keys(s.heeded(snap)), engine.Key.Compare) {
		got = append(got, k.Address)
	}
	if want := []engine.Address{other, web.At(1)}; !slices.Equal(got, want) {
		t.Errorf("heeded are %v, want %v", got, want)
	}
}
