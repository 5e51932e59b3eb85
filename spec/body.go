package spec

import (
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// checkBody reports attributes and blocks of a body that its schema does not
// have, without evaluating anything. It returns whether all is well.
func (l *loader) checkBody(body *hclsyntax.Body, s *engine.Schema, what string, extra ...string) bool {
	ok := true
	for _, a := range attributes(body) {
		ok = l.checkAttribute(body, a, s, what, extra) && ok
	}
	seen := map[string]hcl.Range{}
	for _, blk := range body.Blocks {
		if blk.Type == "timeouts" && slices.Contains(extra, blk.Type) {
			continue // collectResource and examineBlocks see to it
		}
		ok = l.checkNested(body, blk, s, what, seen, extra) && ok
	}
	return ok
}

// named is an attribute of a body.
type named struct {
	body *hclsyntax.Body
	name string
}

func (l *loader) checkAttribute(body *hclsyntax.Body, a *hclsyntax.Attribute, s *engine.Schema, what string, extra []string) bool {
	known := s.Attribute(a.Name)
	switch {
	case known == nil && slices.Contains(extra, a.Name) && isBlockName(a.Name):
		l.fault(a.NameRange, "Block expected", fmt.Sprintf("%[1]q is a block: write %[1]s { … } without the equals sign.", a.Name))
	case known == nil && slices.Contains(extra, a.Name):
		return true
	case known != nil && known.Label:
		l.fault(a.NameRange, "Unknown attribute", fmt.Sprintf("The %s of a %s is its label: write %s \"%s\" { … }.", a.Name, what, what, a.Name))
	case known == nil:
		text, meant := suggestAttribute(what, a.Name, false, s, extra)
		l.meant[named{body, meant}] = true
		l.fault(a.NameRange, "Unknown attribute", fmt.Sprintf("%s block has no attribute %q.%s", capital(article(what)), a.Name, text))
	case known.Form == engine.BlockForm:
		l.meant[named{body, a.Name}] = true
		l.fault(a.NameRange, "Block expected", fmt.Sprintf("%q is a block: write %s without the equals sign.", a.Name, blockExample(known)))
	case !known.Optional:
		advice := "Remove the line; others may refer to the value."
		if better := synonyms[what][a.Name]; better != "" {
			l.meant[named{body, better}] = true
			advice = fmt.Sprintf("Did you mean %s?", better)
		}
		l.fault(a.NameRange, "Computed attribute", fmt.Sprintf("%q is filled in by flowctl. %s", a.Name, advice))
	default:
		return true
	}
	return false
}

func (l *loader) checkNested(body *hclsyntax.Body, blk *hclsyntax.Block, s *engine.Schema, what string, seen map[string]hcl.Range, extra []string) bool {
	known := s.Attribute(blk.Type)
	switch {
	case known == nil && slices.Contains(extra, blk.Type), known != nil && known.Form != engine.BlockForm:
		l.meant[named{body, blk.Type}] = true
		l.fault(blk.TypeRange, "Attribute expected", fmt.Sprintf("%q is an attribute: write %s = %s", blk.Type, blk.Type, attributeExample(known)))
		return false
	case known == nil:
		text, meant := suggestAttribute(what, blk.Type, true, s, extra)
		l.meant[named{body, meant}] = true
		l.fault(blk.TypeRange, "Unknown block type", fmt.Sprintf("%s block has no %q blocks.%s", capital(article(what)), blk.Type, text))
		return false
	}
	first, again := seen[blk.Type]
	if again && !known.Repeated {
		l.fault(blk.DefRange(), "Duplicate block", fmt.Sprintf("%s block has one %s block; the first is at %s.", capital(article(what)), blk.Type, place(first)))
		return false
	}
	seen[blk.Type] = blk.DefRange()
	if len(blk.Labels) != len(labelsOf(known.Block)) {
		l.meant[named{body, blk.Type}] = true
		l.fault(blk.DefRange(), "Wrong number of labels", fmt.Sprintf("Write %s.", blockExample(known)))
		return false
	}
	return l.checkBody(blk.Body, known.Block, blk.Type)
}

func labelsOf(s *engine.Schema) []string {
	var names []string
	for i := range s.Attributes {
		if s.Attributes[i].Label {
			names = append(names, s.Attributes[i].Name)
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

func attributeExample(a *engine.Attribute) string {
	if a != nil && (a.Type.IsMapType() || a.Type.IsObjectType()) {
		return "{ … }."
	}
	return "and its value, without braces."
}

// eachExpression calls f for every attribute of a body and its nested blocks
// that the schema has, in the order of the schema. meta tells whether it
// belongs to the block rather than to the resource's value.
func eachExpression(body *hclsyntax.Body, s *engine.Schema, meta bool, f func(expr hclsyntax.Expression, a *engine.Attribute, meta bool)) {
	for i := range s.Attributes {
		a := &s.Attributes[i]
		if a.Form == engine.BlockForm {
			for _, blk := range body.Blocks {
				if blk.Type == a.Name {
					eachExpression(blk.Body, a.Block, meta || a.Meta, f)
				}
			}
			continue
		}
		if written := body.Attributes[a.Name]; written != nil && a.Optional && !a.Label {
			f(written.Expr, a, meta || a.Meta)
		}
	}
}

// static checks and decodes a body whose attributes must be known, into a
// struct whose schema it has.
func (l *loader) static(body *hclsyntax.Body, s *engine.Schema, what string, in where, into any, extra ...string) (d *decoder, ok bool) {
	ok = l.checkBody(body, s, what, extra...)
	eachExpression(body, s, false, func(expr hclsyntax.Expression, _ *engine.Attribute, _ bool) {
		ok = !l.examine(expr, in).broken && ok
	})
	d = &decoder{program: l.program, values: l.scope, loading: true}
	if into == nil {
		return d, ok
	}
	v := d.all(body, s, body.SrcRange, true)
	l.addAll(d.diags)
	if err := engine.Decode(v, into); err != nil {
		panic("bug: " + err.Error())
	}
	return d, ok && !d.diags.HasErrors()
}
