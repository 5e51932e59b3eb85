package simulate

import (
	"math"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/runtime/elastic"
)

// never is the step at which what has no place is ready.
const never = math.MaxInt

// unit is one replica.
type unit struct {
	n       int
	ordered int            // in which step
	ready   int            // from which step on; never while it has no place
	machine engine.Address // zero while it has none
}

// function is one function with a rule.
type function struct {
	rule     rule.Rule
	group    engine.FunctionGroup
	capacity float64
	service  float64 // seconds
	drain    time.Duration
	every    int
	due      int           // in which step it is evaluated next
	keep     time.Duration // how long samples may be needed

	units     []unit // by number
	leaving   []int  // the steps at which those that drain are gone
	queue     float64
	served    float64 // in this step, of what came in it
	samples   map[string][]decide.Sample
	history   decide.History
	series    elastic.Series
	decisions []decide.Decision
}

// target is the share of its capacity that a replica should use, where only its
// target is known.
const target = 0.7

func newFunction(x rule.Rule, g engine.FunctionGroup, in Input, load float64) *function {
	m := in.Model
	f := &function{rule: x, group: g, capacity: m.Capacity, service: m.Service.Seconds(), every: steps(x.Every), history: watched(x, m.Start), samples: map[string][]decide.Sample{}}
	if f.drain = m.Drain; f.drain == 0 {
		f.drain = in.Drains[g.Address]
	}
	if f.capacity == 0 {
		f.capacity = capacityOf(x, f.service)
	}
	f.keep = 2 * x.Every
	for _, met := range x.Metrics {
		f.keep = max(f.keep, met.Offset+met.Window+2*x.Every, met.Offset+met.Burst.Window.Std())
	}
	for _, s := range x.Steps {
		f.keep = max(f.keep, s.For.Std()+2*x.Every)
	}
	if x.Ahead != nil {
		f.keep = max(f.keep, x.Ahead.Over, x.Ahead.Season+2*time.Minute)
	}
	first := g.Replicas.Clamp(f.need(load / target))
	for n := range first {
		f.units = append(f.units, unit{n: n, ready: never})
	}
	return f
}

// capacityOf is what a replica can serve if its target is a good one.
func capacityOf(x rule.Rule, service float64) float64 {
	for _, m := range x.Metrics {
		if m.Target == 0 || m.Average {
			continue
		}
		if m.Name == "in_flight" && service > 0 {
			return m.Target / service / target
		}
		return m.Target / target
	}
	return 100
}

// need is how many replicas would be enough for a load.
func (f *function) need(load float64) int { return int(math.Ceil(load/f.capacity - 1e-9)) }

func (f *function) unit(n int) *unit {
	for i := range f.units {
		if f.units[i].n == n {
			return &f.units[i]
		}
	}
	return nil
}

func (f *function) readyAt(i int) int {
	n := 0
	for _, u := range f.units {
		if u.ready <= i {
			n++
		}
	}
	return n
}

// serve lets one second of load arrive, and measures it, if that can be.
func (f *function) serve(i int, now time.Time, load float64, measured bool) {
	room := float64(f.readyAt(i)) * f.capacity
	f.served = min(load, room)
	if f.measures("queue") {
		f.queue = max(0, f.queue+load-room)
	}
	use := 1.0
	if room > 0 {
		use = min(1, (load+f.queue)/room)
	}
	for _, m := range f.rule.Metrics {
		v, ok := f.value(m, load, room, use)
		if !ok || !measured {
			continue
		}
		all := f.samples[m.Name]
		if len(all) > 64 && now.Sub(all[len(all)/2].At) > f.keep {
			all = slices.Clone(all[len(all)/2:])
		}
		x := decide.Sample{At: now, Value: v}
		if m.Name == "cpu" {
			x.Units = f.readyAt(i)
		}
		f.samples[m.Name] = append(all, x)
	}
}

func (f *function) measures(name string) bool {
	return slices.ContainsFunc(f.rule.Metrics, func(m rule.Metric) bool { return m.Name == name })
}

// crowd is the most that a queue of the M/M/1 kind is let grow: at full use it
// would be without end.
const crowd = 20

// value is what a metric says; ok is false for what cannot be simulated.
func (f *function) value(m rule.Metric, load, room, use float64) (v float64, ok bool) {
	factor := min(crowd, 1/max(1-use, 1e-9)) // M/M/1: time in the system to that of the service
	switch m.Name {
	case "cpu":
		if m.Share {
			return use, room > 0
		}
		return use * f.group.Each.CPU, room > 0 && f.group.Each.CPU > 0
	case "memory":
		return 0, false
	case "latency":
		return 1000 * f.service * factor, f.served > 0
	case "error_rate":
		return (load - f.served) / max(load, 1e-9), true
	case "in_flight":
		return min(load, max(room, f.capacity)) * f.service * factor, true
	case "queue":
		return f.queue + f.served*f.service, true
	default:
		return load, true
	}
}

// decide evaluates the rule and changes the size; room says how many replicas fit. It
// reports whether something must be placed.
func (f *function) decide(i int, now time.Time, boot time.Duration, room func() int) bool {
	f.due = i + f.every
	ready := f.readyAt(i)
	o := decide.Observation{Ready: ready, Starting: len(f.units) - ready, Samples: f.samples, Boot: boot, Drain: f.drain}
	var d decide.Decision
	if d, f.history = decide.Within(f.rule, f.history, o, now, room); !d.Act {
		return false
	}
	f.decisions = append(f.decisions, d)
	if d.To > d.From {
		f.grow(d.To-d.From, i)
	} else {
		f.shrink(d.From-d.To, i, steps(f.drain))
	}
	return true
}

func (f *function) grow(n, i int) {
	var have []int
	for _, u := range f.units {
		have = append(have, u.n)
	}
	for _, number := range engine.Grow(have, n) {
		if f.unit(number) == nil {
			f.units = append(f.units, unit{n: number, ordered: i, ready: never})
		}
	}
	slices.SortFunc(f.units, func(a, b unit) int { return a.n - b.n })
}

func (f *function) shrink(n, i, drain int) {
	var all []decide.Unit
	for _, u := range f.units {
		all = append(all, decide.Unit{N: u.n, Ready: u.ready <= i, Started: time.Unix(int64(u.ordered), 0)})
	}
	gone := decide.Victims(f.rule, all, n)
	f.units = slices.DeleteFunc(f.units, func(u unit) bool {
		if !slices.Contains(gone, u.n) {
			return false
		}
		if u.ready <= i {
			f.leaving = append(f.leaving, i+drain)
		}
		return true
	})
}

// record notes what was needed and what there was.
func (f *function) record(i int, load float64) {
	f.leaving = slices.DeleteFunc(f.leaving, func(end int) bool { return end <= i })
	s := &f.series
	s.Need = append(s.Need, f.need(load))
	s.Ready = append(s.Ready, f.readyAt(i))
	s.Sized = append(s.Sized, len(f.units))
	s.Paid = append(s.Paid, len(f.units)+len(f.leaving))
	s.Load = append(s.Load, load)
	s.Served = append(s.Served, f.served)
}
