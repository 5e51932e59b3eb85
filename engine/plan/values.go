package plan

import (
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// Value implements engine.Values with what the plan knows so far.
func (c *computer) Value(a engine.Address) cty.Value {
	if v, ok := c.values[a]; ok {
		return v
	}
	if !a.Kind.Sized() || a != a.Group() {
		return cty.DynamicVal
	}
	members, ok := c.members[a]
	if !ok {
		return cty.EmptyTupleVal
	}
	vals := make([]cty.Value, len(members))
	for i, m := range members {
		vals[i] = c.Value(m)
	}
	v := cty.TupleVal(vals)
	c.values[a] = v
	return v
}

// Unmark takes the marks off a value and returns which attributes, or entries
// of maps, carried the sensitive one.
func Unmark(v cty.Value) (bare cty.Value, sensitive []string) {
	bare, marked := v.UnmarkDeepWithPaths()
	for _, m := range marked {
		if _, ok := m.Marks[engine.Sensitive]; ok && len(m.Path) > 0 {
			sensitive = append(sensitive, pathName(m.Path))
		}
	}
	slices.Sort(sensitive)
	return bare, slices.Compact(sensitive)
}

// pathName writes a path as "env.TOKEN"; deeper ones end at the second step.
func pathName(p cty.Path) string {
	first, _ := p[0].(cty.GetAttrStep)
	if len(p) > 1 {
		if i, ok := p[1].(cty.IndexStep); ok && i.Key.Type() == cty.String {
			return first.Name + "." + i.Key.AsString()
		}
	}
	return first.Name
}

// Mark puts the sensitive mark back onto the named attributes of an object.
func Mark(v cty.Value, sensitive []string) cty.Value {
	if len(sensitive) == 0 || v.IsNull() || !v.IsKnown() {
		return v
	}
	attrs := v.AsValueMap()
	for _, name := range sensitive {
		attr, key, inside := strings.Cut(name, ".")
		a, ok := attrs[attr]
		switch {
		case !ok:
		case !inside || !a.IsKnown() || a.IsNull() || !a.Type().IsMapType():
			attrs[attr] = a.Mark(engine.Sensitive)
		default:
			entries := a.AsValueMap()
			if e, ok := entries[key]; ok {
				entries[key] = e.Mark(engine.Sensitive)
				attrs[attr] = cty.MapVal(entries)
			}
		}
	}
	return cty.ObjectVal(attrs)
}
