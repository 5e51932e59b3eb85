package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// subject is one resource that the spec asks for.
type subject struct {
	addr     engine.Address
	provider string
	want     cty.Value // without marks; what the engine or a provider fills in is null
	hidden   []string
	needs    []engine.Need
	config   engine.Config
	timeouts engine.Timeouts
	source   engine.Range
	why      string // placement's word on a replica
	roll     engine.UpdatePolicy
	alike    *shared // what all instances of the block have, as they want the same; nil if they differ
}

// shared remembers the planned value of a block's new objects, since instances
// that do not differ in what is wanted have the same.
type shared struct{ planned cty.Value }

// declare plans the instances of one block.
func (c *computer) declare(d *engine.Decl, is evaluated) {
	c.diags = append(c.diags, locate(is.diags, d)...)
	if is.diags.HasErrors() {
		return
	}
	if !d.Home.IsZero() {
		c.homes[d.Address] = d.Home
	}
	if d.Address.Kind == engine.KindFunction {
		is.changes = c.instances(d, is)
	}
	for _, ch := range is.changes {
		c.add(ch)
	}
	if d.Address.Kind == engine.KindFunction {
		c.stock(d)
	}
	if d.Address.Kind == engine.KindVM {
		c.warm(d, is)
	}
}

// instances decides about all instances of a block. It only reads what is planned
// so far, and of that nothing but what the block needs, unless the block is a
// function: its replicas come after their machines, and bring deliveries along.
func (c *computer) instances(d *engine.Decl, is evaluated) []engine.Change {
	members := c.members[d.Address]
	if !d.Address.Kind.Sized() {
		members = []engine.Address{d.Address}
	}
	config, alike := c.configOf(d), &shared{}
	changes := make([]engine.Change, 0, len(members))
	for _, a := range members {
		if c.busy(a) {
			changes = append(changes, c.held(a, d.Source)...)
			continue
		}
		s := subject{
			addr: a, provider: d.Provider, want: is.want, hidden: is.hidden, needs: d.Needs,
			config: config, timeouts: d.Timeouts, source: d.Source, alike: alike,
		}
		if a.Kind == engine.KindFunction {
			if c.homeless(a) {
				continue
			}
			s.roll = d.Roll
			c.settle(&s)
		}
		changes = append(changes, c.decide(s))
	}
	return changes
}

func locate(ds engine.Diagnostics, d *engine.Decl) engine.Diagnostics {
	for i := range ds {
		ds[i].Address = d.Address
	}
	return ds
}

// settle puts a replica onto its machine.
func (c *computer) settle(s *subject) {
	c.home(*s)
	c.retain(s)
	p := c.machine[s.addr]
	c.onMachine(s, p.Machine)
	s.needs = slices.Clone(s.needs)
	if host := c.changeOf(p.Machine); host != nil {
		s.needs = c.deliver(s.needs, *host)
	}
	s.needs = append(s.needs, engine.Need{Target: p.Machine, Source: s.source})
	s.alike = nil
	if _, beside := c.seconds[s.addr]; !beside { // else it is replaced for what has changed
		s.why = p.Why
	}
}

// onMachine fills in what a replica has from its machine.
func (c *computer) onMachine(s *subject, machine engine.Address) {
	id, host := cty.UnknownVal(cty.String), c.changeOf(machine)
	if host != nil {
		s.provider = c.in.Desired.Runner(host.Provider)
		if v := host.Planned; v != cty.NilVal && v.Type().HasAttribute("id") {
			id = v.GetAttr("id")
		}
	}
	s.want = engine.With(s.want, map[string]cty.Value{"machine": cty.StringVal(machine.String()), "machine_id": id})
}

func (c *computer) changeOf(a engine.Address) *engine.Change {
	if i, ok := c.at[a]; ok {
		return &c.changes[i]
	}
	return nil
}

func (c *computer) add(ch engine.Change) {
	c.at[ch.Address] = len(c.changes)
	c.changes = append(c.changes, ch)
	v := ch.Planned
	if ch.Hold != "" && ch.Prior != nil {
		v = ch.Prior.Value
	}
	c.values[ch.Address] = engine.Mark(v, ch.Sensitive)
}

// decide compares what is wanted of one resource with what there is.
func (c *computer) decide(s subject) engine.Change {
	prior, leftovers := c.standing(s)
	ch := engine.Change{
		Address: s.addr, Phase: phaseOf(s), Provider: s.provider, Prior: prior, Sensitive: s.hidden, Leftovers: leftovers,
		Needs: s.needs, Config: s.config, Timeouts: s.timeouts, Source: s.source,
	}
	if prior == nil {
		ch.Action, ch.Gen = engine.Create, c.last[s.addr]+1
		ch.Planned = c.refined(s, nil, c.fresh(s)).Want
		if _, was := c.gone[s.addr]; was {
			ch.Why = nonEmpty(c.seen[s.addr].Why, "it is gone")
		}
		return ch
	}
	ch.Gen, ch.Still = prior.Gen, c.still(prior)
	if obs := c.in.Observed[prior.Key()]; obs.Presence == engine.Unreachable {
		ch.Planned, ch.Hold, ch.Away = prior.Value, nonEmpty(obs.Why, "it cannot be reached"), true
		return ch
	}
	if c.compare(&ch, s); prior.Lifecycle == engine.Suspended {
		rest(&ch)
	} else if m := c.frozen(prior); m != nil && ch.Action != engine.NoOp {
		ch.Hold = fmt.Sprintf("%s is suspended", m.Address)
		ch.Action, ch.Why, ch.Planned, ch.Changed, ch.ReplacePaths = engine.NoOp, "", prior.Value, nil, nil
	}
	reload(&ch, s.roll)
	if ch.Action == engine.Replace {
		ch.Gen = c.last[s.addr] + 1
		ch.Planned = c.refined(s, nil, c.fresh(s)).Want
		ch.CreateFirst = c.createFirst(ch)
	}
	return ch
}

// still reports whether an object is a machine that does not run now.
func (c *computer) still(o *engine.Object) bool {
	return o.Address.Kind.Carries() && c.in.Observed[o.Key()].Presence == engine.Down
}

// frozen returns the machine of another provider that an object is on, if it is suspended
// and stays so: nothing there can be changed or ended.
func (c *computer) frozen(o *engine.Object) *engine.Change {
	id := cmp.Or(o.HostID(), o.Attr("machine_id"))
	if id == "" || c.in.Observed[o.Key()].Presence != engine.Down {
		return nil
	}
	for i := range c.changes {
		if m := &c.changes[i]; m.Still && resting(m) && m.Prior.ID() == id && m.Prior.Provider != o.Provider {
			return m
		}
	}
	return nil
}

func phaseOf(s subject) engine.Phase {
	if s.addr.Kind == engine.KindTask {
		if p, ok := engine.ParsePhase(engine.Object{Value: s.want}.Attr("phase")); ok {
			return p
		}
	}
	return s.addr.Kind.Phase()
}

func nonEmpty(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// compare finds the action for a resource that exists, and its planned value.
func (c *computer) compare(ch *engine.Change, s subject) {
	prior := ch.Prior
	obs := c.in.Observed[prior.Key()]
	proposal := c.refined(s, prior, engine.Difference(s.addr.Kind, prior.Value, s.want))
	ch.Planned, ch.Changed, ch.ReplacePaths = proposal.Want, proposal.Changed, proposal.ReplacePaths
	ch.Broken = obs.Presence == engine.Down || prior.Lifecycle != engine.Ready
	switch {
	case prior.Lifecycle == engine.Tainted:
		ch.Action, ch.Why = engine.Replace, "it was left half-made"
	case c.replace[s.addr] || c.replace[s.addr.Group()]:
		ch.Action, ch.Why = engine.Replace, "asked for"
	case prior.Provider != s.provider:
		ch.Action, ch.Why = engine.Replace, fmt.Sprintf("its provider changes from %s to %s", prior.Provider, s.provider)
		ch.ReplacePaths = append(ch.ReplacePaths, "provider")
	case s.addr.Kind == engine.KindTask:
		c.compareTask(ch, s)
	case len(ch.ReplacePaths) > 0:
		ch.Action, ch.Why = engine.Replace, proposal.Why
		if slices.Contains(ch.ReplacePaths, "machine") {
			ch.Why = s.why
		}
	case len(ch.Changed) > 0:
		ch.Action = engine.Update
	case prior.Lifecycle == engine.Suspended: // that it does not work is known
	case obs.Presence == engine.Down:
		ch.Action, ch.Why = engine.Update, nonEmpty(obs.Why, "it does not work")
	case obs.Detour != "": // its rollout ends it, if there is one
		ch.Action, ch.Why = engine.Update, obs.Detour
	case prior.Lifecycle == engine.Unverified:
		ch.Action, ch.Why = engine.Update, "an interrupted run left it unverified"
	case !slices.Equal(prior.Sensitive, s.hidden) || !sameNeeds(prior.Needs, s.needs):
		ch.Action = engine.NoOp // the next change of it records them
	}
}

// sameNeeds reports whether an object records just the dependencies it has now.
func sameNeeds(recorded []engine.Address, needs []engine.Need) bool {
	return slices.Equal(recorded, engine.NeedsOf(needs))
}

// compareTask decides whether a task that has run runs again.
func (c *computer) compareTask(ch *engine.Change, s subject) {
	t := engine.MustDecode[engine.Task](s.want)
	again := func(a engine.Action, why string) {
		ch.Action, ch.Why = a, why
		ch.Planned = engine.With(ch.Planned, map[string]cty.Value{
			"output": cty.UnknownVal(cty.String), "run_id": cty.UnknownVal(cty.String),
		})
	}
	switch t.When {
	case "create":
		ch.Planned, ch.Changed = ch.Prior.Value, nil // it has run; what it says now does not matter
	case "always":
		again(engine.Run, "it runs at every apply")
	case "update":
		if len(ch.Changed) > 0 {
			again(engine.Update, "")
			return
		}
		for _, n := range s.needs {
			if why := c.whyChanges(n.Target); why != "" {
				again(engine.Update, why)
				return
			}
		}
	}
}

// whyChanges says that a group or a resource changes, "" if it does not.
func (c *computer) whyChanges(target engine.Address) string {
	addrs := []engine.Address{target}
	if members, ok := c.members[target]; ok {
		addrs = members
	}
	for _, a := range addrs {
		if ch := c.changeOf(a); ch != nil && ch.Action != engine.NoOp && ch.Action != engine.Run {
			return fmt.Sprintf("%s changes", a)
		}
	}
	return ""
}

// fresh is the proposal for a new object: what providers fill in is unknown.
func (c *computer) fresh(s subject) engine.Proposal {
	if s.alike != nil && s.alike.planned != cty.NilVal {
		return engine.Proposal{Want: s.alike.planned}
	}
	filled := map[string]cty.Value{}
	for _, a := range engine.ValueSchema(s.addr.Kind).Attributes {
		if a.Computed && !a.Meta && s.want.GetAttr(a.Name).IsNull() {
			filled[a.Name] = cty.UnknownVal(a.Type)
		}
	}
	planned := engine.With(s.want, filled)
	if s.alike != nil {
		s.alike.planned = planned
	}
	return engine.Proposal{Want: planned}
}

func (c *computer) refined(s subject, prior *engine.Object, p engine.Proposal) engine.Proposal {
	p.Address, p.Prior = s.addr, prior
	if c.in.Refine != nil {
		p = c.in.Refine(s.provider, p)
	}
	return p
}

// createFirst decides the order of a replacement: the new object first, unless
// something that it stands on cannot be there twice either.
func (c *computer) createFirst(ch engine.Change) bool {
	switch ch.Address.Kind {
	case engine.KindFrontend, engine.KindCluster, engine.KindScaling, engine.KindTask, engine.KindHost, engine.KindWarm:
		return false
	}
	if ch.Prior.Lifecycle == engine.Tainted {
		return false
	}
	for _, n := range ch.Needs {
		on := c.changeOf(n.Target)
		if ch.Address.Kind.StandsOn(n.Target.Kind) && on != nil && on.Action == engine.Replace && !on.CreateFirst {
			return false
		}
	}
	return true
}

// deletions plans the end of everything that is recorded and not wanted.
func (c *computer) deletions() {
	var rest []engine.Address
	for a := range c.objects {
		if _, wanted := c.at[a]; !wanted && !c.busy(a) {
			rest = append(rest, a)
		}
	}
	slices.SortFunc(rest, engine.Address.Compare)
	for _, a := range rest {
		cur, leftovers := engine.Current(c.objects[a])
		ch := engine.Change{
			Address: a, Action: engine.Delete, Phase: phaseOf(subject{addr: a, want: cur.Value}), Provider: cur.Provider,
			Prior: cur, Planned: cty.NilVal, Sensitive: cur.Sensitive, Leftovers: leftovers, Gen: cur.Gen, Why: c.whyDeleted(a), Still: c.still(cur),
		}
		if obs := c.seen[a]; obs.Presence == engine.Unreachable {
			ch.Action, ch.Planned, ch.Hold, ch.Away = engine.NoOp, cur.Value, nonEmpty(obs.Why, "it cannot be reached"), true
		}
		if m := c.frozen(cur); m != nil && !c.in.Destroy {
			ch.Action, ch.Planned, ch.Why, ch.Hold = engine.NoOp, cur.Value, "", fmt.Sprintf("%s is suspended", m.Address)
		}
		if a.Kind == engine.KindBackend && c.standsBy(*cur) {
			ch.Action, ch.Planned, ch.Why, ch.Hold = engine.NoOp, cur.Value, "", "its replica is suspended"
		}
		c.at[a] = len(c.changes)
		c.changes = append(c.changes, ch)
	}
}

func (c *computer) whyDeleted(a engine.Address) string {
	if c.in.Destroy {
		return ""
	}
	if a.Kind == engine.KindDelivery {
		image, machine := a.Consignment()
		return fmt.Sprintf("nothing on %s uses %s any more", machine, image)
	}
	if a.Kind == engine.KindWarm && len(c.members[a.Taker()]) > 0 {
		return fmt.Sprintf("%s keeps fewer machines ready now", a.Taker())
	}
	if a.Kind != engine.KindBackend && len(c.members[a.Group()]) > 0 {
		return fmt.Sprintf("%s has fewer instances now", a.Group())
	}
	if a.Kind == engine.KindBackend {
		frontend, replica := a.Membership()
		leaves := func(a engine.Address) bool {
			ch := c.changeOf(a)
			return ch == nil || ch.Action == engine.Delete
		}
		switch {
		case leaves(replica):
			return fmt.Sprintf("%s goes away", replica)
		case leaves(frontend):
			return fmt.Sprintf("%s goes away", frontend)
		case resting(c.changeOf(replica)):
			return "its replica is suspended"
		default:
			return fmt.Sprintf("%s does not balance to %s any more", frontend, replica.Group())
		}
	}
	return "it is not in the spec any more"
}

// Describe says in a few words why a change is made, for views and records.
func Describe(ch engine.Change) string {
	switch {
	case ch.Why != "":
		return ch.Why
	case len(ch.ReplacePaths) > 0:
		return strings.Join(ch.ReplacePaths, ", ") + " changed"
	case len(ch.Changed) > 0:
		return strings.Join(ch.Changed, ", ") + " changed"
	default:
		return ""
	}
}
