package plan

import (
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/place"
	"github.com/zclconf/go-cty/cty"
)

// whole reports whether a restart may leave a function with no fewer replicas that serve.
func (b *obeyer) whole(function engine.Address) bool {
	policy, ok := b.Policies[function]
	return ok && b.Action == engine.Restart && policy.MaxUnavailable == 0
}

// successor replaces a replica by another that is what it was, which starts first.
func (b *obeyer) successor(ch *engine.Change) {
	declared := engine.Declared(ch.Prior.Value)
	filled := map[string]cty.Value{}
	for _, a := range engine.ValueSchema(engine.KindFunction).Attributes {
		if a.Computed && !a.Meta {
			filled[a.Name] = cty.UnknownVal(a.Type)
		}
	}
	for _, a := range []string{"machine", "machine_id"} {
		filled[a] = ch.Prior.Value.GetAttr(a)
	}
	ch.Action, ch.Gen, ch.CreateFirst = engine.Replace, b.last[ch.Address]+1, true
	ch.Why = "it is to restart, and max_unavailable = 0 lets none be missing meanwhile"
	ch.Planned = engine.With(declared, filled)
	ch.Config = engine.Pin{Function: ch.Address.Group(), Value: declared, Sensitive: ch.Prior.Sensitive}
	ch.Needs = nil
	for _, n := range ch.Prior.Needs {
		ch.Needs = append(ch.Needs, engine.Need{Target: n})
	}
}

// surges lets so many successors of a function start at once as max_surge allows and
// every machine concerned has room for, as in an update.
func (b *obeyer) surges() {
	moving := map[engine.Address][]*engine.Change{}
	var order []engine.Address
	for i := range b.changes {
		ch := &b.changes[i]
		if g := ch.Address.Group(); ch.Address.Kind == engine.KindFunction && ch.Action == engine.Replace {
			if moving[g] == nil {
				order = append(order, g)
			}
			moving[g] = append(moving[g], ch)
		}
	}
	if len(order) == 0 {
		return
	}
	there := b.occupied()
	b.placement = place.Compute(there)
	for _, p := range b.placement.Placings {
		b.machine[p.Replica] = p
	}
	for _, g := range order {
		d, window := &engine.Decl{Address: g, Roll: b.Policies[g]}, 1
		if b.reserveSurge(d, moving[g]) {
			window = b.surgeWindow(d, moving[g])
		} else {
			b.fault(g, nil, "No room to restart replicas", fmt.Sprintf(
				"Nothing was done: %s must restart without ever having fewer replicas (max_unavailable = 0), but a machine has no room for one beside those that it has. Raise the slots or the size of the machines, or allow max_unavailable = 1.", g))
		}
		for _, ch := range moving[g] {
			ch.Window = window
		}
		if len(there.Replicas[g]) == 1 { // more than one share it anyhow
			b.shares(moving[g][0], nil, "allow max_unavailable = 1")
		}
	}
}

// occupied is which replicas and machines are recorded, and what each takes or has: what
// the spec says otherwise is left for an apply.
func (b *obeyer) occupied() place.Input {
	in := place.Input{
		Replicas: map[engine.Address][]int{}, Have: map[engine.Address][]int{}, Was: map[engine.Address]engine.Address{},
		Old: map[engine.Address]engine.Address{}, Closed: b.suspendedMachines(),
	}
	functions, machines := map[engine.Address]*engine.FunctionGroup{}, map[engine.Address]*engine.MachineGroup{}
	for _, ch := range b.changes {
		g := ch.Address.Group()
		n, _ := ch.Address.Index()
		switch {
		case ch.Prior == nil:
		case machine(ch.Address):
			if machines[g] == nil {
				machines[g] = &engine.MachineGroup{Address: g, Each: capacityOf(*ch.Prior)}
			}
			in.Have[g] = append(in.Have[g], n)
			machines[g].Count = engine.Bounds{Min: len(in.Have[g]), Max: len(in.Have[g])}
		case ch.Address.Kind == engine.KindFunction:
			r := engine.MustDecode[engine.Replica](ch.Prior.Value)
			m, err := engine.ParseAddress(r.Machine)
			if err != nil {
				continue
			}
			if functions[g] == nil {
				functions[g] = &engine.FunctionGroup{Address: g, Each: engine.Capacity{CPU: r.CPU, Memory: r.Memory}}
			}
			if f := functions[g]; !slices.Contains(f.On, m.Group()) {
				f.On = append(f.On, m.Group())
			}
			in.Replicas[g], in.Was[ch.Address] = append(in.Replicas[g], n), m
			if _, others := engine.Current(b.objects[ch.Address]); len(others) > 0 { // kept for a rollback, say
				in.Old[ch.Address], _ = engine.ParseAddress(others[0].Attr("machine"))
			}
		}
	}
	for _, f := range functions {
		in.Functions = append(in.Functions, *f) // in any order: placement sorts them
	}
	for _, m := range machines {
		in.Machines = append(in.Machines, *m)
	}
	return in
}

// capacityOf is what a machine has, as it is recorded.
func capacityOf(o engine.Object) engine.Capacity {
	if o.Address.Kind == engine.KindHost {
		h := engine.MustDecode[engine.Host](o.Value)
		return engine.Capacity{CPU: h.CPUs, Memory: h.Memory, Slots: h.Slots}
	}
	v := engine.MustDecode[engine.VM](o.Value)
	return engine.Capacity{CPU: v.CPUs, Memory: v.Memory, Slots: v.Slots}
}
