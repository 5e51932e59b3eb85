package graph

import (
	"slices"

	"github.com/flowctl/flowctl/engine"
)

// awaited lists the backends (places in plan.Changes) without which a frontend is not
// of use. Of a function that serves there, as it is to be, these are not those that come
// back or that are more.
func (b *builder) awaited(frontend engine.Address) []int {
	all := b.backends[frontend]
	if f := b.plan.Find(frontend); f == nil || f.Action != engine.NoOp || f.Hold != "" {
		return all
	}
	serves := map[engine.Address]bool{}
	for _, i := range all {
		if c, replica := b.member(i); replica != nil && b.works(c) && b.works(replica) {
			serves[replica.Address.Group()] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(i int) bool {
		_, replica := b.member(i)
		return replica != nil && serves[replica.Address.Group()] && (replica.Action != engine.Replace || replica.Prior.Lifecycle == engine.Tainted) &&
			(replica.Action != engine.Update || len(replica.Changed) == 0)
	})
}

// member is a backend's change and that of its replica.
func (b *builder) member(i int) (backend, replica *engine.Change) {
	backend = &b.plan.Changes[i]
	_, a := backend.Address.Membership()
	return backend, b.plan.Find(a)
}

// works reports whether what a change is about is there, works and stays as it is.
func (b *builder) works(c *engine.Change) bool {
	return c.Action == engine.NoOp && c.Hold == "" && !c.Away && c.Prior != nil && c.Prior.Lifecycle == engine.Ready
}
