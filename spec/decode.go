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

// synonyms are names that users of other tools try first.
var synonyms = map[string]map[string]string{
	"vm":       {"replicas": "count", "cpu": "cpus", "vcpus": "cpus", "vcpu": "cpus", "cores": "cpus", "ram": "memory", "size": "memory"},
	"host":     {"cpu": "cpus", "ram": "memory", "connection": "engine"},
	"function": {"count": "replicas", "scale": "replicas", "command": "exec", "cmd": "exec", "args": "exec", "environment": "env", "machine": "on", "host": "on", "vm": "on", "cpus": "cpu", "ports": "port", "healthcheck": "health"},
	"frontend": {"bind": "listen", "port": "listen", "backend": "to", "target": "to", "function": "to", "algorithm": "balance", "policy": "balance"},
	"scaling":  {"function": "target", "minimum": "min", "maximum": "max", "interval": "every"},
	"task":     {"command": "exec", "cmd": "exec", "run": "exec", "url": "http", "trigger": "triggers", "stage": "phase"},
}

// checkNames reports attributes and blocks of a body that its schema does not
// have, without evaluating anything.
func (l *loader) checkBody(body *hclsyntax.Body, s *engine.Schema, what string, extra ...string) {
	for _, a := range attributes(body) {
		known := s.Attribute(a.Name)
		switch {
		case known == nil || known.Label:
			l.fault(a.NameRange, "Unknown attribute", fmt.Sprintf("A %s block has no attribute %q.%s", what, a.Name, suggestAttribute(what, a.Name, s, extra)))
		case known.Form == engine.BlockForm:
			l.fault(a.NameRange, "Block expected", fmt.Sprintf("%q is a block: write %s without the equals sign.", a.Name, blockExample(known)))
		case !known.Optional:
			l.fault(a.NameRange, "Computed attribute", fmt.Sprintf("%q is filled in by flowctl. Remove the line; others may refer to the value.", a.Name))
		}
	}
	seen := map[string]hcl.Range{}
	for _, blk := range body.Blocks {
		known := s.Attribute(blk.Type)
		switch {
		case known == nil:
			l.fault(blk.TypeRange, "Unknown block type", fmt.Sprintf("A %s block has no %q blocks.%s", what, blk.Type, suggestAttribute(what, blk.Type, s, extra)))
			continue
		case known.Form != engine.BlockForm:
			l.fault(blk.TypeRange, "Attribute expected", fmt.Sprintf("%q is an attribute: write %s = and its value.", blk.Type, blk.Type))
			continue
		}
		first, again := seen[blk.Type]
		if again && !known.Repeated {
			l.fault(blk.DefRange(), "Duplicate block", fmt.Sprintf("A %s block has one %s block; the first is at %s.", what, blk.Type, first))
		}
		seen[blk.Type] = blk.DefRange()
		if labels := labelsOf(known.Block); len(blk.Labels) != len(labels) {
			l.fault(blk.DefRange(), "Wrong number of labels", fmt.Sprintf("Write %s.", blockExample(known)))
			continue
		}
		l.checkBody(blk.Body, known.Block, blk.Type)
	}
}

func labelsOf(s *engine.Schema) []string {
	var names []string
	for _, a := range s.Attributes {
		if a.Label {
			names = append(names, a.Name)
		}
	}
	return names
}

func blockExample(a *engine.Attribute) string {
	if labels := labelsOf(a.Block); len(labels) > 0 {
		return fmt.Sprintf("%s \"%s\" { … }", a.Name, labels[0])
	}
	return a.Name + " { … }"
}

func suggestAttribute(what, name string, s *engine.Schema, extra []string) string {
	if better := synonyms[what][name]; better != "" {
		return fmt.Sprintf(" Did you mean %s?", better)
	}
	known := slices.Clone(extra)
	for _, a := range s.Attributes {
		if a.Optional && !a.Label {
			known = append(known, a.Name)
		}
	}
	return didYouMean(name, known, "")
}

// static decodes a body whose attributes must be known, and checks its names.
func (l *loader) static(body *hclsyntax.Body, s *engine.Schema, ctx *hcl.EvalContext) cty.Value {
	l.checkBody(body, s, "such a")
	d := decoder{values: ctx, refs: ctx, bad: l.bad}
	v := d.all(body, s, body.SrcRange, true)
	l.diags = append(l.diags, d.diags...)
	return v
}

// decoder turns a block's body into a value of a schema.
type decoder struct {
	values *hcl.EvalContext // for values
	refs   *hcl.EvalContext // for references to blocks
	bad    map[hclsyntax.Expression]bool
	diags  engine.Diagnostics
}

func (d *decoder) fault(r hcl.Range, summary, detail string) {
	d.diags = append(d.diags, engine.Diagnostic{Summary: summary, Detail: detail, Source: at(r)})
}

// object decodes the attributes that make up the resource's value.
func (d *decoder) object(body *hclsyntax.Body, s *engine.Schema, def hcl.Range) cty.Value {
	return d.all(body, s, def, false)
}

// all decodes the attributes of a schema: just those of the value, or with meta
// just those that are not.
func (d *decoder) all(body *hclsyntax.Body, s *engine.Schema, def hcl.Range, meta bool) cty.Value {
	attrs := make(map[string]cty.Value, len(s.Attributes))
	for i := range s.Attributes {
		a := &s.Attributes[i]
		switch {
		case a.Meta != meta || a.Label:
		case a.Form == engine.BlockForm:
			attrs[a.Name] = d.nested(body, a)
		default:
			attrs[a.Name] = d.attribute(body, a, def)
		}
	}
	return cty.ObjectVal(attrs)
}

func (d *decoder) nested(body *hclsyntax.Body, a *engine.Attribute) cty.Value {
	var vals []cty.Value
	for _, blk := range body.Blocks {
		if blk.Type != a.Name {
			continue
		}
		labels := labelsOf(a.Block)
		if len(blk.Labels) != len(labels) {
			continue // reported by checkBody
		}
		v := d.all(blk.Body, a.Block, blk.DefRange(), a.Meta && hasMeta(a.Block))
		for i, name := range labels {
			v = engine.With(v, map[string]cty.Value{name: cty.StringVal(blk.Labels[i])})
		}
		vals = append(vals, v)
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

func hasMeta(s *engine.Schema) bool {
	return slices.ContainsFunc(s.Attributes, func(a engine.Attribute) bool { return a.Meta })
}

// attribute evaluates one attribute, or takes its default.
func (d *decoder) attribute(body *hclsyntax.Body, a *engine.Attribute, def hcl.Range) cty.Value {
	written := body.Attributes[a.Name]
	if written == nil || !a.Optional {
		if a.Required {
			d.fault(def, "Missing attribute", fmt.Sprintf("%q is required: %s", a.Name, a.Doc))
			return cty.UnknownVal(a.Type)
		}
		return fallback(a)
	}
	if d.bad[written.Expr] {
		return cty.UnknownVal(a.Type)
	}
	var v cty.Value
	if a.Form == engine.ReferenceForm {
		v = d.reference(written.Expr, a)
	} else {
		v = d.plain(written.Expr, a)
	}
	if v.IsNull() {
		if a.Required {
			d.fault(written.Expr.Range(), "Missing attribute", fmt.Sprintf("%q must not be null: %s", a.Name, a.Doc))
			return cty.UnknownVal(a.Type)
		}
		return fallback(a)
	}
	return v
}

func fallback(a *engine.Attribute) cty.Value {
	if a.Default != cty.NilVal {
		return a.Default
	}
	return cty.NullVal(a.Type)
}

func (d *decoder) plain(expr hclsyntax.Expression, a *engine.Attribute) cty.Value {
	v, ds := expr.Value(d.values)
	if ds.HasErrors() {
		d.diags = append(d.diags, convertDiags(ds)...)
		return cty.UnknownVal(a.Type)
	}
	converted, err := convert.Convert(v, a.Type)
	if err != nil {
		d.fault(expr.Range(), "Wrong type", fmt.Sprintf("%q expects %s: %s.", a.Name, article(typeName(a)), err))
		return cty.UnknownVal(a.Type)
	}
	bare, marks := converted.Unmark()
	if bare.IsNull() || !bare.IsKnown() {
		return converted
	}
	if fault := nullElement(bare); fault != "" {
		d.fault(expr.Range(), "Missing value", fmt.Sprintf("%q has a null value%s. Leave the entry out, or give it a value.", a.Name, fault))
		return cty.UnknownVal(a.Type)
	}
	normal, err := a.Normalise(bare)
	if err != nil {
		d.fault(expr.Range(), "Invalid value", fmt.Sprintf("%q: %s.", a.Name, err))
		return cty.UnknownVal(a.Type)
	}
	return normal.WithMarks(marks)
}

// nullElement says where a list or map has a null, which no program can take.
func nullElement(v cty.Value) string {
	if t := v.Type(); !t.IsListType() && !t.IsMapType() {
		return ""
	}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if e, _ = e.Unmark(); e.IsNull() {
			if k.Type() == cty.String {
				return fmt.Sprintf(" for %q", k.AsString())
			}
			return " in its list"
		}
	}
	return ""
}

// reference evaluates an attribute that refers to one block, or to several.
func (d *decoder) reference(expr hclsyntax.Expression, a *engine.Attribute) cty.Value {
	many := a.Type.IsListType()
	v, ds := expr.Value(d.refs)
	if ds.HasErrors() {
		d.diags = append(d.diags, convertDiags(ds)...)
		return cty.UnknownVal(a.Type)
	}
	v, _ = v.UnmarkDeep()
	if v.IsNull() {
		return cty.NullVal(a.Type)
	}
	addrs, ok := addressesIn(v, many)
	if !ok {
		d.fault(expr.Range(), "Reference expected", fmt.Sprintf("%q expects a reference to a block, such as %s.NAME, without quotes.%s", a.Name, exampleKind(a), keyHelp(v)))
		return cty.UnknownVal(a.Type)
	}
	texts := make([]cty.Value, len(addrs))
	for i, addr := range addrs {
		if a.Refs != nil && !slices.Contains(a.Refs, addr.Kind) {
			d.fault(expr.Range(), "Wrong kind of block", fmt.Sprintf("%q expects a %s, but %s is none.", a.Name, kindList(a.Refs), addr))
			return cty.UnknownVal(a.Type)
		}
		texts[i] = cty.StringVal(addr.String())
	}
	switch {
	case !many:
		return texts[0]
	case len(texts) == 0:
		return cty.ListValEmpty(cty.String)
	default:
		return cty.ListVal(texts)
	}
}

// addressesIn reads the blocks that a value refers to: one, or with many also a
// list, or all instances of a block with for_each.
func addressesIn(v cty.Value, many bool) ([]engine.Address, bool) {
	if v.Type().Equals(refType) {
		if !v.IsKnown() || v.IsNull() {
			return nil, false
		}
		return []engine.Address{*v.EncapsulatedValue().(*engine.Address)}, true
	}
	t := v.Type()
	if !many || !v.IsKnown() || v.IsNull() || !(t.IsTupleType() || t.IsListType() || t.IsSetType() || t.IsObjectType()) {
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

func keyHelp(v cty.Value) string {
	if v.Type().IsObjectType() && v.LengthInt() > 0 {
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			if e.Type().Equals(refType) {
				return fmt.Sprintf(" The block has for_each: pick one instance, such as [%q] or [each.key].", k.AsString())
			}
		}
	}
	return ""
}

func exampleKind(a *engine.Attribute) string {
	if len(a.Refs) > 0 {
		return string(a.Refs[0])
	}
	return "function"
}

func kindList(kinds []engine.Kind) string {
	text := string(kinds[0])
	for _, k := range kinds[1:] {
		text += " or " + string(k)
	}
	return text
}

// typeName says in words what an attribute takes.
func typeName(a *engine.Attribute) string {
	switch {
	case a.Form == engine.SizeForm:
		return `size such as "512MiB"`
	case a.Form == engine.DurationForm:
		return `duration such as "30s"`
	default:
		return a.Type.FriendlyName()
	}
}

func article(s string) string {
	if s != "" && slices.Contains([]byte("aeiou"), s[0]) {
		return "an " + s
	}
	return "a " + s
}
