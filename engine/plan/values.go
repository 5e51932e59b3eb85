package plan

import (
	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// Value implements engine.Values with what the plan knows so far.
func (c *computer) Value(a engine.Address) cty.Value {
	if v, ok := c.values[a]; ok {
		return v
	}
	v := c.value(a, c)
	if _, group := c.members[a]; group && a.Kind.Sized() {
		c.values[a] = v
	}
	return v
}

// value is that of a group, made of what it has members, and of what is not
// planned.
func (c *computer) value(a engine.Address, of engine.Values) cty.Value {
	if !a.Kind.Sized() || a != a.Group() {
		return cty.DynamicVal
	}
	members, ok := c.members[a]
	if !ok {
		return cty.EmptyTupleVal
	}
	vals := make([]cty.Value, len(members))
	for i, m := range members {
		vals[i] = of.Value(m)
	}
	return cty.TupleVal(vals)
}
