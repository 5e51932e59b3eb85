package plan

import (
	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// few is how many blocks are not worth spreading.
const few = 64

// evaluated is what the configuration of a block is, and what that changes.
type evaluated struct {
	want    cty.Value // without marks
	hidden  []string
	diags   engine.Diagnostics
	changes []engine.Change // nil for functions
}

// wave evaluates the blocks at the head of decls that do not depend on each other,
// at least one.
func (c *computer) wave(decls []engine.Decl) []evaluated {
	n := 1
	if c.in.Spread != nil {
		n = independent(decls)
	}
	out := make([]evaluated, n)
	if n <= few {
		for i := range out {
			out[i] = c.evaluate(&decls[i], c)
		}
		return out
	}
	for i := range out {
		for _, need := range decls[i].Needs { // so that the evaluations only read
			if need.Kind != engine.Member {
				c.Value(need.Target.Group())
			}
		}
	}
	c.in.Spread(n, func(i int) { out[i] = c.evaluate(&decls[i], settled{c}) })
	return out
}

func (c *computer) evaluate(d *engine.Decl, v engine.Values) evaluated {
	want, diags := c.configOf(d).Eval(v)
	e := evaluated{diags: diags}
	if diags.HasErrors() {
		return e
	}
	e.want, e.hidden = engine.Unmark(want)
	e.hidden = engine.Hides(d.Address.Kind, e.hidden)
	if d.Address.Kind != engine.KindFunction {
		e.changes = c.instances(d, e)
	}
	return e
}

// independent returns how many blocks at the head of decls need none of the others
// among them. A cluster is always alone: what it is depends on more than its needs.
func independent(decls []engine.Decl) int {
	among := map[engine.Address]bool{}
	for i := range decls {
		d := &decls[i]
		if d.Address.Kind == engine.KindCluster {
			return max(i, 1)
		}
		for _, n := range d.Needs {
			if among[n.Target.Block()] {
				return i
			}
		}
		among[d.Address.Block()] = true
	}
	return len(decls)
}

// settled tells values without remembering any, so that several may ask at a time.
type settled struct{ c *computer }

// Value implements engine.Values.
func (s settled) Value(a engine.Address) cty.Value {
	if v, ok := s.c.values[a]; ok {
		return v
	}
	return s.c.value(a, s)
}
