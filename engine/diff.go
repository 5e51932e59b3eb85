package engine

import (
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// Difference compares a wanted value with a prior one under the kind's schema,
// for the default proposal: what a provider has filled in stays as it is.
func Difference(k Kind, prior, want cty.Value) Proposal {
	var p Proposal
	var filled map[string]cty.Value
	same := true
	schema := ValueSchema(k)
	for i := range schema.Attributes {
		a := &schema.Attributes[i]
		if a.Meta {
			continue
		}
		w, was := want.GetAttr(a.Name), prior.GetAttr(a.Name)
		if a.Computed && w.IsNull() {
			if !was.IsNull() {
				if filled == nil {
					filled = map[string]cty.Value{}
				}
				filled[a.Name] = was
			}
			continue
		}
		if w.RawEquals(was) {
			continue
		}
		same = false
		if a.Repeated && none(w) && none(was) {
			continue
		}
		p.Changed = append(p.Changed, a.Name)
		if a.Replace {
			p.ReplacePaths = append(p.ReplacePaths, a.Name)
		}
	}
	p.Want = want
	switch {
	case same:
		p.Want = prior
	case filled != nil:
		p.Want = With(want, filled)
	}
	slices.Sort(p.Changed)
	slices.Sort(p.ReplacePaths)
	return p
}

// none reports whether there are no blocks of a kind: states from before the kind
// had them say null.
func none(v cty.Value) bool {
	return v.IsKnown() && (v.IsNull() || v.LengthInt() == 0)
}

// NeedsOf lists the targets of needs, sorted, as an object records them.
func NeedsOf(needs []Need) []Address {
	var all []Address
	for _, n := range needs {
		if n.Kind != Member {
			all = append(all, n.Target)
		}
	}
	slices.SortFunc(all, Address.Compare)
	return slices.Compact(all)
}

// Unmark takes the marks off a value and returns which attributes, or entries
// of maps, carried the sensitive one.
func Unmark(v cty.Value) (bare cty.Value, sensitive []string) {
	if !marked(v) {
		return v, nil
	}
	bare, marked := v.UnmarkDeepWithPaths()
	for _, m := range marked {
		if _, ok := m.Marks[Sensitive]; ok && len(m.Path) > 0 {
			sensitive = append(sensitive, pathName(m.Path))
		}
	}
	slices.Sort(sensitive)
	return bare, slices.Compact(sensitive)
}

// marked is v.ContainsMarked for an object, most attributes of which hold no others.
func marked(v cty.Value) bool {
	if v.IsMarked() || !v.IsKnown() || v.IsNull() {
		return v.IsMarked()
	}
	for name, t := range v.Type().AttributeTypes() {
		if a := v.GetAttr(name); a.IsMarked() || !t.IsPrimitiveType() && a.ContainsMarked() {
			return true
		}
	}
	return false
}

// Hides lists what is never shown of a resource whose given attributes are
// sensitive: these, and a task's output, which may repeat them.
func Hides(k Kind, sensitive []string) []string {
	if k != KindTask || len(sensitive) == 0 || slices.Contains(sensitive, "output") {
		return sensitive
	}
	all := append(slices.Clone(sensitive), "output")
	slices.Sort(all)
	return all
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
			attrs[attr] = a.Mark(Sensitive)
		default:
			entries := a.AsValueMap()
			if e, ok := entries[key]; ok {
				entries[key] = e.Mark(Sensitive)
				attrs[attr] = cty.MapVal(entries)
			}
		}
	}
	return cty.ObjectVal(attrs)
}
