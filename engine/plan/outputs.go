package plan

import (
	"maps"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// outputs compares the flow's outputs.
func (c *computer) outputs() {
	left := maps.Clone(c.in.Recorded.Outputs)
	if !c.in.Destroy {
		for _, d := range c.in.Desired.Outputs {
			v, ds := d.Config.Eval(c)
			for i := range ds {
				if ds[i].Source == nil {
					ds[i].Source = &d.Source
				}
			}
			c.diags = append(c.diags, ds...)
			bare, _ := v.UnmarkDeep()
			out := engine.OutputChange{Name: d.Name, Description: d.Description, Sensitive: d.Sensitive, After: bare, Config: d.Config}
			if was, ok := left[d.Name]; ok {
				out.Before = was.Value
			}
			delete(left, d.Name)
			c.outs = append(c.outs, out)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		c.outs = append(c.outs, engine.OutputChange{Name: name, Sensitive: left[name].Sensitive, Before: left[name].Value, After: cty.NilVal})
	}
	slices.SortFunc(c.outs, func(a, b engine.OutputChange) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
}
