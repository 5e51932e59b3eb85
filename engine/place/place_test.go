package place_test

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
	"pgregory.net/rapid"
)

func fn(name string) engine.Address { return engine.Addr(engine.KindFunction, name) }
func vm(name string) engine.Address { return engine.Addr(engine.KindVM, name) }

func machines(name string, bounds engine.Bounds, cpu float64, memory engine.Size, slots int) engine.MachineGroup {
	return engine.MachineGroup{Address: vm(name), Count: bounds, Each: engine.Capacity{CPU: cpu, Memory: memory, Slots: slots}}
}

// first returns the numbers 0 to n-1.
func first(n int) []int { return engine.Bounds{Min: n, Max: n}.Indexes(nil) }

func fixed(n int) engine.Bounds { return engine.Bounds{Min: n, Max: n} }

func function(name string, cpu float64, on ...string) engine.FunctionGroup {
	f := engine.FunctionGroup{Address: fn(name), Each: engine.Capacity{CPU: cpu}}
	for _, o := range on {
		f.On = append(f.On, vm(o))
	}
	return f
}

// show prints a result as "node[0]: api[0] api[1]; node[1]: web[0]".
func show(r place.Result) string {
	on := map[string][]string{}
	for _, p := range r.Placings {
		m := strings.TrimPrefix(p.Machine.String(), "vm.")
		on[m] = append(on[m], strings.TrimPrefix(p.Replica.String(), "function."))
	}
	var parts []string
	for _, m := range slices.Sorted(maps.Keys(on)) {
		parts = append(parts, m+": "+strings.Join(on[m], " "))
	}
	for _, u := range r.Unplaced {
		parts = append(parts, "nowhere: "+u.Replica.String()+" ("+u.Why+")")
	}
	return strings.Join(parts, "; ")
}

// on places replicas 0 to n-1 of functions on the machines of a group, so many on each.
func on(machines []int, n int, functions ...string) map[engine.Address]engine.Address {
	was := map[engine.Address]engine.Address{}
	for _, f := range functions {
		for i := range n {
			was[fn(f).At(i)] = vm("node").At(machines[i])
		}
	}
	return was
}

// inTurn lets replicas 0 to n-1 of functions take over one after the other.
func inTurn(in place.Input, n int, functions ...string) place.Input {
	in.Second, in.Turn = map[engine.Address]bool{}, map[engine.Address]int{}
	if in.Replicas == nil {
		in.Replicas = map[engine.Address][]int{}
	}
	for _, f := range functions {
		in.Functions = append(in.Functions, function(f, 0, "node"))
		in.Replicas[fn(f)] = first(n)
		for i := range n {
			in.Second[fn(f).At(i)], in.Turn[fn(f).At(i)] = true, i+1
		}
	}
	return in
}

func TestCompute(t *testing.T) {
	spread := function("web", 0.5, "node")
	spread.Spread = true
	collector, broker := function("collector", 0.5, "node"), function("broker", 1, "node")
	collector.Colocate = []engine.Address{fn("broker")}
	db, cache := function("db", 0.5, "node"), function("cache", 0.5, "node")
	db.Avoid = []engine.Address{fn("cache")}
	single := function("web", 0.1, "node")
	single.MaxPerMachine = 1
	for _, c := range []struct {
		name string
		in   place.Input
		want string
	}{
		{"fills one machine after the other", place.Input{
			Machines:  []engine.MachineGroup{machines("node", fixed(2), 2, 0, 0)},
			Functions: []engine.FunctionGroup{function("web", 0.5, "node")},
			Replicas:  map[engine.Address][]int{fn("web"): first(5)},
		}, "node[0]: web[0] web[1] web[2] web[3]; node[1]: web[4]"},
		{"spreads when asked to", place.Input{
			Machines:  []engine.MachineGroup{machines("node", fixed(3), 2, 0, 0)},
			Functions: []engine.FunctionGroup{spread},
			Replicas:  map[engine.Address][]int{fn("web"): first(4)},
		}, "node[0]: web[0] web[3]; node[1]: web[1]; node[2]: web[2]"},
		{"packs the largest first", place.Input{
			Machines:  []engine.MachineGroup{machines("node", fixed(2), 2, 0, 0)},
			Functions: []engine.FunctionGroup{function("small", 0.5, "node"), function("large", 1.5, "node")},
			Replicas:  map[engine.Address][]int{fn("small"): first(2), fn("large"): first(2)},
		}, "node[0]: large[0] small[0]; node[1]: large[1] small[1]"},
		{"puts a data path on one machine", place.Input{
			Machines:  []engine.MachineGroup{machines("node", fixed(2), 2, 0, 0)},
			Functions: []engine.FunctionGroup{collector, broker, function("other", 1, "node")},
			Replicas:  map[engine.Address][]int{fn("collector"): first(1), fn("broker"): first(1), fn("other"): first(1)},
			Was:       map[engine.Address]engine.Address{fn("other").At(0): vm("node").At(0)},
		}, "node[0]: other[0]; node[1]: broker[0] collector[0]"},
		{"pairs each replica of a data path", place.Input{
			Machines:  []engine.MachineGroup{machines("node", fixed(2), 2, 0, 0)},
			Functions: []engine.FunctionGroup{collector, broker},
			Replicas:  map[engine.Address][]int{fn("collector"): first(2), fn("broker"): first(2)},
		}, "node[0]: broker[0] collector[0]; node[1]: broker[1] collector[1]"},
		{"keeps enemies apart", place.Input{
			Machines:  []engine.MachineGroup{machines("node", fixed(2), 8, 0, 0)},
			Functions: []engine.FunctionGroup{db, cache},
			Replicas:  map[engine.Address][]int{fn("db"): first(2), fn("cache"): first(2)},
		}, "node[0]: cache[0] cache[1]; node[1]: db[0] db[1]"},
		{"a second set stays beside the first where there is room", place.Input{
			Machines:  []engine.MachineGroup{machines("node", fixed(2), 2, 0, 0)},
			Functions: []engine.FunctionGroup{function("web", 0.5, "node")},
			Replicas:  map[engine.Address][]int{fn("web"): first(3)},
			Was:       map[engine.Address]engine.Address{fn("web").At(0): vm("node").At(0), fn("web").At(1): vm("node").At(0), fn("web").At(2): vm("node").At(0)},
			Second:    map[engine.Address]bool{fn("web").At(0): true, fn("web").At(1): true, fn("web").At(2): true},
		}, "node[0]: web[0]; node[1]: web[1] web[2]"},
		{"a second set takes no room of an old one that stays", place.Input{
			Machines:  []engine.MachineGroup{machines("node", engine.Bounds{Min: 1, Max: 3, Autoscaled: true}, 0, 0, 2)},
			Functions: []engine.FunctionGroup{function("web", 0, "node")},
			Replicas:  map[engine.Address][]int{fn("web"): first(2)},
			Have:      map[engine.Address][]int{vm("node"): first(2)},
			Was:       map[engine.Address]engine.Address{fn("web").At(0): vm("node").At(1), fn("web").At(1): vm("node").At(0)},
			Second:    map[engine.Address]bool{fn("web").At(1): true},
			Old:       map[engine.Address]engine.Address{fn("web").At(0): vm("node").At(0)},
		}, "node[1]: web[0] web[1]"},
		{"replicas in turn take the one free slot, and then what those before them left", inTurn(place.Input{
			Machines: []engine.MachineGroup{machines("node", fixed(3), 0, 0, 2)}, Functions: []engine.FunctionGroup{function("other", 0, "node")},
			Replicas: map[engine.Address][]int{fn("other"): first(1)},
			Was:      on([]int{0, 0, 1, 1}, 4, "web"),
		}, 4, "web"), "node[0]: web[1] web[2]; node[1]: web[3]; node[2]: other[0] web[0]"},
		{"replicas in turn stay where there is room beside them", inTurn(place.Input{
			Machines: []engine.MachineGroup{machines("node", fixed(2), 0, 0, 3)}, Was: on([]int{0, 0, 1, 1}, 4, "web"),
		}, 4, "web"), "node[0]: web[0] web[1]; node[1]: web[2] web[3]"},
		{"replicas in turn take one machine more, if there may be", inTurn(place.Input{
			Machines: []engine.MachineGroup{machines("node", engine.Bounds{Min: 1, Max: 9, Autoscaled: true}, 0, 0, 2)},
			Have:     map[engine.Address][]int{vm("node"): first(2)}, Was: on([]int{0, 0, 1, 1}, 4, "web"),
		}, 4, "web"), "node[0]: web[1] web[2]; node[1]: web[3]; node[2]: web[0]"},
		{"replicas in turn do not start without a free slot", inTurn(place.Input{
			Machines: []engine.MachineGroup{machines("node", fixed(1), 0, 0, 1)}, Was: on([]int{0}, 1, "web"),
		}, 1, "web"), "nowhere: function.web[0] (none of 1 machines can take it; 1: no room)"},
		{"two functions do not take turns with one free slot", inTurn(place.Input{
			Machines: []engine.MachineGroup{machines("node", fixed(1), 0, 0, 3)}, Was: on([]int{0}, 1, "api", "web"),
		}, 1, "api", "web"), "node[0]: api[0]; nowhere: function.web[0] (none of 1 machines can take it; 1: no room)"},
		{"the old one of a second set keeps its enemies away", place.Input{
			Machines:  []engine.MachineGroup{machines("node", fixed(2), 1, 0, 0)},
			Functions: []engine.FunctionGroup{db, cache},
			Replicas:  map[engine.Address][]int{fn("db"): first(1), fn("cache"): first(1)},
			Was:       map[engine.Address]engine.Address{fn("db").At(0): vm("node").At(1)},
			Old:       map[engine.Address]engine.Address{fn("db").At(0): vm("node").At(0)},
		}, "node[1]: db[0]; nowhere: function.cache[0] (none of 2 machines can take it; 2: it avoids function.db, which is there)"},
		{"says why there is no place", place.Input{
			Machines:  []engine.MachineGroup{machines("node", fixed(2), 2, 0, 1)},
			Functions: []engine.FunctionGroup{single},
			Replicas:  map[engine.Address][]int{fn("web"): first(3)},
		}, "node[0]: web[0]; node[1]: web[1]; nowhere: function.web[2] (none of 2 machines can take it; 2: max_per_machine = 1 is reached)"},
		{"lets replicas stay", place.Input{
			Machines:  []engine.MachineGroup{machines("node", fixed(3), 2, 0, 0)},
			Functions: []engine.FunctionGroup{function("web", 0.5, "node")},
			Replicas:  map[engine.Address][]int{fn("web"): first(3)},
			Was:       map[engine.Address]engine.Address{fn("web").At(0): vm("node").At(2), fn("web").At(1): vm("node").At(1)},
		}, "node[1]: web[1] web[2]; node[2]: web[0]"},
		{"moves what a smaller machine cannot hold", place.Input{
			Machines:  []engine.MachineGroup{machines("node", fixed(2), 1, 0, 0)},
			Functions: []engine.FunctionGroup{function("web", 0.5, "node")},
			Replicas:  map[engine.Address][]int{fn("web"): first(3)},
			Was:       map[engine.Address]engine.Address{fn("web").At(0): vm("node").At(0), fn("web").At(1): vm("node").At(0), fn("web").At(2): vm("node").At(0)},
		}, "node[0]: web[0] web[1]; node[1]: web[2]"},
		{"moves what sits on a machine that goes", place.Input{
			Machines:  []engine.MachineGroup{machines("node", fixed(1), 2, 0, 0)},
			Functions: []engine.FunctionGroup{function("web", 0.5, "node")},
			Replicas:  map[engine.Address][]int{fn("web"): first(1)},
			Was:       map[engine.Address]engine.Address{fn("web").At(0): vm("node").At(1)},
		}, "node[0]: web[0]"},
		{"takes a second group when the first is full", place.Input{
			Machines:  []engine.MachineGroup{machines("big", fixed(1), 1, 0, 0), machines("small", fixed(1), 0.5, 0, 0)},
			Functions: []engine.FunctionGroup{function("web", 0.5, "small", "big")},
			Replicas:  map[engine.Address][]int{fn("web"): first(3)},
		}, "big[0]: web[1] web[2]; small[0]: web[0]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := show(place.Compute(c.in)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestMachinesFollowReplicas(t *testing.T) {
	auto := func(headroom int) engine.MachineGroup {
		m := machines("node", engine.Bounds{Min: 1, Max: 4, Autoscaled: true}, 2, engine.GiB, 6)
		m.Headroom = headroom
		return m
	}
	for _, c := range []struct {
		name            string
		replicas, count int
		headroom        int
		want            int
		short           int // headroom that is left
		unplaced        int
	}{
		{"the least when there is nothing", 0, 0, 0, 1, -1, 0},
		{"one is enough", 6, 0, 0, 1, -1, 0},
		{"one slot more needs another", 7, 0, 0, 2, -1, 0},
		{"headroom needs another", 6, 0, 1, 2, -1, 0},
		{"it does not shrink what is there", 6, 3, 0, 3, -1, 0},
		{"it stays below the greatest", 30, 0, 0, 4, -1, 6},
		{"headroom gives way to replicas", 23, 0, 4, 4, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := place.Compute(place.Input{
				Machines:  []engine.MachineGroup{auto(c.headroom)},
				Functions: []engine.FunctionGroup{function("web", 0.1, "node")},
				Replicas:  map[engine.Address][]int{fn("web"): first(c.replicas)},
				Have:      map[engine.Address][]int{vm("node"): first(c.count)},
			})
			if len(r.Machines[vm("node")]) != c.want || len(r.Unplaced) != c.unplaced {
				t.Errorf("%d machines, %d unplaced; want %d, %d", len(r.Machines[vm("node")]), len(r.Unplaced), c.want, c.unplaced)
			}
			if (len(r.Short) > 0) != (c.short >= 0) || c.short >= 0 && r.Short[0].Have != c.short {
				t.Errorf("short = %+v, want %d left", r.Short, c.short)
			}
		})
	}
}

func TestReserveTakesRoomForASurge(t *testing.T) {
	r := place.Compute(place.Input{
		Machines:  []engine.MachineGroup{machines("node", fixed(1), 0, 0, 4)},
		Functions: []engine.FunctionGroup{function("web", 0, "node")},
		Replicas:  map[engine.Address][]int{fn("web"): first(3)},
	})
	if !r.Reserve(fn("web"), vm("node").At(0)) {
		t.Error("the fourth slot is free, but was not given")
	}
	if r.Reserve(fn("web"), vm("node").At(0)) {
		t.Error("a fifth slot was given")
	}
}

// world draws a random input, with everything that placement knows of.
func world(t *rapid.T) place.Input {
	in := place.Input{Replicas: map[engine.Address][]int{}, Have: map[engine.Address][]int{}, Was: map[engine.Address]engine.Address{}}
	groups := rapid.IntRange(1, 3).Draw(t, "groups")
	for g := range groups {
		least := rapid.IntRange(0, 3).Draw(t, "min")
		m := machines(fmt.Sprintf("g%d", g), engine.Bounds{Min: least, Max: least + rapid.IntRange(0, 3).Draw(t, "span"), Autoscaled: true},
			float64(rapid.IntRange(0, 8).Draw(t, "cpus"))/2, engine.Size(rapid.IntRange(0, 4).Draw(t, "mem"))*engine.GiB, rapid.IntRange(0, 6).Draw(t, "slots"))
		in.Machines = append(in.Machines, m)
		in.Have[m.Address] = rapid.SliceOfNDistinct(rapid.IntRange(0, 7), 0, 6, rapid.ID[int]).Draw(t, "have")
	}
	n := rapid.IntRange(1, 4).Draw(t, "functions")
	for i := range n {
		f := function(fmt.Sprintf("f%d", i), float64(rapid.IntRange(0, 4).Draw(t, "cpu"))/2, fmt.Sprintf("g%d", rapid.IntRange(0, groups-1).Draw(t, "on")))
		f.Each.Memory = engine.Size(rapid.IntRange(0, 2).Draw(t, "memory")) * engine.GiB
		f.Spread = rapid.Bool().Draw(t, "spread")
		f.MaxPerMachine = rapid.IntRange(0, 2).Draw(t, "max")
		other := fn(fmt.Sprintf("f%d", rapid.IntRange(0, n-1).Draw(t, "other")))
		switch rapid.IntRange(0, 3).Draw(t, "relation") {
		case 0:
			f.Colocate = []engine.Address{other}
		case 1:
			f.Avoid = []engine.Address{other}
		}
		in.Functions = append(in.Functions, f)
		in.Replicas[f.Address] = slices.Sorted(slices.Values(rapid.SliceOfNDistinct(rapid.IntRange(0, 9), 0, 8, rapid.ID[int]).Draw(t, "replicas")))
		for r := range rapid.IntRange(0, 8).Draw(t, "existing") {
			g := rapid.IntRange(0, groups-1).Draw(t, "wasgroup")
			in.Was[f.Address.At(r)] = vm(fmt.Sprintf("g%d", g)).At(rapid.IntRange(0, 5).Draw(t, "wasat"))
		}
	}
	return in
}

func TestPlacementProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := world(t)
		r := place.Compute(in)
		checkLimits(t, in, r)

		shuffled := in
		shuffled.Functions, shuffled.Machines = slices.Clone(in.Functions), slices.Clone(in.Machines)
		rnd := rand.New(rand.NewSource(1))
		rnd.Shuffle(len(shuffled.Functions), func(i, j int) {
			shuffled.Functions[i], shuffled.Functions[j] = shuffled.Functions[j], shuffled.Functions[i]
		})
		rnd.Shuffle(len(shuffled.Machines), func(i, j int) {
			shuffled.Machines[i], shuffled.Machines[j] = shuffled.Machines[j], shuffled.Machines[i]
		})
		if again := place.Compute(shuffled); show(again) != show(r) {
			t.Fatalf("another order of the input gives another result:\n%s\n%s", show(r), show(again))
		}

		next := in
		next.Have, next.Was = r.Machines, map[engine.Address]engine.Address{}
		for _, p := range r.Placings {
			next.Was[p.Replica] = p.Machine
		}
		for _, p := range place.Compute(next).Placings {
			if was, ok := next.Was[p.Replica]; ok && p.Machine != was {
				t.Fatalf("%s moved from %s to %s although nothing changed", p.Replica, was, p.Machine)
			}
		}
	})
}

// checkLimits adds up what stands on each machine.
func checkLimits(t *rapid.T, in place.Input, r place.Result) {
	functions := map[engine.Address]engine.FunctionGroup{}
	for _, f := range in.Functions {
		functions[f.Address] = f
	}
	type load struct {
		cpu   float64
		mem   engine.Size
		count map[engine.Address]int
		total int
	}
	on := map[engine.Address]*load{}
	for _, p := range r.Placings {
		f, l := functions[p.Replica.Group()], on[p.Machine]
		if l == nil {
			l = &load{count: map[engine.Address]int{}}
			on[p.Machine] = l
		}
		l.cpu += f.Each.CPU
		l.mem += f.Each.Memory
		l.count[f.Address]++
		l.total++
		if !slices.Contains(f.On, p.Machine.Group()) {
			t.Fatalf("%s is on %s, where it may not run", p.Replica, p.Machine)
		}
	}
	placed := len(r.Placings) + len(r.Unplaced)
	for _, f := range in.Functions {
		placed -= len(in.Replicas[f.Address])
	}
	if placed != 0 {
		t.Fatalf("%d replicas too many or too few", placed)
	}
	for _, m := range in.Machines {
		n := r.Machines[m.Address]
		if len(n) < m.Count.Min || len(n) > m.Count.Max {
			t.Fatalf("%s has machines %d, outside %d..%d", m.Address, n, m.Count.Min, m.Count.Max)
		}
		for a, l := range on {
			if a.Group() != m.Address {
				continue
			}
			if i, _ := a.Index(); !slices.Contains(n, i) {
				t.Fatalf("replicas on %s, of machines %d", a, n)
			}
			if m.Each.CPU > 0 && l.cpu > m.Each.CPU+1e-9 || m.Each.Memory > 0 && l.mem > m.Each.Memory || m.Each.Slots > 0 && l.total > m.Each.Slots {
				t.Fatalf("%s is too full: %+v", a, l)
			}
			for name, k := range l.count {
				f := functions[name]
				if f.MaxPerMachine > 0 && k > f.MaxPerMachine {
					t.Fatalf("%d of %s on %s", k, name, a)
				}
				for _, e := range f.Avoid {
					if e != name && l.count[e] > 0 {
						t.Fatalf("%s and %s are both on %s", name, e, a)
					}
				}
			}
		}
	}
}

func BenchmarkPlace1000MachinesStable(b *testing.B) {
	in := place.Input{
		Machines:  []engine.MachineGroup{machines("node", fixed(1000), 8, 0, 10)},
		Functions: []engine.FunctionGroup{function("web", 0.5, "node")},
		Replicas:  map[engine.Address][]int{fn("web"): first(10000)},
		Was:       map[engine.Address]engine.Address{},
	}
	for i := range 9990 {
		in.Was[fn("web").At(i)] = vm("node").At(i / 10)
	}
	for b.Loop() {
		place.Compute(in)
	}
}

// What is around a group of machines is placed as in the whole.
func TestAroundTellsAllThatMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := place.Input{Replicas: map[engine.Address][]int{}, Have: map[engine.Address][]int{}, Was: map[engine.Address]engine.Address{}}
		names := []string{"a", "b", "c", "d"}
		for _, name := range names {
			have := rapid.IntRange(1, 3).Draw(t, "machines")
			cpus, memory := rapid.IntRange(2, 6).Draw(t, "cpus"), engine.Size(rapid.IntRange(2, 6).Draw(t, "memory"))
			in.Machines = append(in.Machines, machines(name, engine.Bounds{Min: 1, Max: 5, Autoscaled: true}, float64(cpus), memory*engine.GiB, 5))
			in.Have[vm(name)] = first(have)
		}
		for i := range rapid.IntRange(1, 6).Draw(t, "functions") {
			f := function(fmt.Sprint("f", i), float64(rapid.IntRange(1, 3).Draw(t, "cpu"))/2, rapid.SampledFrom(names).Draw(t, "on"))
			f.Each.Memory = engine.Size(rapid.IntRange(0, 2).Draw(t, "needs")) * engine.GiB
			if i > 0 && rapid.Bool().Draw(t, "related") {
				f.Avoid = []engine.Address{fn(fmt.Sprint("f", rapid.IntRange(0, i-1).Draw(t, "avoids")))}
			}
			in.Functions = append(in.Functions, f)
			in.Replicas[f.Address] = first(rapid.IntRange(0, 6).Draw(t, "replicas"))
			for _, n := range in.Replicas[f.Address] {
				if rapid.Bool().Draw(t, "exists") {
					in.Was[f.Address.At(n)] = f.On[0].At(0)
				}
			}
		}
		whole := place.Compute(in)
		for _, name := range names {
			part := place.Compute(in.Around(vm(name)))
			if !slices.Equal(whole.Machines[vm(name)], part.Machines[vm(name)]) {
				t.Fatalf("%s needs machines %v, around it %v", name, whole.Machines[vm(name)], part.Machines[vm(name)])
			}
			for _, p := range part.Placings {
				if p.Machine.Group() == vm(name) && !slices.Contains(whole.Placings, p) {
					t.Fatalf("around %s %s goes to %s, which it does not else", name, p.Replica, p.Machine)
				}
			}
		}
	})
}
