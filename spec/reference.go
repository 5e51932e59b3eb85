package spec

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// refType is the type of what stands for a block where an attribute expects a
// reference to one.
var refType = cty.Capsule("reference", reflect.TypeFor[engine.Address]())

func refVal(a engine.Address) cty.Value { return cty.CapsuleVal(refType, &a) }

// resource checks a path into a resource and files it.
func (w *walker) resource(kind engine.Kind, root hcl.TraverseRoot, steps []step, rng hcl.Range, splat *[]step) {
	b := w.blockOf(kind, root, steps)
	if b == nil {
		return
	}
	u := use{block: b, rng: rng}
	steps = steps[1:]
	keyed := b.forEach != nil && len(steps) > 0
	if keyed {
		if !w.key(&u, steps) {
			return
		}
		steps = steps[1:]
	}
	switch {
	case w.block && len(steps) > 0:
		w.fault(steps[0].rng, "Reference expected", fmt.Sprintf("This expects a block, not a value of it. Write %s.", b.example()))
		return
	case w.block:
		return
	case w.known != "":
		w.fault(rng, "Value must be known", fmt.Sprintf("%s, so this cannot depend on what %s becomes. Use variables and locals.", w.known, b.addr()))
		return
	}
	group := kind.Sized() && (b.forEach == nil || keyed)
	if group && len(steps) > 0 {
		if !w.instance(&u, steps) {
			return
		}
		steps, group = steps[1:], false
	}
	switch {
	case splat == nil:
		w.attribute(kind, steps)
	case b.forEach != nil && !keyed && len(*splat) > 0:
		w.fault(rng, "Group instead of instance", fmt.Sprintf("%s has for_each, and [*] goes over lists only. Write [for k, v in %s : %s].", b.addr(), b.addr(), element("v", kind, (*splat)[0])))
		return
	case group:
		w.attribute(kind, *splat)
	}
	w.found.uses = append(w.found.uses, u)
}

func element(of string, kind engine.Kind, s step) string {
	if kind.Sized() {
		of += "[0]"
	}
	return of + "." + s.name
}

// blockOf finds the block that a path begins with.
func (w *walker) blockOf(kind engine.Kind, root hcl.TraverseRoot, steps []step) *block {
	blocks := w.loader.index[kind]
	if len(steps) == 0 || steps[0].text() == "" {
		w.fault(root.SrcRange, "Incomplete reference", fmt.Sprintf("%s alone is no value, and names are written out: write %s.NAME.", kind, kind))
		return nil
	}
	name := steps[0].text()
	b := blocks[name]
	switch {
	case b != nil:
	case w.loader.rejected[name]:
		w.found.broken = true // the block itself has a fault, which is reported
	default:
		detail := fmt.Sprintf("There is no block %s %q.", kind, name)
		if other := w.loader.kindOf(name); other != "" {
			detail += fmt.Sprintf(" There is a block %s %q: did you mean %s.%s?", other, name, other, name)
		} else if len(blocks) == 0 {
			detail += fmt.Sprintf(" The flow has no %s blocks.", kind)
		} else {
			detail += didYouMean(name, slices.Sorted(maps.Keys(blocks)), string(kind)+".")
		}
		w.fault(hcl.RangeBetween(root.SrcRange, steps[0].rng), "Unknown block", detail)
	}
	return b
}

// kindOf returns the kind of a block of that name, "" if there is none.
func (l *loader) kindOf(name string) engine.Kind {
	for _, kind := range engine.BlockKinds {
		if l.index[kind][name] != nil {
			return kind
		}
	}
	return ""
}

// key reads the step that picks a for_each key.
func (w *walker) key(u *use, steps []step) bool {
	s, b := steps[0], u.block
	name := s.text()
	isAttribute := s.name != "" && !b.has(name) && valueAttribute(b.kind, name) != nil
	if s.isNumber() || isAttribute {
		more := ""
		switch {
		case isAttribute && b.kind.Sized():
			more = "[0]." + name
		case isAttribute:
			more = "." + name
		}
		w.fault(s.rng, "Group instead of instance", fmt.Sprintf("%s has for_each: pick one of its keys first. Write %s%s.", b.addr(), b.example(), more))
		return false
	}
	written := s.key
	if s.name != "" {
		written = cty.StringVal(s.name)
	}
	u.key = w.pick(s, written)
	if u.key.expr != nil || u.key.value == cty.NilVal || b.keys == nil {
		return true
	}
	lost := w.loader.siteOf(&use{block: b, key: u.key}, w.loader.scope, nil).lost
	w.found.broken = w.found.broken || lost
	return !lost
}

// instance reads the step that picks one instance of a group.
func (w *walker) instance(u *use, steps []step) bool {
	s, b := steps[0], u.block
	switch {
	case s.name != "" && valueAttribute(b.kind, s.name) == nil:
		w.attribute(b.kind, steps)
		return false
	case s.name != "":
		w.fault(s.rng, "Group instead of instance", fmt.Sprintf("%[1]s is a group. Write %[1]s[0].%[2]s for its first instance, or %[1]s[*].%[2]s for a list of all.", b.example(), s.name))
		return false
	case s.text() != "":
		w.fault(s.rng, "Invalid index", fmt.Sprintf("%[1]s is a group whose instances are numbered. Write %[1]s[0] for its first.", b.example()))
		return false
	}
	u.index = w.pick(s, s.key)
	if u.index.expr != nil || u.index.value == cty.NilVal {
		return true
	}
	lost := w.loader.siteOf(&use{block: &block{kind: b.kind, name: b.name}, index: u.index}, w.loader.scope, nil).lost
	w.found.broken = w.found.broken || lost
	return !lost
}

// pick reads a step that picks a key or an instance. What a for expression
// binds is not known before it is evaluated: it may be any.
func (w *walker) pick(s step, written cty.Value) pick {
	switch {
	case s.expr == nil:
		return pick{value: written, rng: s.rng}
	case slices.ContainsFunc(s.expr.Variables(), func(t hcl.Traversal) bool { return w.binds(t.RootName()) }):
		return pick{rng: s.rng}
	default:
		return pick{expr: s.expr, rng: s.rng, same: isEachKey(s.expr)}
	}
}

// isEachKey reports whether an expression is each.key, which is the most common
// of keys.
func isEachKey(expr hclsyntax.Expression) bool {
	t, ok := expr.(*hclsyntax.ScopeTraversalExpr)
	if !ok || len(t.Traversal) != 2 || t.Traversal.RootName() != "each" {
		return false
	}
	a, ok := t.Traversal[1].(hcl.TraverseAttr)
	return ok && a.Name == "key"
}

// valueAttribute returns the type of an attribute of a resource's value, or nil.
func valueAttribute(kind engine.Kind, name string) *cty.Type {
	if a := engine.ValueSchema(kind).Attribute(name); a != nil && !a.Meta {
		return &a.Type
	}
	return nil
}

// attribute checks the steps into a resource's value.
func (w *walker) attribute(kind engine.Kind, steps []step) {
	if len(steps) == 0 {
		return
	}
	if s := steps[0]; s.text() == "" {
		if s.isNumber() {
			w.fault(s.rng, "Invalid index", fmt.Sprintf("A %s is one resource, not a group, so it has no numbers. Remove the index.", kind))
		}
		return
	}
	what, t := "A "+string(kind), engine.ValueSchema(kind).Type()
	for _, s := range steps {
		name := s.text()
		switch {
		case t.IsObjectType() && name == "":
			return
		case t.IsObjectType() && !t.HasAttribute(name):
			w.fault(s.rng, "Unknown attribute", fmt.Sprintf("%s has no attribute %q.%s", what, name, didYouMean(name, slices.Sorted(maps.Keys(t.AttributeTypes())), "")))
			return
		case t.IsObjectType():
			what, t = fmt.Sprintf("The %s", name), t.AttributeType(name)
		case t.IsMapType(), t.IsListType() && name == "":
			what, t = "This", t.ElementType()
		case t.IsListType():
			w.fault(s.rng, "Unknown attribute", fmt.Sprintf("%s is a list. Write [0] for its first element, or [*] for all.", what))
			return
		default:
			w.fault(s.rng, "Unknown attribute", fmt.Sprintf("%s is %s, which has nothing inside.", what, article(t.FriendlyName())))
			return
		}
	}
}
