package simulate

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/runtime/elastic"
	"github.com/flowctl/flowctl/runtime/fleet"
)

// machine is one machine of a pool.
type machine struct {
	n     int
	ready int // from which step on
}

// pool is one group of machines.
type pool struct {
	group     engine.MachineGroup
	rule      rule.Rule
	ruled     bool
	every     int
	due       int       // in which step it is evaluated next
	machines  []machine // by number
	leaving   []int     // the steps at which those that leave are gone
	warm      []int     // from which steps on those are ready that are kept warm
	fleet     fleet.Fleet
	stale     bool // fleet is of another moment
	history   decide.History
	series    elastic.Series
	decisions []decide.Decision
}

func (p *pool) numbers() []int {
	all := make([]int, len(p.machines))
	for i, m := range p.machines {
		all[i] = m.n
	}
	return all
}

func (p *pool) readyAt(i int) int {
	n := 0
	for _, m := range p.machines {
		if m.ready <= i {
			n++
		}
	}
	return n
}

// input is what placement is told at this moment.
func (r *run) input() place.Input {
	in := place.Input{
		Machines: r.in.Machines, Functions: r.in.Functions,
		Replicas: map[engine.Address][]int{}, Have: map[engine.Address][]int{}, Was: maps.Clone(r.homes),
	}
	for a, g := range r.others {
		in.Replicas[a] = g.Replicas.Indexes(nil)
	}
	for _, f := range r.functions {
		for _, u := range f.units {
			in.Replicas[f.group.Address] = append(in.Replicas[f.group.Address], u.n)
			if !u.machine.IsZero() {
				in.Was[f.group.Address.At(u.n)] = u.machine
			}
		}
	}
	for _, p := range r.pools {
		in.Have[p.group.Address] = p.numbers()
	}
	return in
}

// machines places what has no place, and lets the machines follow.
func (r *run) machines(i int, now time.Time) {
	r.place(i)
	for _, p := range r.pools {
		if !p.ruled || i < p.due {
			continue
		}
		p.due = i + p.every
		if p.stale {
			p.fleet, p.stale = fleet.Of(r.input(), p.group.Address), false
		}
		r.follow(p, i, now)
	}
	r.place(i)
}

// changed notes that something must be placed, and demands worked out anew.
func (r *run) changed() {
	r.dirty = true
	for _, p := range r.pools {
		p.stale = true
	}
}

// room is how many replicas of a function fit onto the machines at their largest,
// beside the others.
func (r *run) room(f *function) int {
	if len(f.group.On) == 0 {
		return 0
	}
	in := r.input()
	in.Replicas[f.group.Address] = engine.Bounds{Min: f.rule.Max, Max: f.rule.Max}.Indexes(in.Replicas[f.group.Address])
	return fleet.Room(in.Around(f.group.On[0]), f.group.Address)
}

// place puts what has no place on the machines that there are, and on those that
// start.
func (r *run) place(i int) {
	if !r.dirty {
		return
	}
	r.dirty = false
	in := r.input()
	in.Machines = slices.Clone(in.Machines)
	for j := range in.Machines {
		n := len(in.Have[in.Machines[j].Address])
		in.Machines[j].Count = engine.Bounds{Min: n, Max: n, Autoscaled: true}
		in.Machines[j].Headroom = 0
	}
	for _, pl := range place.Compute(in).Placings {
		u := r.unit(pl.Replica)
		if u == nil {
			r.homes[pl.Replica] = pl.Machine
		}
		if u == nil || !u.machine.IsZero() {
			continue
		}
		u.machine = pl.Machine
		u.ready = max(i, r.bootedAt(pl.Machine)) + int(r.in.Model.Boot/Step)
	}
}

func (r *run) bootedAt(a engine.Address) int {
	for _, p := range r.pools {
		for _, m := range p.machines {
			if p.group.Address == a || p.group.Address.At(m.n) == a {
				return m.ready
			}
		}
	}
	return 0
}

// follow evaluates the rule of a pool.
func (r *run) follow(p *pool, i int, now time.Time) {
	p.leaving = slices.DeleteFunc(p.leaving, func(end int) bool { return end <= i })
	ready := p.readyAt(i)
	o := decide.Observation{Ready: ready, Starting: len(p.machines) - ready, Demand: p.fleet.Need, Boot: r.in.Model.MachineBoot, Drain: r.in.Model.MachineDrain}
	d, h := decide.Decide(p.rule, p.history, o, now)
	switch {
	case d.Act && d.To > d.From:
		p.grow(d.To-d.From, i, r.in.Model)
	case d.Act:
		if to := d.From - r.empty(p, d.From-d.To, i, now); to > d.To {
			d, h = d.Only(h, to, fleet.OverBudget)
		}
	}
	if p.history = h; d.Act {
		p.decisions = append(p.decisions, d)
		r.changed()
	}
}

func (p *pool) grow(n, i int, m Model) {
	have := p.numbers()
	for _, number := range engine.Grow(have, n) {
		if !slices.Contains(have, number) {
			p.machines = append(p.machines, machine{number, p.start(i, m)})
		}
	}
	slices.SortFunc(p.machines, func(a, b machine) int { return a.n - b.n })
}

// start is from which step on a machine is ready that is to be made at step i: soon,
// if there is a warm one, in place of which another starts then.
func (p *pool) start(i int, m Model) int {
	for j, ready := range p.warm {
		if ready <= i {
			p.warm[j] = i + steps(m.MachineTake) + steps(m.MachineBoot)
			return i + steps(m.MachineTake)
		}
	}
	return i + steps(m.MachineBoot)
}

// empty takes machines away, as many as the budgets allow, and returns how many went.
func (r *run) empty(p *pool, n, i int, now time.Time) int {
	m := r.in.Model
	n = min(n, len(p.fleet.Spare), fleet.Allowed(p.rule.Budgets, now, len(p.machines)+len(p.leaving), len(p.leaving), 0))
	for _, s := range p.fleet.Spare[:n] {
		gone := i + steps(m.MachineDrain)
		for _, move := range s.Moves {
			u := r.unit(move.Replica)
			if u == nil {
				r.homes[move.Replica] = move.Machine
				gone = max(gone, i+steps(m.Boot+r.in.Drains[move.Replica.Group()])+steps(m.MachineDrain))
				continue
			}
			// Its replacement is ready before it drains, so both are paid for a while.
			u.machine = move.Machine
			for _, f := range r.functions {
				if f.group.Address == move.Replica.Group() {
					over := i + steps(m.Boot+f.drain)
					f.leaving = append(f.leaving, over)
					gone = max(gone, over+steps(m.MachineDrain))
				}
			}
		}
		p.leaving = append(p.leaving, gone)
		p.machines = slices.DeleteFunc(p.machines, func(x machine) bool { return p.group.Address.At(x.n) == s.Machine })
	}
	return n
}

// recordMachines notes what machines were needed and what there was.
func (r *run) recordMachines(i int) {
	var need map[engine.Address]int
	for _, p := range r.pools {
		if !p.ruled {
			continue
		}
		if need == nil {
			need = r.needed(i)
		}
		p.leaving = slices.DeleteFunc(p.leaving, func(end int) bool { return end <= i })
		p.series.Need = append(p.series.Need, need[p.group.Address])
		p.series.Ready = append(p.series.Ready, p.readyAt(i))
		p.series.Sized = append(p.series.Sized, len(p.machines))
		p.series.Paid = append(p.series.Paid, len(p.machines)+len(p.leaving)+len(p.warm))
	}
}

// needed is how many machines would be enough for the replicas that are needed,
// placed anew, with headroom.
func (r *run) needed(i int) map[engine.Address]int {
	key := ""
	for _, f := range r.functions {
		key += strconv.Itoa(f.series.Need[i]) + " "
	}
	if n, ok := r.needs[key]; ok {
		return n
	}
	in := r.input()
	in.Replicas = maps.Clone(in.Replicas)
	for _, f := range r.functions {
		n := f.group.Replicas.Clamp(f.series.Need[i])
		in.Replicas[f.group.Address] = engine.Bounds{Min: n, Max: n}.Indexes(nil)
	}
	in.Have, in.Was = nil, nil
	counts := map[engine.Address]int{}
	for a, m := range place.Compute(in).Machines {
		counts[a] = len(m)
	}
	r.needs[key] = counts
	return counts
}
