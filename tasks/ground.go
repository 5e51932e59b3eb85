package tasks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/flowctl/flowctl/engine"
)

// ground is what was found of the machines that carry what another provider runs.
// With such a machine gone or standing still nobody is there who could be asked
// about what is on it. A provider that makes its machines itself knows that itself.
type ground map[engine.Address][]engine.Observation

// own returns what was found of a machine itself.
func (g ground) own(o engine.Object) (engine.Observation, bool) {
	for _, m := range g[o.Address] {
		if m.Object.Key() == o.Key() {
			return m, true
		}
	}
	return engine.Observation{}, false
}

// of tells what follows for an object from its machine; false if it has to be read.
func (g ground) of(o engine.Object) (engine.Observation, bool) {
	if o.Address.Kind.Carries() {
		return g.own(o)
	}
	if id := o.HostID(); id != "" {
		return g.stands(o, id)
	}
	a, err := engine.ParseAddress(o.Attr("machine"))
	if err != nil || !a.Kind.Carries() {
		return engine.Observation{}, false
	}
	for _, m := range g[a] {
		switch id := o.Attr("machine_id"); {
		case m.Object.Provider == o.Provider, id != "" && id != m.Object.ID(), id == "" && len(g[a]) > 1:
		case m.Presence == engine.Gone, m.Presence == engine.Down:
			return engine.Observation{Object: o, Presence: m.Presence, Why: fmt.Sprintf("%s: %s", a, m.Why)}, true
		}
	}
	return engine.Observation{}, false
}

// stands tells of an image, or a network between containers, what follows from the
// machine that it is on. One that is gone has taken them along. With one that does not
// work they may be gone, too: they are looked after when it does again.
func (g ground) stands(o engine.Object, id string) (obs engine.Observation, ok bool) {
	for a, all := range g {
		for _, m := range all {
			switch {
			case m.Object.ID() != id, m.Object.Provider == o.Provider:
			case m.Presence == engine.Present:
				return engine.Observation{}, false // another generation may be gone
			case m.Presence == engine.Gone, m.Presence == engine.Down:
				obs, ok = engine.Observation{Object: o, Presence: m.Presence, Why: fmt.Sprintf("%s: %s", a, m.Why)}, true
			}
		}
	}
	return obs, ok
}

// Still tells of the machines among objects that do not run now: by what was seen of them,
// or else if they are suspended. They are named by their ids, with who made them.
func Still(objects []engine.Object, seen map[engine.Key]engine.Observation) map[string]string {
	still := map[string]string{}
	for _, o := range objects {
		if !o.Address.Kind.Carries() || o.ID() == "" {
			continue
		}
		obs, ok := seen[o.Key()]
		if ok && (obs.Presence == engine.Down || obs.Presence == engine.Gone) || !ok && o.Lifecycle == engine.Suspended {
			still[o.ID()] = o.Provider
		}
	}
	return still
}

// Reachable leaves out the objects that are on machines, made by another provider, that do
// not run now: nobody could be asked about them.
func Reachable(objects []engine.Object, seen map[engine.Key]engine.Observation) []engine.Object {
	still := Still(objects, seen)
	if len(still) == 0 {
		return objects
	}
	return slices.DeleteFunc(slices.Clone(objects), func(o engine.Object) bool { return isOn(still, o) })
}

// isOn reports whether an object is on one of some machines, which another provider made.
func isOn(machines map[string]string, o engine.Object) bool {
	maker, ok := machines[cmp.Or(o.HostID(), o.Attr("machine_id"))]
	return ok && maker != o.Provider
}

// survey reads the machines among some objects, each once.
func survey(ctx context.Context, source Source, objects []engine.Object, parallelism int) (ground, error) {
	var machines []engine.Object
	seen := map[engine.Key]bool{}
	for _, o := range objects {
		if o.Address.Kind.Carries() && !seen[o.Key()] {
			machines, seen[o.Key()] = append(machines, o), true
		}
	}
	g := ground{}
	var mu sync.Mutex
	err := each(ctx, machines, parallelism, func(o engine.Object) {
		obs := look(ctx, source, o, clusters{})
		mu.Lock()
		defer mu.Unlock()
		g[o.Address] = append(g[o.Address], obs)
	})
	return g, err
}

// borne reports whether something of another provider's is on a machine of some.
func borne(objects []engine.Object) bool {
	makers := map[engine.Address]string{}
	for _, o := range objects {
		if o.Address.Kind.Carries() {
			makers[o.Address] = o.Provider
		}
	}
	for _, o := range objects {
		if len(makers) > 0 && o.HostID() != "" {
			return true
		}
		a, err := engine.ParseAddress(o.Attr("machine"))
		if maker, ok := makers[a]; err == nil && ok && maker != o.Provider {
			return true
		}
	}
	return false
}
