package tasks

import (
	"context"
	"fmt"
	"sync"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
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
	if id := hostOf(o); id != "" {
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

// stands tells of an image, or a network between containers, on a machine that stands
// still: its engine would be waited for in vain, and nothing is wrong with what it has.
func (g ground) stands(o engine.Object, id string) (engine.Observation, bool) {
	for a, all := range g {
		for _, m := range all {
			if m.Presence == engine.Down && m.Object.ID() == id && m.Object.Provider != o.Provider {
				return engine.Observation{Object: o, Presence: engine.Unreachable, Why: fmt.Sprintf("%s: %s", a, m.Why)}, true
			}
		}
	}
	return engine.Observation{}, false
}

// hostOf is the id of the host that an image or a network is on, "" for all else.
func hostOf(o engine.Object) string {
	if o.Address.Kind != engine.KindImage && o.Address.Kind != engine.KindNetwork || o.Value == cty.NilVal || o.Value.IsNull() {
		return ""
	}
	host, _ := o.Value.GetAttr("host").Unmark()
	if host.IsNull() || !host.IsKnown() {
		return ""
	}
	return engine.Object{Value: host}.ID()
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
		if len(makers) > 0 && hostOf(o) != "" {
			return true
		}
		a, err := engine.ParseAddress(o.Attr("machine"))
		if maker, ok := makers[a]; err == nil && ok && maker != o.Provider {
			return true
		}
	}
	return false
}
