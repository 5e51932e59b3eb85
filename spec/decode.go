package spec

import (
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// decoder turns a block's body into a value of a schema. Names are checked
// before (checkBody, examine).
type decoder struct {
	*program
	instance *instance        // nil for what is no resource block
	values   *hcl.EvalContext // for values
	blocks   *hcl.EvalContext // for references to blocks; made when first needed
	loading  bool             // what is the same for every instance may be kept
	varies   bool             // something was not
	diags    engine.Diagnostics
}

func (d *decoder) fault(r hcl.Range, summary, detail string) {
	d.diags = append(d.diags, engine.Diagnostic{Summary: summary, Detail: detail, Source: sourceOf(r)})
}

// object decodes the attributes that make up the resource's value.
func (d *decoder) object(body *hclsyntax.Body, s *engine.Schema, def hcl.Range) cty.Value {
	return d.all(body, s, def, false)
}

// all decodes the attributes of a schema: just those of the value, or with meta
// just those that are not.
func (d *decoder) all(body *hclsyntax.Body, s *engine.Schema, def hcl.Range, meta bool) cty.Value {
	return engine.ObjectOf(func(attrs map[string]cty.Value) {
		d.each(body, s, def, meta, func(a *engine.Attribute, v cty.Value) { attrs[a.Name] = v })
	})
}

// each decodes the attributes of a schema one by one.
func (d *decoder) each(body *hclsyntax.Body, s *engine.Schema, def hcl.Range, meta bool, got func(*engine.Attribute, cty.Value)) {
	for i := range s.Attributes {
		a := &s.Attributes[i]
		switch {
		case a.Meta != meta || a.Label:
		case a.Form == engine.BlockForm:
			got(a, d.nested(body, a))
		default:
			got(a, d.attribute(body, a, def))
		}
	}
}

// nested decodes the nested blocks of one type.
func (d *decoder) nested(body *hclsyntax.Body, a *engine.Attribute) cty.Value {
	var vals []cty.Value
	for _, blk := range nestedBlocks(body, a) {
		vals = append(vals, d.block(blk, a))
	}
	switch {
	case !a.Repeated && len(vals) == 0:
		return cty.NullVal(a.Type)
	case !a.Repeated:
		return vals[0]
	case len(vals) == 0:
		return cty.ListValEmpty(a.Type.ElementType())
	default:
		return cty.ListVal(vals)
	}
}

// nestedBlocks lists the blocks of a type that have the labels they should.
func nestedBlocks(body *hclsyntax.Body, a *engine.Attribute) []*hclsyntax.Block {
	var all []*hclsyntax.Block
	for _, blk := range body.Blocks {
		if blk.Type == a.Name && len(blk.Labels) == len(labelsOf(a.Block)) {
			all = append(all, blk)
		}
	}
	return all
}

func (d *decoder) block(blk *hclsyntax.Block, a *engine.Attribute) cty.Value {
	if v, ok := d.fixed[blk]; ok {
		return v
	}
	varied, faults := d.varies, len(d.diags)
	d.varies = false
	v := d.all(blk.Body, a.Block, blk.DefRange(), a.Meta && hasMeta(a.Block))
	if labels := labelsOf(a.Block); len(labels) > 0 {
		named := map[string]cty.Value{}
		for i, name := range labels {
			named[name] = cty.StringVal(blk.Labels[i])
		}
		v = engine.With(v, named)
	}
	if d.loading && !d.varies && len(d.diags) == faults {
		d.fixed[blk] = v
	}
	d.varies = d.varies || varied
	return v
}

func hasMeta(s *engine.Schema) bool {
	return slices.ContainsFunc(s.Attributes, func(a engine.Attribute) bool { return a.Meta })
}

// attribute evaluates one attribute, or takes its default.
func (d *decoder) attribute(body *hclsyntax.Body, a *engine.Attribute, def hcl.Range) cty.Value {
	written := body.Attributes[a.Name]
	if written == nil || !a.Optional {
		if !a.Required {
			return fallback(a)
		}
		if !d.meant[named{body, a.Name}] { // else it is misspelt, which is reported
			d.fault(def, "Missing attribute", fmt.Sprintf("%q is required: %s", a.Name, a.Doc))
		}
		return cty.UnknownVal(a.Type)
	}
	e := d.exprs[written.Expr]
	switch {
	case e == nil || e.broken:
		return cty.UnknownVal(a.Type)
	case e.value != cty.NilVal:
		return e.value
	}
	varies := e.varies()
	d.varies = d.varies || varies
	v, ok := d.written(written.Expr, a)
	switch {
	case !d.loading || varies:
	case ok:
		e.value = v
	default:
		e.broken = true
	}
	return v
}

// written evaluates an attribute that is written in the spec. ok is false if
// that failed.
func (d *decoder) written(expr hclsyntax.Expression, a *engine.Attribute) (v cty.Value, ok bool) {
	faults := len(d.diags)
	if a.Form == engine.ReferenceForm {
		v = d.reference(expr, a)
	} else {
		v = d.plain(expr, a)
	}
	if v.IsNull() {
		if v = fallback(a); a.Required {
			d.fault(expr.Range(), "Missing attribute", fmt.Sprintf("%q must not be null: %s", a.Name, a.Doc))
			v = cty.UnknownVal(a.Type)
		}
	}
	if a.Sensitive {
		v = v.Mark(engine.Sensitive)
	}
	return v, len(d.diags) == faults
}

func fallback(a *engine.Attribute) cty.Value {
	if a.Default != cty.NilVal {
		return a.Default
	}
	return cty.NullVal(a.Type)
}

// plain evaluates an attribute that holds a value.
func (d *decoder) plain(expr hclsyntax.Expression, a *engine.Attribute) cty.Value {
	if m, ok := mapOf(expr, d.values, a.Type); ok {
		if _, problem := normalise(a, m); problem == "" {
			return m
		}
	}
	v, ds := evaluate(expr, d.values)
	d.diags = append(d.diags, convertDiags(ds)...)
	if ds.HasErrors() {
		return cty.UnknownVal(a.Type)
	}
	converted, err := convert.Convert(v, a.Type)
	if err != nil {
		worst, path := misfit(v, a.Type)
		d.fault(narrowTo(expr, path), "Wrong type", fmt.Sprintf("%q expects %s%s.", a.Name, expectation(a), mismatch(worst, path, err)))
		return cty.UnknownVal(a.Type)
	}
	bare, marks := converted.Unmark()
	if bare.IsNull() || !bare.IsKnown() {
		return converted
	}
	if fault, rng := nullElement(bare, expr); fault != "" {
		d.fault(rng, "Missing value", fmt.Sprintf("%q has a null value%s. Leave the entry out, or give it a value.", a.Name, fault))
		return cty.UnknownVal(a.Type)
	}
	normal, problem := normalise(a, bare)
	if problem != "" {
		if len(marks) > 0 {
			problem = "the value, which is sensitive and not shown, does not fit: expected is " + expectation(a) + "."
		}
		d.fault(expr.Range(), "Invalid value", fmt.Sprintf("%q: %s", a.Name, problem))
		return cty.UnknownVal(a.Type)
	}
	return normal.WithMarks(marks)
}

// mapOf evaluates an object that is written out, where a map is wanted, without
// the object in between. ok is false if there is anything to be said about it.
func mapOf(expr hclsyntax.Expression, ctx *hcl.EvalContext, t cty.Type) (m cty.Value, ok bool) {
	object, ok := expr.(*hclsyntax.ObjectConsExpr)
	if !ok || !t.IsMapType() || len(object.Items) == 0 {
		return cty.NilVal, false
	}
	entries := make(map[string]cty.Value, len(object.Items))
	for _, item := range object.Items {
		key, ds := evaluate(item.KeyExpr, ctx)
		name := textOf(key)
		if len(ds) > 0 || name == "" {
			return cty.NilVal, false
		}
		v, ds := evaluate(item.ValueExpr, ctx)
		if len(ds) > 0 {
			return cty.NilVal, false
		}
		v, err := convert.Convert(v, t.ElementType())
		if err != nil || v.IsNull() {
			return cty.NilVal, false
		}
		entries[name] = v
	}
	return cty.MapVal(entries), true
}

// normalise is a.Normalise, and says in sentences what is wrong, "" if nothing.
func normalise(a *engine.Attribute, v cty.Value) (normal cty.Value, problem string) {
	if a.Type == cty.Number && v.AsBigFloat().IsInf() {
		return v, "the value is infinite. Is there a division by zero?"
	}
	normal, err := a.Normalise(v)
	if err == nil {
		return normal, ""
	}
	problem = err.Error() + "."
	if a.Enum != nil {
		if n := nearest(v.AsString(), a.Enum); n != "" {
			problem += fmt.Sprintf(" Did you mean %q?", n)
		}
	}
	return v, problem
}

// nullElement says where a list or map has a null, which no program can take.
func nullElement(v cty.Value, expr hclsyntax.Expression) (string, hcl.Range) {
	if t := v.Type(); !t.IsListType() && !t.IsMapType() {
		return "", hcl.Range{}
	}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if e, _ = e.Unmark(); e.IsNull() {
			rng := narrowTo(expr, cty.Path{cty.IndexStep{Key: k}})
			if k.Type() == cty.String {
				return fmt.Sprintf(" for %q", k.AsString()), rng
			}
			return " in its list", rng
		}
	}
	return "", hcl.Range{}
}

// narrowTo finds the part of an expression that makes a part of its value.
func narrowTo(expr hclsyntax.Expression, path cty.Path) hcl.Range {
	if len(path) == 0 {
		return expr.Range()
	}
	key := cty.NilVal
	switch s := path[0].(type) {
	case cty.IndexStep:
		key = s.Key
	case cty.GetAttrStep:
		key = cty.StringVal(s.Name)
	}
	switch e := expr.(type) {
	case *hclsyntax.ObjectConsExpr:
		for _, item := range e.Items {
			if name, ds := evaluate(item.KeyExpr, nil); !ds.HasErrors() && key != cty.NilVal && name.RawEquals(key) {
				return narrowTo(item.ValueExpr, path[1:])
			}
		}
	case *hclsyntax.TupleConsExpr:
		if key != cty.NilVal && key.Type() == cty.Number {
			if i, _ := key.AsBigFloat().Int64(); i >= 0 && int(i) < len(e.Exprs) {
				return narrowTo(e.Exprs[i], path[1:])
			}
		}
	}
	return expr.Range()
}
