// Package simulate replays a load through the rules of a flow on a clock of its
// own: the same Decide, the same placement and fleet as live, on machines and
// replicas that take as long to come and go as they are said to. It is pure: the
// same input gives the same output.
//
// A replica serves Capacity requests a second; what is above finds no room. What
// the metrics say follows from that: rps is the load, cpu the share of the
// capacity that is in use, in_flight and latency those of an M/M/1 queue, queue
// what waits. A metric of one's own is the load itself. Start with Run.
package simulate

import (
	"math"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/runtime/elastic"
)

// Input is what is simulated.
type Input struct {
	Rules     []rule.Rule
	Machines  []engine.MachineGroup
	Functions []engine.FunctionGroup
	Load      func(time.Duration) float64 // requests a second, of every function with a rule; NaN where nobody could tell, and so no metric is measured
	Length    time.Duration
	Drains    map[engine.Address]time.Duration // by function: how long a replica takes to leave
	Model     Model
}

// Model says how what is simulated behaves.
type Model struct {
	Capacity     float64       // requests a second that a replica serves; 0 means what its target is 70 % of
	Service      time.Duration // how long one request takes when nothing waits
	Boot         time.Duration // from a replica's order, on a machine that works, to ready
	Drain        time.Duration // how long a replica takes to leave; 0 means as its function says
	MachineBoot  time.Duration
	MachineTake  time.Duration // from the order of a machine that a warm one becomes to ready
	MachineDrain time.Duration
	Start        time.Time // what the clock says at first, for schedules
}

// Step is the time between two readings.
const Step = time.Second

// Result is how it went.
type Result struct {
	Groups []Group // functions with rules, then machines with rules, in the order of the rules
}

// Group is one function or group of machines that scaled.
type Group struct {
	Target    engine.Address
	Capacity  float64 // of one replica; 0 for machines
	Series    elastic.Series
	Figures   elastic.Figures
	Decisions []decide.Decision // those that changed the size
}

// run is a simulation under way.
type run struct {
	in        Input
	steps     int
	functions []*function // with rules
	others    map[engine.Address]engine.FunctionGroup
	homes     map[engine.Address]engine.Address // of the replicas of others: their machines
	pools     []*pool                           // groups of machines, with rules or without
	dirty     bool                              // something must be placed
	needs     map[string]map[engine.Address]int
}

// Run simulates.
func Run(in Input) Result {
	r := newRun(in)
	load := 0.0
	for i := range r.steps {
		now := r.in.Model.Start.Add(time.Duration(i) * Step)
		asked := in.Load(time.Duration(i) * Step)
		measured := !math.IsNaN(asked)
		if measured {
			load = asked // else what came is taken to be as before
		}
		for _, f := range r.functions {
			f.serve(i, now, load, measured)
			if i >= f.due && f.decide(i, now, in.Model.Boot, func() int { return r.room(f) }) {
				r.changed()
				for _, p := range r.pools { // the machines follow at once
					p.due = i
				}
			}
		}
		r.machines(i, now)
		for _, f := range r.functions {
			f.record(i, load)
		}
		r.recordMachines(i)
	}
	return r.result()
}

func newRun(in Input) *run {
	r := &run{in: in, steps: int(in.Length / Step), others: map[engine.Address]engine.FunctionGroup{}, homes: map[engine.Address]engine.Address{}, needs: map[string]map[engine.Address]int{}}
	byTarget := map[engine.Address]rule.Rule{}
	for _, x := range in.Rules {
		byTarget[x.Target] = x
	}
	first := 0.0
	if in.Load != nil && !math.IsNaN(in.Load(0)) {
		first = in.Load(0)
	}
	groups := map[engine.Address]engine.FunctionGroup{}
	for _, g := range in.Functions {
		groups[g.Address] = g
		if _, ok := byTarget[g.Address]; !ok {
			r.others[g.Address] = g
		}
	}
	for _, x := range in.Rules { // in the order in which they are evaluated
		if g, ok := groups[x.Target]; ok {
			r.functions = append(r.functions, newFunction(x, g, in, first))
		}
	}
	for _, g := range in.Machines {
		p := &pool{group: g, warm: make([]int, g.Warm)}
		if x, ok := byTarget[g.Address]; ok {
			p.rule, p.ruled, p.stale, p.every = x, true, true, steps(x.Every)
			p.history = watched(x, in.Model.Start)
		}
		r.pools = append(r.pools, p)
	}
	r.settle()
	return r
}

// watched is the history of a rule that has been there for long, and measured all the
// while.
func watched(x rule.Rule, now time.Time) decide.History {
	h := decide.History{Since: now.Add(-24 * time.Hour), Active: now}
	for _, m := range x.Metrics {
		h.Metrics = append(h.Metrics, decide.Seen{Name: m.Name, Last: now})
	}
	return h
}

func steps(d time.Duration) int { return max(1, int(d/Step)) }

// settle makes the machines that are needed at first, and places what is there.
func (r *run) settle() {
	placed := place.Compute(r.input())
	for _, p := range r.pools {
		for _, n := range placed.Machines[p.group.Address] {
			p.machines = append(p.machines, machine{n: n})
		}
	}
	for _, pl := range placed.Placings {
		if u := r.unit(pl.Replica); u != nil {
			u.machine, u.ready = pl.Machine, 0
		} else {
			r.homes[pl.Replica] = pl.Machine
		}
	}
}

func (r *run) unit(a engine.Address) *unit {
	for _, f := range r.functions {
		if f.group.Address == a.Group() {
			n, _ := a.Index()
			return f.unit(n)
		}
	}
	return nil
}

// Most is the greatest load that every function with a rule can serve, at its
// greatest size.
func Most(in Input) float64 {
	most := math.Inf(1)
	for _, f := range newRun(in).functions {
		most = min(most, float64(f.rule.Max)*f.capacity)
	}
	return most
}

func (r *run) result() Result {
	var res Result
	m := r.in.Model
	finish := func(s *elastic.Series, boot, drain time.Duration, most int) {
		s.Step, s.Boot, s.Over, s.Max, s.Warm = Step.Seconds(), boot.Seconds(), (boot + drain).Seconds(), most, true
	}
	for _, f := range r.functions {
		finish(&f.series, m.Boot, f.drain, f.rule.Max)
		res.Groups = append(res.Groups, Group{f.group.Address, f.capacity, f.series, elastic.Measure(f.series), f.decisions})
	}
	for _, p := range r.pools {
		if p.ruled {
			finish(&p.series, m.MachineBoot, m.MachineDrain, p.rule.Max)
			res.Groups = append(res.Groups, Group{p.group.Address, 0, p.series, elastic.Measure(p.series), p.decisions})
		}
	}
	return res
}
