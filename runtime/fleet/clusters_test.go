package fleet_test

import (
	"slices"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
	"github.com/flowctl/flowctl/runtime/fleet"
)

// cluster is a group of machines of a hundred cores on which replicas of several sizes
// run; every function takes whole cores.
type cluster struct{ place.Input }

func newCluster(machines, least, most int) cluster {
	in := input(machines, 0, most)
	in.Machines[0].Count.Min, in.Machines[0].Each.CPU, in.Functions = least, 100, nil
	return cluster{in}
}

// runs adds a function of n replicas of so many cores each, the i-th on machine on(i),
// -1 for none.
func (c *cluster) runs(name string, cores float64, n int, on func(i int) int) engine.Address {
	a := engine.Addr(engine.KindFunction, name)
	c.Functions = append(c.Functions, engine.FunctionGroup{Address: a, On: []engine.Address{node}, Each: engine.Capacity{CPU: cores}})
	c.Replicas[a] = numbers(n)
	for i := range n {
		if m := on(i); m >= 0 {
			c.Was[a.At(i)] = node.At(m)
		}
	}
	return a
}

func nowhere(int) int { return -1 }
func each(i int) int  { return i }
func at(m int) func(int) int {
	return func(int) int { return m }
}

func spares(f fleet.Fleet) (all []int) {
	for _, s := range f.Spare {
		all = append(all, number(s.Machine))
	}
	return all
}

// The example of Cluster Autoscaler's FAQ: what is on A and on B would fit on X, but not
// both, and what is on C fits on Y. Of A and B one goes, and C beside it.
func TestWhatASpareWasPromisedIsFullForTheNext(t *testing.T) {
	const a, b, c, x, y = 0, 1, 2, 3, 4
	in := newCluster(5, 1, 5)
	in.runs("small", 30, 2, func(i int) int { return []int{a, b}[i] })
	in.runs("other", 40, 1, at(c))
	in.runs("x", 1, 65, at(x))
	in.runs("y", 1, 60, at(y))
	// X has room for 35 cores, Y for 40: together for one of 30 and the one of 40.
	f := fleet.Of(in.Input, node)
	gone := spares(f)
	if len(gone) != 2 || !slices.Contains(gone, c) || !slices.Contains(gone, a) && !slices.Contains(gone, b) {
		t.Fatalf("spares %v, want %d and one of %d and %d", gone, c, a, b)
	}
	for _, s := range f.Spare {
		want := x
		if number(s.Machine) == c {
			want = y
		}
		if len(s.Moves) != 1 || number(s.Moves[0].Machine) != want {
			t.Errorf("what is on %s moves to %v, want machine %d", s.Machine, s.Moves, want)
		}
	}
}

// Karpenter's adversary: nodes that are nearly full stay where they are, whatever else
// there is.
func TestNearlyFullMachinesStay(t *testing.T) {
	for _, fill := range []int{93, 95, 97, 99} {
		in := newCluster(4, 1, 8)
		for m := range 3 {
			in.runs(string(rune('a'+m)), 1, fill, at(m))
		}
		f := fleet.Of(in.Input, node) // the fourth is empty, and would take what is on any
		if got := spares(f); !slices.Equal(got, []int{3}) {
			t.Errorf("full by %d %%: spares %v, want the empty one alone", fill, got)
		}
	}
}

// The six scenarios by which Cluster Autoscaler's scalability is tested
// (cluster-autoscaler/proposals/scalability_tests.md), with a tenth of their machines
// and their replicas.
func TestClusterAutoscalersScenarios(t *testing.T) {
	for _, c := range []struct {
		name string
		of   func() cluster
		need int
		gone func(m int) bool // which machines may go
		left int              // replicas that find no room
	}{
		{"scales up at all", func() cluster {
			in := newCluster(1, 1, 100)
			in.runs("first", 50, 2, at(0))
			in.runs("new", 100./30, 99*30, nowhere)
			return in
		}, 100, nil, 0},
		{"scales up while handling what came before", func() cluster {
			in := newCluster(70, 1, 100) // 69 of which start, for the first batch
			in.runs("first", 50, 2, at(0))
			in.runs("batch", 100./30, 69*30, func(i int) int { return 1 + i/30 })
			in.runs("second", 100./30, 30*30, nowhere)
			return in
		}, 100, nil, 0},
		{"scales down what is empty", func() cluster {
			in := newCluster(100, 1, 100)
			in.runs("web", 70, 70, each)
			return in
		}, 70, func(m int) bool { return m >= 70 }, 0},
		{"scales down what is hardly used, to the least size", func() cluster {
			in := newCluster(100, 97, 100)
			in.runs("busy", 1, 70*70, func(i int) int { return i / 70 })
			in.runs("idle", 1, 30*30, func(i int) int { return 70 + i/30 })
			return in
		}, 97, func(m int) bool { return m >= 70 }, 0},
		{"does not scale down what cannot move", func() cluster {
			in := newCluster(100, 1, 100)
			in.runs("busy", 90, 70, each)
			in.runs("port", 30, 30, func(i int) int { return 70 + i })
			in.Functions[1].MaxPerMachine = 1 // two of them want the same port
			return in
		}, 100, nil, 0},
		{"what no machine can take hinders nothing", func() cluster {
			in := newCluster(1, 1, 100)
			in.runs("first", 100, 1, at(0))
			in.runs("huge", 101, 100, nowhere)
			in.runs("new", 100./30, 99*30, nowhere)
			return in
		}, 100, nil, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fleet.Of(c.of().Input, node)
			if f.Need != c.need || len(f.Unplaced) != c.left {
				t.Errorf("needs %d, and %d find no room; want %d, %d", f.Need, len(f.Unplaced), c.need, c.left)
			}
			for _, m := range spares(f) {
				if c.gone == nil || !c.gone(m) {
					t.Errorf("machine %d is to go", m)
				}
			}
		})
	}
}
