package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// writeBody writes the attributes of a change.
func writeBody(b *strings.Builder, c engine.Change, s Style) {
	planned := engine.Mark(c.Planned, c.Sensitive)
	if c.Action == engine.Create || c.Prior == nil {
		writeNew(b, c.Address.Kind, planned, s)
		return
	}
	prior := engine.Mark(c.Prior.Value, merged(c.Sensitive, c.Prior.Sensitive))
	width := 0
	for _, name := range c.Changed {
		width = max(width, len(name))
	}
	for _, attr := range c.Changed {
		forces := ""
		if slices.Contains(c.ReplacePaths, attr) {
			forces = s.bad("  # forces replacement")
		}
		writeDiff(b, attr, width, prior.GetAttr(attr), planned.GetAttr(attr), forces, s)
	}
	if rest := settable(c.Address.Kind) - len(c.Changed); rest > 0 && len(c.Changed) > 0 {
		fmt.Fprintf(b, "        %s\n", s.dim("# ("+several(rest, "unchanged attribute", "unchanged attributes")+" hidden)"))
	}
}

func merged(a, b []string) []string {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

func settable(k engine.Kind) int {
	n := 0
	for _, a := range engine.ValueSchema(k).Attributes {
		if !a.Meta {
			n++
		}
	}
	return n
}

// writeNew writes the attributes of a new object, but for those that are not
// set or at their default.
func writeNew(b *strings.Builder, k engine.Kind, v cty.Value, s Style) {
	schema := engine.ValueSchema(k)
	width, defaults := 0, 0
	shown := make([]*engine.Attribute, 0, len(schema.Attributes))
	for i := range schema.Attributes {
		a := &schema.Attributes[i]
		if a.Meta || a.Name == "machine" || a.Name == "machine_id" {
			continue
		}
		x, _ := v.GetAttr(a.Name).Unmark()
		switch {
		case x.IsKnown() && (x.IsNull() || a.Repeated && x.LengthInt() == 0):
		case a.Default != cty.NilVal && x.IsKnown() && x.RawEquals(a.Default):
			defaults++
		default:
			shown = append(shown, a)
			width = max(width, len(a.Name))
		}
	}
	for _, a := range shown {
		fmt.Fprintf(b, "      %s %-*s = %s\n", s.good("+"), width, a.Name, block(trim(v.GetAttr(a.Name), a.Block), "        "))
	}
	if defaults > 0 {
		fmt.Fprintf(b, "        %s\n", s.dim("# ("+several(defaults, "attribute at its default", "attributes at their defaults")+" hidden)"))
	}
}

// trim drops defaults and what is not set from a nested block.
func trim(v cty.Value, s *engine.Schema) cty.Value {
	if s == nil || v.IsMarked() || !v.IsKnown() || v.IsNull() {
		return v
	}
	if v.Type().IsListType() {
		var out []cty.Value
		for _, e := range v.AsValueSlice() {
			out = append(out, trim(e, s))
		}
		return cty.TupleVal(out)
	}
	attrs := v.AsValueMap()
	for _, a := range s.Attributes {
		x := attrs[a.Name]
		if x.IsKnown() && !x.IsMarked() && (x.IsNull() || a.Default != cty.NilVal && x.RawEquals(a.Default) || a.Repeated && x.LengthInt() == 0) {
			delete(attrs, a.Name)
		}
	}
	return cty.ObjectVal(attrs)
}

// writeDiff writes one changed attribute; maps entry by entry.
func writeDiff(b *strings.Builder, attr string, width int, was, is cty.Value, forces string, s Style) {
	if !isMap(was) || !isMap(is) {
		fmt.Fprintf(b, "      %s %-*s = %s -> %s%s\n", s.warn("~"), width, attr, inline(was), inline(is), forces)
		return
	}
	fmt.Fprintf(b, "      %s %-*s = {%s\n", s.warn("~"), width, attr, forces)
	old, now := was.AsValueMap(), is.AsValueMap()
	keys := map[string]bool{}
	for k := range old {
		keys[k] = true
	}
	for k := range now {
		keys[k] = true
	}
	same := 0
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		o, had := old[k]
		n, has := now[k]
		switch {
		case !had:
			fmt.Fprintf(b, "          %s %s = %s\n", s.good("+"), name(k), inline(n))
		case !has:
			fmt.Fprintf(b, "          %s %s = %s\n", s.bad("-"), name(k), inline(o))
		case equal(o, n):
			same++
		default:
			fmt.Fprintf(b, "          %s %s = %s -> %s\n", s.warn("~"), name(k), inline(o), inline(n))
		}
	}
	if same > 0 {
		fmt.Fprintf(b, "            %s\n", s.dim("# ("+several(same, "unchanged entry", "unchanged entries")+" hidden)"))
	}
	b.WriteString("        }\n")
}

func isMap(v cty.Value) bool {
	return !v.IsMarked() && v.Type().IsMapType() && v.IsKnown() && !v.IsNull()
}

// equal compares values that may be sensitive.
func equal(a, b cty.Value) bool {
	x, _ := a.UnmarkDeep()
	y, _ := b.UnmarkDeep()
	return x.RawEquals(y)
}
