package simulate_test

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/runtime/simulate"
	"pgregory.net/rapid"
)

var (
	web  = engine.Addr(engine.KindFunction, "web")
	node = engine.Addr(engine.KindVM, "node")
)

// twoTier is a function of 2 to 8 replicas for 50 requests a second each, on
// machines that take three, and are 1 to 4.
func twoTier(load func(time.Duration) float64) simulate.Input {
	s := engine.DefaultsOf[engine.Scaling]()
	s.Target, s.Min, s.Max = web, 2, 8
	m := engine.DefaultsOf[engine.Metric]()
	m.Name, m.Target = "rps", 50
	s.Metrics = []engine.Metric{m}
	v := engine.DefaultsOf[engine.Scaling]()
	v.Target, v.Min, v.Max = node, 1, 4
	replicas, _ := rule.Of("web", s)
	machines, _ := rule.Of("node", v)
	return simulate.Input{
		Rules:     []rule.Rule{replicas, machines},
		Machines:  []engine.MachineGroup{{Address: node, Count: engine.Bounds{Min: 1, Max: 4, Autoscaled: true}, Each: engine.Capacity{Slots: 3}}},
		Functions: []engine.FunctionGroup{{Address: web, On: []engine.Address{node}, Replicas: engine.Bounds{Min: 2, Max: 8, Autoscaled: true}}},
		Load:      load, Length: 20 * time.Minute,
		Model: simulate.Model{Service: 100 * time.Millisecond, Boot: 3 * time.Second, Drain: 10 * time.Second, MachineBoot: 45 * time.Second, MachineDrain: 5 * time.Second, Start: time.Unix(0, 0)},
	}
}

func step(t time.Duration) float64 {
	if t >= 2*time.Minute && t < 8*time.Minute {
		return 380
	}
	return 60
}

func TestReplicasFollowTheLoadAndMachinesTheReplicas(t *testing.T) {
	res := simulate.Run(twoTier(step))
	w, n := res.Groups[0], res.Groups[1]
	at := func(s []int, m int) int { return s[m*60] }
	if at(w.Series.Ready, 1) != 2 || at(w.Series.Ready, 6) != 8 || at(w.Series.Ready, 18) != 2 {
		t.Errorf("replicas: %d, %d, %d", at(w.Series.Ready, 1), at(w.Series.Ready, 6), at(w.Series.Ready, 18))
	}
	if at(n.Series.Ready, 1) != 1 || at(n.Series.Ready, 6) != 3 || at(n.Series.Ready, 18) != 1 {
		t.Errorf("machines: %d, %d, %d", at(n.Series.Ready, 1), at(n.Series.Ready, 6), at(n.Series.Ready, 18))
	}
	drained := 0
	for i, paid := range w.Series.Paid {
		drained += paid - w.Series.Sized[i]
	}
	if drained < 6*10 {
		t.Errorf("six replicas leave, and drain for %d s in all", drained)
	}
	if f := w.Figures; f.ReadyP95 < 48 || f.ReadyP95 > 60 || f.SLOViolation <= 0 || f.SLOViolation > 5 || f.Flaps != 0 {
		t.Errorf("figures: %+v", f)
	}
	if len(w.Decisions) == 0 || w.Decisions[0].Why == "" || !w.Decisions[0].At.After(time.Unix(119, 0)) {
		t.Errorf("decisions: %+v", w.Decisions)
	}
}

// A simulation is a function of its input, and within bounds whatever the load.
func TestAnyLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		levels := rapid.SliceOfN(rapid.IntRange(0, 900), 1, 8).Draw(t, "levels")
		in := twoTier(func(at time.Duration) float64 { return float64(levels[int(at/(20*time.Second))%len(levels)]) })
		in.Length = 4 * time.Minute
		a, b := simulate.Run(in), simulate.Run(in)
		if !reflect.DeepEqual(a, b) {
			t.Fatal("two runs differ")
		}
		for i, g := range a.Groups {
			for s, n := range g.Series.Sized {
				if n < in.Rules[i].Min || n > in.Rules[i].Max || g.Series.Ready[s] > n || g.Series.Paid[s] < n {
					t.Fatalf("%s at %d s: %d ordered, %d ready, %d paid", g.Target, s, n, g.Series.Ready[s], g.Series.Paid[s])
				}
			}
			if f := g.Figures; math.IsNaN(f.CostRatio + f.SLOViolation + f.Jitter) {
				t.Fatalf("figures: %+v", f)
			}
		}
	})
}

// What the simulation decides is what Decide says of what the simulation saw.
func TestDecisionsAreThoseOfDecide(t *testing.T) {
	in := twoTier(step)
	in.Rules, in.Machines = in.Rules[:1], []engine.MachineGroup{{Address: node, Count: engine.Bounds{Min: 3, Max: 3}, Each: engine.Capacity{}}}
	res := simulate.Run(in)
	h := decide.History{Since: in.Model.Start.Add(-24 * time.Hour), Active: in.Model.Start}
	var samples []decide.Sample
	size, done := 2, 0
	for i := range int(in.Length / time.Second) {
		now := in.Model.Start.Add(time.Duration(i) * time.Second)
		samples = append(samples, decide.Sample{At: now, Value: step(time.Duration(i) * time.Second)})
		ready := size
		if i > 0 {
			ready = res.Groups[0].Series.Ready[i-1]
			if u := res.Groups[0].Series.Ready[i]; res.Groups[0].Series.Sized[i] >= size {
				ready = u
			}
		}
		o := decide.Observation{Ready: ready, Starting: size - ready, Samples: map[string][]decide.Sample{"rps": samples}, Boot: in.Model.Boot, Drain: in.Model.Drain}
		var d decide.Decision
		if d, h = decide.Decide(in.Rules[0], h, o, now); d.Act {
			if done >= len(res.Groups[0].Decisions) || !reflect.DeepEqual(res.Groups[0].Decisions[done], d) {
				t.Fatalf("decision %d differs: %+v", done, d)
			}
			done, size = done+1, d.To
		}
	}
	if done == 0 || done != len(res.Groups[0].Decisions) {
		t.Errorf("%d of %d decisions", done, len(res.Groups[0].Decisions))
	}
}

// A forecast with a season learns from the first jump what the others need.
func TestASeasonIsLearnt(t *testing.T) {
	daily := func(t time.Duration) float64 {
		if t%(30*time.Minute) >= 20*time.Minute {
			return 380
		}
		return 60
	}
	missed := func(season time.Duration) float64 {
		s := engine.DefaultsOf[engine.Scaling]()
		s.Target, s.Min, s.Max = web, 2, 8
		m := engine.DefaultsOf[engine.Metric]()
		m.Name, m.Target = "rps", 50
		s.Metrics = []engine.Metric{m}
		f := engine.DefaultsOf[engine.Forecast]()
		f.Season = engine.Duration(season)
		s.Forecast = &f
		in := twoTier(daily)
		in.Rules[0], _ = rule.Of("web", s)
		in.Length, in.Model.Boot = 2*time.Hour, 20*time.Second
		return simulate.Run(in).Groups[0].Figures.SLOViolation
	}
	if without, with := missed(0), missed(30*time.Minute); with > without/2 {
		t.Errorf("misses %.2f %% with a season, %.2f %% without", with, without)
	}
}

// A week of noise, a second at a time.
func BenchmarkWeek(b *testing.B) {
	in := twoTier(func(t time.Duration) float64 {
		x := t.Seconds()
		return max(0, 200+150*math.Sin(2*math.Pi*x/86400)+40*math.Sin(x*x))
	})
	in.Length = 7 * 24 * time.Hour
	for b.Loop() {
		simulate.Run(in)
	}
}

// Warm machines save the time of a start, and cost what they cost.
func TestWarmMachines(t *testing.T) {
	cold := simulate.Run(twoTier(step)).Groups
	in := twoTier(step)
	in.Machines[0].Warm, in.Model.MachineTake = 2, time.Second
	warm := simulate.Run(in).Groups
	if a, b := cold[0].Figures, warm[0].Figures; b.ReadyP95 > a.ReadyP95-30 || b.SLOViolation > a.SLOViolation/2 {
		t.Errorf("without warm machines %+v\nwith %+v", a, b)
	}
	if a, b := cold[1].Figures, warm[1].Figures; b.UnitSeconds < a.UnitSeconds+2*20*60 {
		t.Errorf("machines cost %g s, two more that are warm %g s", a.UnitSeconds, b.UnitSeconds)
	}
	in.Machines[0].Warm = 1 // of two that are needed one soon after the other
	one := simulate.Run(in).Groups[1]
	i := slices.Index(one.Series.Sized, 3)
	if soon, later := one.Series.Ready[i+2], one.Series.Ready[i+46]; soon != 2 || later != 3 {
		t.Errorf("%d machines are ready soon and %d after a start, want 2 and 3", soon, later)
	}
}
