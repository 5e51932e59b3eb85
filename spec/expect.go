package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// reference evaluates an attribute that refers to one block, or to several.
func (d *decoder) reference(expr hclsyntax.Expression, a *engine.Attribute) cty.Value {
	targets, v := d.references(expr, a)
	if v != cty.NilVal {
		return v
	}
	texts := make([]cty.Value, 0, len(targets))
	seen := make(map[engine.Address]bool, len(targets))
	for _, t := range targets {
		if !seen[t.to] {
			seen[t.to] = true
			texts = append(texts, cty.StringVal(t.to.String()))
		}
	}
	switch {
	case !a.Type.IsListType():
		return texts[0]
	case len(texts) == 0:
		return cty.ListValEmpty(cty.String)
	default:
		return cty.ListVal(texts)
	}
}

// target is one block that is referred to, and where.
type target struct {
	to  engine.Address
	rng hcl.Range
}

// references lists the blocks that an expression refers to. The value is that of
// the attribute if there are none to list: null or, with a fault, unknown.
func (d *decoder) references(expr hclsyntax.Expression, a *engine.Attribute) (all []target, v cty.Value) {
	if list, ok := expr.(*hclsyntax.TupleConsExpr); ok && a.Type.IsListType() {
		for _, part := range list.Exprs {
			some, v := d.references(part, a)
			switch {
			case v != cty.NilVal && v.IsNull():
				d.fault(part.Range(), "Reference expected", fmt.Sprintf("%q has null in its list. Leave it out.", a.Name))
				return nil, cty.UnknownVal(a.Type)
			case v != cty.NilVal:
				return nil, v
			}
			all = append(all, some...)
		}
		return all, cty.NilVal
	}
	v, ds := evaluate(expr, d.referenceScope())
	d.diags = append(d.diags, convertDiags(ds)...)
	v, _ = v.UnmarkDeep()
	switch {
	case ds.HasErrors() || !v.IsWhollyKnown(): // made of a block that has a fault of its own
		return nil, cty.UnknownVal(a.Type)
	case v.IsNull():
		return nil, cty.NullVal(a.Type)
	}
	addrs, ok := addressesIn(v, a.Type.IsListType())
	if !ok {
		d.fault(expr.Range(), "Reference expected", fmt.Sprintf("%q expects %s", a.Name, referenceHelp(v, a)))
		return nil, cty.UnknownVal(a.Type)
	}
	for _, addr := range addrs {
		if a.Refs != nil && !slices.Contains(a.Refs, addr.Kind) {
			d.fault(expr.Range(), "Wrong kind of block", fmt.Sprintf("%q expects a %s, but %s is none.", a.Name, kindList(a.Refs), addr))
			return nil, cty.UnknownVal(a.Type)
		}
		all = append(all, target{addr, expr.Range()})
	}
	return all, cty.NilVal
}

func (d *decoder) referenceScope() *hcl.EvalContext {
	if d.blocks == nil {
		d.blocks = d.scope.NewChild()
		if d.instance != nil {
			d.blocks = d.instance.scope().NewChild()
		}
		d.blocks.Variables = d.refs
	}
	return d.blocks
}

// addressesIn reads the blocks that a value refers to: one, or with many also a
// list, or all instances of a block with for_each.
func addressesIn(v cty.Value, many bool) ([]engine.Address, bool) {
	t := v.Type()
	switch {
	case v.IsNull():
		return nil, false
	case t.Equals(refType):
		return []engine.Address{*v.EncapsulatedValue().(*engine.Address)}, true
	case !many || !(t.IsCollectionType() || t.IsTupleType() || t.IsObjectType()):
		return nil, false
	}
	var all []engine.Address
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		some, ok := addressesIn(e, true)
		if !ok {
			return nil, false
		}
		all = append(all, some...)
	}
	return all, true
}

// referenceHelp says what an attribute expects instead of v.
func referenceHelp(v cty.Value, a *engine.Attribute) string {
	if t := v.Type(); (t.IsObjectType() || t.IsTupleType() || t.IsListType()) && v.LengthInt() > 0 {
		it := v.ElementIterator()
		it.Next()
		_, e := it.Element()
		if e.Type().Equals(refType) && !e.IsNull() {
			addr := e.EncapsulatedValue().(*engine.Address)
			if t.IsObjectType() && addr.Key != "" {
				return fmt.Sprintf("one block, and %s has for_each. Write %s, or %s[each.key] in a block that has for_each, too.", addr.Block(), addr, addr.Block())
			}
			return "one block, not a list of them. Remove the brackets."
		}
	}
	return fmt.Sprintf("a reference to a block, such as %s.NAME, without quotes.", exampleKind(a))
}

func exampleKind(a *engine.Attribute) engine.Kind {
	if len(a.Refs) > 0 {
		return a.Refs[0]
	}
	return engine.KindFunction
}

func kindList(kinds []engine.Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, " or ")
}

// expectation says in words what an attribute takes.
func expectation(a *engine.Attribute) string {
	switch {
	case a.Form == engine.SizeForm:
		return `a size such as "512MiB"`
	case a.Form == engine.DurationForm:
		return `a duration such as "30s"`
	case a.Enum != nil:
		return "one of " + enumerate(quoted(a.Enum), "")
	case a.Type == cty.Number && a.Whole:
		return "a whole number"
	case a.Type == cty.Bool:
		return "true or false"
	case a.Type.IsListType():
		return fmt.Sprintf("a list of %ss, such as [%s]", a.Type.ElementType().FriendlyName(), sample(a.Type.ElementType()))
	case a.Type.IsMapType():
		return fmt.Sprintf("a map of %ss, such as { NAME = %s }", a.Type.ElementType().FriendlyName(), sample(a.Type.ElementType()))
	case a.Type.IsObjectType():
		return fmt.Sprintf("a %s, such as %s.NAME", a.Name, a.Name)
	default:
		return article(a.Type.FriendlyName())
	}
}

func sample(t cty.Type) string {
	if t == cty.Number {
		return "1"
	}
	return `"text"`
}

// misfit finds the part of a value that cannot be brought into a type, and the
// way to it.
func misfit(v cty.Value, t cty.Type) (cty.Value, cty.Path) {
	if !v.IsKnown() || v.IsNull() || v.IsMarked() {
		return v, nil
	}
	of := v.Type()
	inner := func(key cty.Value) cty.Type {
		switch {
		case t.IsListType() && (of.IsTupleType() || of.IsListType()), t.IsMapType() && (of.IsObjectType() || of.IsMapType()):
			return t.ElementType()
		case t.IsObjectType() && key.Type() == cty.String && t.HasAttribute(key.AsString()):
			return t.AttributeType(key.AsString())
		default:
			return cty.DynamicPseudoType
		}
	}
	if of.IsTupleType() || of.IsListType() || of.IsObjectType() || of.IsMapType() {
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			want := inner(k)
			if _, err := convert.Convert(e, want); err != nil {
				worst, path := misfit(e, want)
				return worst, append(cty.Path{cty.IndexStep{Key: k}}, path...)
			}
		}
	}
	return v, nil
}

// mismatch adds to an expectation what there is instead.
func mismatch(worst cty.Value, path cty.Path, err error) string {
	what := "this"
	if len(path) > 0 {
		switch key := path[0].(cty.IndexStep).Key; key.Type() {
		case cty.String:
			what = fmt.Sprintf("the entry %q", key.AsString())
		default:
			i, _ := key.AsBigFloat().Int64()
			what = fmt.Sprintf("element %d", i)
		}
	}
	t := worst.Type()
	switch {
	case t.IsPrimitiveType() && worst.IsKnown() && !worst.IsNull() && !worst.IsMarked():
		return fmt.Sprintf(", but %s is %s", what, literalText(worst))
	case t.IsTupleType() || t.IsListType():
		return fmt.Sprintf(", but %s is a list", what)
	case t.IsObjectType() && len(path) == 0 && strings.Contains(err.Error(), "required") && !strings.Contains(err.Error(), " of "):
		return ": " + err.Error()
	case t.IsObjectType():
		return fmt.Sprintf(", but %s is an object", what)
	default:
		return fmt.Sprintf(", but %s is %s", what, article(t.FriendlyName()))
	}
}

// literalText shows a simple value as it would be written.
func literalText(v cty.Value) string {
	switch v.Type() {
	case cty.String:
		s := []rune(v.AsString())
		if len(s) > 40 {
			s = append(s[:40:40], '…')
		}
		return fmt.Sprintf("%q", string(s))
	case cty.Bool:
		return fmt.Sprint(v.True())
	default:
		return v.AsBigFloat().Text('g', 10)
	}
}

func quoted(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = fmt.Sprintf("%q", w)
	}
	return out
}

func article(s string) string {
	if s != "" && strings.ContainsRune("aeiou", rune(s[0])) {
		return "an " + s
	}
	return "a " + s
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
