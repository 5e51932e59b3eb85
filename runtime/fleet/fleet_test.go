package fleet_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/runtime/fleet"
	"pgregory.net/rapid"
)

var (
	node = engine.Addr(engine.KindVM, "node")
	web  = engine.Addr(engine.KindFunction, "web")
	big  = engine.Addr(engine.KindFunction, "big")
)

// input is some machines of four cores, with one replica of one core for each
// entry of on, which says on which machine it is (-1 for none).
func input(machines, headroom, most int, on ...int) place.Input {
	in := place.Input{
		Machines:  []engine.MachineGroup{{Address: node, Count: engine.Bounds{Min: 1, Max: most, Autoscaled: true}, Each: engine.Capacity{CPU: 4}, Headroom: headroom}},
		Functions: []engine.FunctionGroup{{Address: web, On: []engine.Address{node}, Each: engine.Capacity{CPU: 1}}},
		Replicas:  map[engine.Address][]int{},
		Have:      map[engine.Address][]int{node: numbers(machines)},
		Was:       map[engine.Address]engine.Address{},
	}
	for i, m := range on {
		in.Replicas[web] = append(in.Replicas[web], i)
		if m >= 0 {
			in.Was[web.At(i)] = node.At(m)
		}
	}
	return in
}

// keeping is an input with n replicas that are kept for a rollback on a machine.
func keeping(in place.Input, machine, n int) place.Input {
	in.Kept = map[engine.Address]engine.Address{}
	for i := range n {
		in.Kept[web.At(i)] = node.At(machine)
	}
	return in
}

func number(a engine.Address) int { n, _ := a.Index(); return n }

func numbers(n int) []int { return engine.Bounds{Min: n, Max: n}.Indexes(nil) }

func TestOf(t *testing.T) {
	for _, c := range []struct {
		name  string
		in    place.Input
		need  int
		spare []int
	}{
		{"enough", input(1, 0, 8, 0, 0, 0), 1, nil},
		{"one more", input(1, 0, 8, 0, 0, 0, 0, -1), 2, nil},
		{"one more for headroom", input(1, 1, 8, 0, 0, 0, 0), 2, nil},
		{"no more than there may be", input(1, 1, 1, 0, 0, 0, 0, -1), 1, nil},
		{"an empty one goes", input(2, 0, 8, 0, 0), 1, []int{1}},
		{"unless it is the headroom", input(2, 1, 8, 0, 0, 0, 0), 2, nil},
		{"the one with the fewest is emptied", input(3, 0, 8, 0, 0, 0, 1, 2, 2), 2, []int{1}},
		{"two that fit together", input(2, 0, 8, 0, 0, 1, 1), 1, []int{1}},
		{"two that do not", input(2, 0, 8, 0, 0, 0, 1, 1), 2, nil},
		{"one with a set that is kept for a rollback stays, as does its room", keeping(input(2, 0, 8, 0, 0), 1, 3), 2, nil},
		{"beside a set that is kept there is room", keeping(input(2, 0, 8, 0, 0), 1, 2), 1, []int{0}},
		{"the least size stays", input(2, 0, 8), 1, []int{1}},
		{"from nothing", input(0, 0, 8, -1, -1, -1, -1, -1), 2, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fleet.Of(c.in, node)
			var spare []int
			for _, s := range f.Spare {
				spare = append(spare, number(s.Machine))
			}
			if f.Need != c.need || !slices.Equal(spare, c.spare) {
				t.Errorf("needs %d, spares %v; want %d, %v", f.Need, spare, c.need, c.spare)
			}
		})
	}
}

// The examples of Karpenter's design of balanced consolidation.
func TestScore(t *testing.T) {
	for _, c := range []struct{ saved, pool, disruption, all, want float64 }{
		{7.26, 58.08, 3, 80, 3.33}, {7.26, 58.08, 6, 80, 1.67}, {2.42, 58.08, 8, 80, 0.42}, {2.42, 48.40, 8, 80, 0.50}, {1, 0, 1, 1, 0},
	} {
		if got := fleet.Score(c.saved, c.pool, c.disruption, c.all); math.Abs(got-c.want) > 0.005 {
			t.Errorf("score of %+v is %.3f", c, got)
		}
	}
}

func TestAllowed(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	of := func(budgets ...engine.Budget) []rule.Budget {
		s := engine.DefaultsOf[engine.Scaling]()
		s.Target, s.Max, s.Budgets = node, 20, budgets
		r, problems := rule.Of("node", s)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return r.Budgets
	}
	day := engine.Budget{Start: "0 9 * * *", Duration: engine.Duration(8 * time.Hour), Timezone: "UTC"}
	for _, c := range []struct {
		name                   string
		budgets                []rule.Budget
		total, leaving, broken int
		want                   int
	}{
		{"a share is rounded up", of(engine.Budget{Percent: 20}), 19, 0, 0, 4},
		{"less what leaves and what is broken", of(engine.Budget{Percent: 20}), 19, 1, 1, 2},
		{"never below nothing", of(engine.Budget{Percent: 20}), 19, 4, 4, 0},
		{"by number", of(engine.Budget{Percent: 100, Machines: 3}), 19, 0, 0, 3},
		{"the default", of(), 3, 0, 0, 1},
		{"none by day", of(engine.Budget{Percent: 50}, day), 10, 0, 0, 0},
		{"the strictest", of(engine.Budget{Percent: 50}, engine.Budget{Percent: 20}), 10, 0, 0, 2},
	} {
		if got := fleet.Allowed(c.budgets, now, c.total, c.leaving, c.broken); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if got := fleet.Allowed(of(engine.Budget{Percent: 50}, day), now.Add(6*time.Hour), 10, 0, 0); got != 5 {
		t.Errorf("in the evening: %d, want 5", got)
	}
	if fleet.Halted(7, 3) || !fleet.Halted(8, 4) || fleet.Halted(10, 4) {
		t.Error("a fleet halts when more than 3, and more than 45 %, are broken")
	}
}

// After its spares have gone everything still has a place, with its headroom;
// and what is needed is never more than what packing anew would need by far.
func TestWhatIsSparedIsNotNeeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		machines := rapid.IntRange(1, 8).Draw(t, "machines")
		in := input(machines, rapid.IntRange(0, 3).Draw(t, "headroom"), machines+rapid.IntRange(0, 4).Draw(t, "more"))
		in.Functions = append(in.Functions, engine.FunctionGroup{Address: big, On: []engine.Address{node}, Each: engine.Capacity{CPU: 2}, Spread: rapid.Bool().Draw(t, "spread")})
		in.Replicas[web], in.Replicas[big] = numbers(rapid.IntRange(0, 12).Draw(t, "web")), numbers(rapid.IntRange(0, 6).Draw(t, "big"))
		for _, p := range place.Compute(in).Placings {
			if rapid.Bool().Draw(t, "placed") && slices.Contains(in.Have[node], number(p.Machine)) {
				in.Was[p.Replica] = p.Machine
			}
		}
		f := fleet.Of(in, node)
		if f.Need < 1 || f.Need > in.Machines[0].Count.Max {
			t.Fatalf("needs %d", f.Need)
		}
		if len(f.Spare) == 0 {
			return
		}
		for _, s := range f.Spare {
			in.Have[node] = slices.DeleteFunc(in.Have[node], func(n int) bool { return n == number(s.Machine) })
			for _, m := range s.Moves {
				if m.Machine == s.Machine {
					t.Fatalf("%s moves to where it is", m.Replica)
				}
			}
		}
		if len(in.Have[node]) != f.Need {
			t.Fatalf("%d are left, and %d needed", len(in.Have[node]), f.Need)
		}
		in.Machines[0].Count.Max = f.Need
		if r := place.Compute(in); len(r.Unplaced)+len(r.Short) > 0 {
			t.Fatalf("no room after that: %+v %+v", r.Unplaced, r.Short)
		}
	})
}
