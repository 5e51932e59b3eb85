package plan

import (
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// resting reports whether a change leaves its object suspended.
func resting(ch *engine.Change) bool {
	return ch.Action == engine.NoOp && ch.Prior != nil && ch.Prior.Lifecycle == engine.Suspended
}

// rest leaves a suspended object as it is, unless it was asked to be replaced.
func rest(ch *engine.Change) {
	if ch.Action == engine.Replace && ch.Why == "asked for" {
		return
	}
	ch.Hold = "it is suspended"
	if len(ch.Changed) > 0 {
		ch.Hold = fmt.Sprintf("it is suspended, although %s changed: resume it, and apply again", enumerated(ch.Changed))
	}
	ch.Action, ch.Why, ch.Planned, ch.Changed, ch.ReplacePaths = engine.NoOp, "", ch.Prior.Value, nil, nil
}

func enumerated(names []string) string {
	text := names[0]
	for _, n := range names[1:] {
		text += ", " + n
	}
	return text
}

// suspendedMachines lists the machines that take no further replica.
func (c *computer) suspendedMachines() map[engine.Address]string {
	closed := map[engine.Address]string{}
	for a, objects := range c.objects {
		if cur, _ := engine.Current(objects); machine(a) && cur.Lifecycle == engine.Suspended {
			closed[a] = "it is suspended"
		}
	}
	return closed
}

func machine(a engine.Address) bool { return a.Kind == engine.KindVM || a.Kind == engine.KindHost }

// Order is what an operator orders of objects that stay what they are.
type Order struct {
	Action   engine.Action    // one that is ordered
	Snapshot string           // the name of the one that it is about
	Targets  []engine.Address // replicas and machines, their groups or their blocks
	Recorded engine.Snapshot
	Observed map[engine.Key]engine.Observation
	Policies map[engine.Address]engine.UpdatePolicy // how a function's replicas may be replaced, and so restarted; one after the other, if missing
	// Able reports whether a provider can do it to objects of a kind.
	Able func(provider string, k engine.Kind) bool
}

// Obey returns the plan that carries out an order. A replica leaves its frontends
// before it is suspended or restarted, and joins them when it works again; a
// machine stands for everything that runs on it. With errors among the findings
// the plan must not be applied.
func Obey(o Order) (engine.Plan, engine.Diagnostics) {
	b := &obeyer{Order: o, computer: newComputer(Input{Recorded: o.Recorded, Observed: o.Observed})}
	b.standing()
	for _, a := range b.pick() {
		if machine(a) {
			b.machineOrder(b.changeOf(a))
		} else {
			b.replicaOrder(b.changeOf(a))
		}
	}
	b.surges()
	b.missing()
	p := b.finish()
	p.Ordered = true
	return p, b.diags
}

// obeyer is a plan for an order in the making.
type obeyer struct {
	Order
	*computer
}

// standing puts everything that there is into the plan, as it is.
func (b *obeyer) standing() {
	var all []engine.Address
	for a := range b.objects {
		all = append(all, a)
	}
	slices.SortFunc(all, engine.Address.Compare)
	for _, a := range all {
		cur, _ := engine.Current(b.objects[a])
		ch := engine.Change{
			Address: a, Phase: phaseOf(subject{addr: a, want: cur.Value}), Provider: cur.Provider, Prior: cur,
			Planned: cur.Value, Sensitive: cur.Sensitive, Gen: cur.Gen,
		}
		for _, n := range cur.Needs {
			if a.Kind.StandsOn(n.Kind) {
				ch.Needs = append(ch.Needs, engine.Need{Target: n})
			}
		}
		b.add(ch)
	}
}

// pick lists the replicas and machines that are meant, sorted.
func (b *obeyer) pick() []engine.Address {
	machines, replicas := map[string]bool{}, map[engine.Address]bool{}
	var picked []engine.Address
	for _, ch := range b.changes {
		if meant := slices.ContainsFunc(b.Targets, func(t engine.Address) bool { return covers(t, ch.Address) }); !meant {
			continue
		}
		switch {
		case machine(ch.Address):
			machines[ch.Address.String()] = true
			picked = append(picked, ch.Address)
		case ch.Address.Kind == engine.KindFunction:
			replicas[ch.Address] = true
		}
	}
	for _, ch := range b.changes {
		if !b.Action.Snapshots() && ch.Address.Kind == engine.KindFunction && (replicas[ch.Address] || machines[ch.Prior.Attr("machine")]) {
			picked = append(picked, ch.Address)
		}
	}
	return picked
}

// missing says which of those meant are not there any more.
func (b *obeyer) missing() {
	for a := range b.gone {
		if slices.ContainsFunc(b.Targets, func(t engine.Address) bool { return covers(t, a) }) {
			b.diags = append(b.diags, engine.Diagnostic{
				Severity: engine.Warning, Summary: "Object is gone", Address: a,
				Detail: fmt.Sprintf("There is no %s to %s: %s. An apply makes it again.", a, b.Action, nonEmpty(b.seen[a].Why, "it is gone")),
			})
		}
	}
}

// machineOrder suspends or resumes a machine itself: for real if its provider can,
// and in any case for placement. A restart is of what runs on it.
func (b *obeyer) machineOrder(ch *engine.Change) {
	if b.Action.Snapshots() {
		b.snapshotOrder(ch)
		return
	}
	state := ch.Prior.Lifecycle
	moves := b.Action == engine.Suspend && state != engine.Suspended ||
		b.Action == engine.Resume && (state == engine.Suspended || state == engine.Unverified)
	if moves && b.reachable(ch) {
		ch.Action, ch.Noted = b.Action, !b.Able(ch.Provider, ch.Address.Kind)
	}
}

// snapshotOrder takes, deletes or goes back to a snapshot of a machine. What is to go
// back must be suspended: so its replicas have left their frontends.
func (b *obeyer) snapshotOrder(ch *engine.Change) {
	switch state := ch.Prior.Lifecycle; {
	case !b.Able(ch.Provider, ch.Address.Kind):
		b.refuse(ch, "Not possible with this provider", fmt.Sprintf("its provider %s has no snapshots", ch.Provider))
	case state == engine.Tainted:
		b.refuse(ch, "Machine is half-made", "it was left half-made. An apply replaces it")
	case b.Action == engine.Revert && state != engine.Suspended && state != engine.Unverified:
		b.refuse(ch, "Machine is not suspended", fmt.Sprintf("it works, and what runs on it gets requests. Suspend it first, with 'flowctl suspend %s', and let it go on afterwards, with 'flowctl resume %[1]s'", ch.Address))
	case b.reachable(ch):
		ch.Action, ch.Snapshot = b.Action, b.Snapshot
	}
}

func (b *obeyer) replicaOrder(ch *engine.Change) {
	state := ch.Prior.Lifecycle
	switch {
	case b.Action == engine.Suspend && state == engine.Suspended:
		return
	case b.Action == engine.Resume && state == engine.Ready:
		b.memberships(*ch) // those that an interrupted resume has left out
		return
	case b.Action == engine.Restart && state == engine.Suspended:
		b.refuse(ch, "Replica is suspended", "it is suspended. Resume it first: that does not lose what it holds in memory, which a restart does")
		return
	case state == engine.Tainted:
		b.refuse(ch, "Replica is half-made", "it was left half-made. An apply replaces it")
		return
	case b.whole(ch.Address.Group()):
		if b.reachable(ch) {
			b.successor(ch)
			b.memberships(*ch)
		}
		return
	case !b.Able(ch.Provider, ch.Address.Kind):
		b.refuse(ch, "Not possible with this provider", fmt.Sprintf("its provider %s cannot %s replicas", ch.Provider, b.Action))
		return
	case !b.reachable(ch):
		return
	}
	ch.Action, ch.Gen, ch.Window = b.Action, ch.Prior.Gen, max(1, b.Policies[ch.Address.Group()].MaxUnavailable)
	replica := *ch
	b.memberships(replica)
}

func (b *obeyer) refuse(ch *engine.Change, summary, why string) {
	b.fault(ch.Address, nil, summary, fmt.Sprintf("Nothing was done to %s: %s.", ch.Address, why))
}

// reachable refuses an order to what nobody could look at.
func (b *obeyer) reachable(ch *engine.Change) bool {
	obs := b.seen[ch.Address]
	if obs.Presence == engine.Unreachable {
		b.refuse(ch, "Object not reachable", nonEmpty(obs.Why, "it cannot be reached"))
		return false
	}
	return true
}

// memberships lets a replica leave its frontends, or join them, or both.
func (b *obeyer) memberships(replica engine.Change) {
	for _, front := range slices.Clone(b.changes) {
		if front.Address.Kind != engine.KindFrontend || !slices.Contains(engine.MustDecode[engine.Frontend](front.Planned).Targets(), replica.Address.Group()) {
			continue
		}
		want := b.backend(front, replica)
		there := b.changeOf(want.addr)
		kept := there != nil && there.Prior != nil && b.ofKept(there.Prior) // of an old replica: this one has none
		if kept && b.Action == engine.Suspend {
			continue
		}
		if there == nil && replica.Action != engine.NoOp { // it may come back elsewhere
			want.want = engine.With(want.want, map[string]cty.Value{"target": cty.UnknownVal(cty.String)})
		}
		ch := b.decide(want)
		ch.Leftovers = nil // an order ends nothing: it may be kept for a rollback
		if kept {
			ch.Action, ch.Prior, ch.Planned, ch.Why = engine.Create, nil, want.want, ""
			ch.Gen, ch.Changed, ch.ReplacePaths, ch.Hold = b.last[want.addr]+1, nil, nil, ""
		} else if b.seen[want.addr].Detour != "" { // a rollout has not let it in yet, and an order does not
			if ch.Standby = true; replica.Action == engine.NoOp {
				continue
			}
		}
		switch {
		case b.Action == engine.Suspend && there == nil:
			continue
		case b.Action == engine.Suspend:
			ch.Action, ch.Planned, ch.Why = engine.Delete, cty.NilVal, "its replica is suspended"
		case replica.Action == engine.Restart && there != nil:
			b.rejoin(&ch, &front, &replica)
		}
		if there == nil {
			b.add(ch)
		} else {
			*there = ch
		}
	}
}
