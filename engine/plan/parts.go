package plan

import (
	"slices"

	"github.com/flowctl/flowctl/engine"
)

// mostParts is how many runs a plan is cut into at the most.
const mostParts = 16

// Part is what of a plan can be carried out by itself.
type Part struct {
	Plan    engine.Plan // all else is left as it is
	Changes map[engine.Address]bool
	Needs   map[engine.Address]bool // groups and resources that must stay as the plan takes them to be
	Shrinks map[engine.Address]bool // functions of which replicas are taken out of use, for a while or for good
}

// Meets reports whether two parts must not be carried out at once.
func (p Part) Meets(q Part) bool {
	return p.touches(q) || q.touches(p) || overlap(p.Changes, q.Changes) || overlap(p.Shrinks, q.Shrinks)
}

// touches reports whether p changes something that q needs.
func (p Part) touches(q Part) bool {
	for a := range p.Changes {
		if q.Needs[a] || q.Needs[a.Group()] {
			return true
		}
	}
	return false
}

func overlap(p, q map[engine.Address]bool) bool {
	for a := range p {
		if q[a] {
			return true
		}
	}
	return false
}

// Parts cuts a plan into parts that have nothing to do with each other: none
// needs what another changes. The replicas of one function stay together, and so
// do the machines of a group whose size was ordered. Tasks that run at every apply
// are in none, but for those that need something that changes.
func Parts(p engine.Plan, ordered map[engine.Address]int) []Part {
	s := newSplitter(p)
	for i := range p.Changes {
		if c := &p.Changes[i]; c.Counts() {
			s.link(c)
		}
	}
	sets := map[engine.Address][]engine.Address{}
	var roots []engine.Address
	for i := range p.Changes {
		c := &p.Changes[i]
		_, sized := ordered[c.Address.Group()]
		if g := c.Address.Group(); s.changes(c.Address) && (c.Address.Kind == engine.KindFunction || sized) {
			s.union(c.Address, g)
		}
	}
	for i := range p.Changes {
		c := &p.Changes[i]
		if !s.changes(c.Address) {
			continue
		}
		r := s.root(c.Address)
		if sets[r] == nil {
			roots = append(roots, r)
		}
		sets[r] = append(sets[r], c.Address)
	}
	roots = slices.DeleteFunc(roots, func(r engine.Address) bool {
		return !slices.ContainsFunc(sets[r], func(a engine.Address) bool { return p.Find(a).Counts() })
	})
	for len(roots) > mostParts {
		last := roots[len(roots)-1]
		roots = roots[:len(roots)-1]
		sets[roots[len(roots)-1]] = append(sets[roots[len(roots)-1]], sets[last]...)
	}
	var parts []Part
	for _, r := range roots {
		parts = append(parts, s.part(sets[r]))
	}
	return parts
}

// splitter finds out which changes belong together.
type splitter struct {
	plan   engine.Plan
	groups map[engine.Address][]engine.Address
	parent map[engine.Address]engine.Address
	waits  map[engine.Address][]engine.Address // what changes before one that does not is as wanted
}

func newSplitter(p engine.Plan) *splitter {
	return &splitter{plan: p, groups: groupsOf(p), parent: map[engine.Address]engine.Address{}, waits: map[engine.Address][]engine.Address{}}
}

func (s *splitter) changes(a engine.Address) bool {
	c := s.plan.Find(a)
	return c != nil && (c.Counts() || c.Action == engine.Run)
}

func (s *splitter) root(a engine.Address) engine.Address {
	for {
		up, ok := s.parent[a]
		if !ok || up == a {
			return a
		}
		a = up
	}
}

func (s *splitter) union(a, b engine.Address) {
	if a, b = s.root(a), s.root(b); a != b {
		s.parent[b] = a
	}
}

// link joins a change with those that it waits for, and whose objects it waits for
// to end.
func (s *splitter) link(c *engine.Change) {
	for _, n := range c.Needs {
		if n.Kind != engine.Member {
			s.linkTo(c.Address, n.Target)
		}
	}
	old := c.Leftovers
	if c.Prior != nil && c.Action != engine.NoOp {
		old = append(slices.Clone(old), *c.Prior)
	}
	for _, o := range old {
		for _, n := range o.Needs {
			for _, a := range expand(s.groups, n) {
				if s.changes(a) {
					s.union(c.Address, a)
				}
			}
		}
	}
}

func (s *splitter) linkTo(from, target engine.Address) {
	for _, a := range expand(s.groups, target) {
		if s.changes(a) {
			s.union(from, a)
			continue
		}
		for _, b := range s.before(a) {
			s.union(from, b)
		}
	}
}

// before lists what changes before something that does not is as wanted.
func (s *splitter) before(a engine.Address) []engine.Address {
	if all, ok := s.waits[a]; ok {
		return all
	}
	s.waits[a] = nil
	c := s.plan.Find(a)
	if c == nil {
		return nil
	}
	var all []engine.Address
	for _, n := range c.Needs {
		if n.Kind == engine.Member {
			continue
		}
		for _, b := range expand(s.groups, n.Target) {
			if s.changes(b) {
				all = append(all, b)
			} else {
				all = append(all, s.before(b)...)
			}
		}
	}
	s.waits[a] = all
	return all
}

// part is the plan with nothing but some changes.
func (s *splitter) part(of []engine.Address) Part {
	p := Part{Plan: s.plan, Changes: map[engine.Address]bool{}, Needs: map[engine.Address]bool{}, Shrinks: map[engine.Address]bool{}}
	for _, a := range of {
		p.Changes[a] = true
	}
	p.Plan.Changes, p.Plan.Outputs = slices.Clone(s.plan.Changes), nil
	for i := range p.Plan.Changes {
		c := &p.Plan.Changes[i]
		if p.Changes[c.Address] {
			p.claim(c)
		} else if s.changes(c.Address) {
			c.Action, c.Leftovers, c.Hold = engine.NoOp, nil, "another run changes it"
		}
	}
	p.Plan.Rollouts = slices.DeleteFunc(slices.Clone(p.Plan.Rollouts), func(r engine.Rollout) bool {
		return !slices.ContainsFunc(r.Replicas, func(a engine.Address) bool { return p.Changes[a] })
	})
	return p
}

func (p Part) claim(c *engine.Change) {
	for _, n := range c.Needs {
		if n.Kind != engine.Member && !p.Changes[n.Target] {
			p.Needs[n.Target] = true
		}
	}
	if c.From != nil {
		p.Needs[c.From.Address] = true
	}
	if c.Prior != nil && c.Action != engine.Create {
		for _, n := range c.Prior.Needs {
			if c.Address.Kind.StandsOn(n.Kind) && !p.Changes[n] {
				p.Needs[n] = true
			}
		}
	}
	if c.Address.Kind == engine.KindFunction && (c.Action != engine.Create || len(c.Leftovers) > 0) {
		p.Shrinks[c.Address.Group()] = true
	}
}
