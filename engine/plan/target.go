package plan

import (
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// narrow keeps of a plan only what concerns the targets: they, what they need,
// the backends of replicas, the clusters of machines and the warm machines of groups among them; of a plan to destroy, they and what
// needs them. The rest becomes a no-op that says so.
func narrow(p *engine.Plan, targets []engine.Address, destroy bool) {
	keep := map[engine.Address]bool{}
	links := upward(*p)
	if destroy {
		links = downward(*p)
	}
	var queue []engine.Address
	for _, c := range p.Changes {
		if slices.ContainsFunc(targets, func(t engine.Address) bool {
			return covers(t, c.Address) || c.Address.Kind == engine.KindWarm && covers(t, c.Address.Taker())
		}) {
			queue = append(queue, c.Address)
		}
	}
	for len(queue) > 0 {
		a := queue[0]
		queue = queue[1:]
		if keep[a] {
			continue
		}
		keep[a] = true
		queue = append(queue, links[a]...)
	}
	for i := range p.Changes {
		if c := &p.Changes[i]; c.From != nil && !keep[c.Address] { // the warm one stays what it is
			keep[c.From.Address], c.From = false, nil
		}
	}
	for i := range p.Changes {
		c := &p.Changes[i]
		if keep[c.Address] || !destroy && (c.Address.Kind == engine.KindBackend && backendKept(*p, *c, keep) || c.Address.Kind == engine.KindCluster && clusterKept(*p, *c, keep)) {
			continue
		}
		if c.Action != engine.NoOp || len(c.Leftovers) > 0 {
			c.Action, c.Leftovers, c.Hold = engine.NoOp, nil, "not targeted"
		}
		if c.Away {
			c.Hold, c.Away = "not targeted", false
		}
	}
	p.Outputs = nil
	narrowRollouts(p)
}

// narrowRollouts gives up the rollouts of which not all is targeted: what is left
// of them is done one replica after the other.
func narrowRollouts(p *engine.Plan) {
	p.Rollouts = slices.DeleteFunc(p.Rollouts, func(r engine.Rollout) bool {
		all := slices.Clone(r.Replicas)
		for _, f := range r.Fronts {
			all = append(all, f.New...)
		}
		if !slices.ContainsFunc(all, func(a engine.Address) bool { return p.Find(a).Hold != "" }) {
			return false
		}
		for _, a := range all {
			c := p.Find(a)
			if c.Standby = false; c.Action == engine.Replace && a.Kind == engine.KindFunction {
				c.Window = max(1, c.Window)
			}
		}
		return true
	})
}

// backendKept reports whether a backend goes with a targeted replica: its
// frontend is there or targeted, too.
func backendKept(p engine.Plan, c engine.Change, keep map[engine.Address]bool) bool {
	frontend, replica := c.Address.Membership()
	if !keep[replica] {
		return false
	}
	f := p.Find(frontend)
	return keep[frontend] || f == nil || f.Prior != nil
}

// clusterKept reports whether a cluster goes with a targeted machine: all others of
// it are there or targeted, too.
func clusterKept(p engine.Plan, c engine.Change, keep map[engine.Address]bool) bool {
	is := membersOf(c.Planned)
	for _, a := range is {
		if m := p.Find(a); !keep[a] && (m == nil || m.Prior == nil) {
			return false
		}
	}
	was := []engine.Address(nil)
	if c.Prior != nil {
		was = membersOf(c.Prior.Value)
	}
	return slices.ContainsFunc(slices.Concat(is, was), func(a engine.Address) bool { return keep[a] })
}

// membersOf lists the machines of a cluster, those of nothing for a NilVal.
func membersOf(v cty.Value) []engine.Address {
	if v == cty.NilVal {
		return nil
	}
	var all []engine.Address
	for _, m := range engine.MustDecode[engine.Cluster](v).Members {
		if a, err := engine.ParseAddress(m.Machine); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// covers reports whether target names a, its group or its block.
func covers(target, a engine.Address) bool {
	return target == a || target == a.Group() || target == a.Block()
}

// upward links each resource to those that it needs.
func upward(p engine.Plan) map[engine.Address][]engine.Address {
	groups := groupsOf(p)
	links := map[engine.Address][]engine.Address{}
	for _, c := range p.Changes {
		for _, n := range c.Needs {
			if n.Kind != engine.Member {
				links[c.Address] = append(links[c.Address], expand(groups, n.Target)...)
			}
		}
	}
	return links
}

// downward links each resource to those that were made to depend on it.
func downward(p engine.Plan) map[engine.Address][]engine.Address {
	groups := groupsOf(p)
	links := map[engine.Address][]engine.Address{}
	for _, c := range p.Changes {
		if c.Prior == nil {
			continue
		}
		for _, n := range c.Prior.Needs {
			for _, a := range expand(groups, n) {
				links[a] = append(links[a], c.Address)
			}
		}
	}
	return links
}

func groupsOf(p engine.Plan) map[engine.Address][]engine.Address {
	groups := map[engine.Address][]engine.Address{}
	for _, c := range p.Changes {
		if g := c.Address.Group(); g != c.Address {
			groups[g] = append(groups[g], c.Address)
		}
	}
	return groups
}

func expand(groups map[engine.Address][]engine.Address, a engine.Address) []engine.Address {
	if members, ok := groups[a]; ok {
		return members
	}
	return []engine.Address{a}
}
