package fleet_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
	"github.com/flowctl/flowctl/runtime/fleet"
)

// several is an input of n groups of machines, each with a function of its own, and
// every third one shared with the next.
func several(n int, rnd *rand.Rand) place.Input {
	in := place.Input{Replicas: map[engine.Address][]int{}, Have: map[engine.Address][]int{}, Was: map[engine.Address]engine.Address{}}
	for i := range n {
		group, f := engine.Addr(engine.KindVM, fmt.Sprintf("n%d", i)), engine.Addr(engine.KindFunction, fmt.Sprintf("f%d", i))
		in.Machines = append(in.Machines, engine.MachineGroup{Address: group, Each: engine.Capacity{CPU: 8, Memory: 8 * engine.GiB, Slots: 4}, Count: engine.Bounds{Min: 1, Max: 5}})
		on := []engine.Address{group}
		if i%3 == 1 {
			on = append(on, engine.Addr(engine.KindVM, fmt.Sprintf("n%d", i-1)))
		}
		in.Functions = append(in.Functions, engine.FunctionGroup{Address: f, Each: engine.Capacity{CPU: 1, Memory: engine.GiB, Slots: 1}, On: on})
		in.Have[group] = []int{0, 1, 2}
		for k := range 1 + rnd.IntN(4) {
			in.Replicas[f] = append(in.Replicas[f], k)
			in.Was[f.At(k)] = group.At(rnd.IntN(3))
		}
		in.Have[f] = in.Replicas[f]
	}
	return in
}

// In a flow of many groups each comes to the same as in one of those alone that it
// has to do with.
func TestOthersDoNotMatter(t *testing.T) {
	for seed := range uint64(50) {
		in := several(7, rand.New(rand.NewPCG(seed, 0)))
		for i, m := range in.Machines {
			alone := in
			alone.Machines, alone.Functions = nil, nil
			for k := range in.Machines {
				if k == i || i%3 == 0 && k == i+1 || i%3 == 1 && k == i-1 {
					alone.Machines, alone.Functions = append(alone.Machines, in.Machines[k]), append(alone.Functions, in.Functions[k])
				}
			}
			if got, want := fleet.Of(in.Around(m.Address), m.Address), fleet.Of(alone, m.Address); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d, %s: %+v, want %+v", seed, m.Address, got, want)
			}
		}
	}
}

// All groups of a large flow are worked out.
func BenchmarkOf(b *testing.B) {
	in := several(1000, rand.New(rand.NewPCG(1, 1)))
	for b.Loop() {
		for _, m := range in.Machines {
			fleet.Of(in.Around(m.Address), m.Address)
		}
	}
}
