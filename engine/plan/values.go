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
