package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// cluster plans a cluster: who belongs to it follows from the sizes of its groups.
func (c *computer) cluster(d *engine.Decl) {
	config := ClusterConfig{Block: d.Config}
	for _, g := range c.in.Desired.Clusters {
		if g.Address == d.Address {
			config.Heads, config.Workers = c.all(g.Heads), c.all(g.Workers)
		}
	}
	want, ds := config.Eval(c)
	c.diags = append(c.diags, locate(ds, d)...)
	if ds.HasErrors() {
		return
	}
	if a, b, twice := config.namesakes(); twice {
		c.fault(d.Address, &d.Source, "Two machines of one name", fmt.Sprintf("%s and %s of %s would both be called %s. Rename one of the vm blocks.", a, b, d.Address, hostname(a)))
		return
	}
	bare, hidden := engine.Unmark(want)
	ch := c.decide(subject{addr: d.Address, provider: d.Provider, want: bare, hidden: hidden, needs: d.Needs, config: config, timeouts: d.Timeouts, source: d.Source})
	c.wait(&ch, config)
	if ch.Action == engine.Update && ch.Why == "" {
		ch.Why = comings(*ch.Prior, ch.Planned)
	}
	c.add(ch)
}

// comings says who joins a cluster and who leaves it, "" for nobody.
func comings(prior engine.Object, planned cty.Value) string {
	was, is := membersOf(prior.Value), membersOf(planned)
	lacking := func(from, in []engine.Address) []engine.Address {
		return slices.DeleteFunc(slices.Clone(from), func(a engine.Address) bool { return slices.Contains(in, a) })
	}
	var parts []string
	if in := lacking(is, was); len(in) > 0 {
		parts = append(parts, "with "+engine.List(in))
	}
	if out := lacking(was, is); len(out) > 0 {
		parts = append(parts, "without "+engine.List(out))
	}
	return strings.Join(parts, ", ")
}

// wait leaves a cluster as it is while one of its machines cannot be told of the
// others.
func (c *computer) wait(ch *engine.Change, config ClusterConfig) {
	if ch.Prior == nil || ch.Action == engine.NoOp {
		return
	}
	for _, a := range slices.Concat(config.Heads, config.Workers) {
		if m := c.changeOf(a); m != nil && m.Hold != "" {
			ch.Action, ch.Planned, ch.Changed, ch.ReplacePaths, ch.Why = engine.NoOp, ch.Prior.Value, nil, nil, ""
			ch.Hold = fmt.Sprintf("it waits for %s: %s", a, m.Hold)
			return
		}
	}
}

// all lists the instances of groups.
func (c *computer) all(groups []engine.Address) []engine.Address {
	var all []engine.Address
	for _, g := range groups {
		all = append(all, c.members[g]...)
	}
	return all
}

// ClusterConfig is the configuration of a cluster: its block, and the machines that
// the plan has found to belong to it.
type ClusterConfig struct {
	Block          engine.Config
	Heads, Workers []engine.Address // instances
}

// Eval implements engine.Config.
func (c ClusterConfig) Eval(v engine.Values) (cty.Value, engine.Diagnostics) {
	block, diags := c.Block.Eval(v)
	if diags.HasErrors() {
		return block, diags
	}
	var members []cty.Value
	for _, role := range []struct {
		name     string
		machines []engine.Address
	}{{"head", c.Heads}, {"worker", c.Workers}} {
		for _, a := range role.machines {
			m := v.Value(a)
			members = append(members, engine.With(
				engine.Encode(engine.ClusterMember{Machine: a.String(), Role: role.name, Name: hostname(a)}),
				map[string]cty.Value{"id": part(m, "id"), "address": part(m, "address")},
			))
		}
	}
	list := cty.ListValEmpty(engine.SchemaOf[engine.ClusterMember]().Type())
	if len(members) > 0 {
		list = cty.ListVal(members)
	}
	return engine.With(block, map[string]cty.Value{"member": list}), diags
}

// namesakes finds two machines that would have the same name.
func (c ClusterConfig) namesakes() (a, b engine.Address, twice bool) {
	names := map[string]engine.Address{}
	for _, m := range slices.Concat(c.Heads, c.Workers) {
		if other, ok := names[hostname(m)]; ok {
			return other, m, true
		}
		names[hostname(m)] = m
	}
	return a, b, false
}

// hostname is a machine's name among the others of a cluster. It stays the same
// when the machine is replaced.
func hostname(a engine.Address) string {
	name := a.Name
	if a.Key != "" {
		name += "-" + a.Key
	}
	if n, ok := a.Index(); ok {
		name += fmt.Sprintf("-%d", n)
	}
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, name), "-")
}
