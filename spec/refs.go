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

// site is one place in an expression that uses what a resource becomes.
type site struct {
	block *block
	key   string // of for_each; "" means all keys, or that there are none
	index int    // -1 means all instances, or that there are none
	rng   hcl.Range
}

// targets lists the resources or groups that s uses.
func (s site) targets() []engine.Address {
	if s.block.forEach != nil && s.key == "" {
		var all []engine.Address
		for _, key := range s.block.keys {
			all = append(all, s.block.addr().For(key))
		}
		return all
	}
	a := s.block.addr()
	a.Key = s.key
	if s.index >= 0 {
		a = a.At(s.index)
	}
	return []engine.Address{a}
}

// resourceRoots lists, as text, the resources that an expression refers to.
func (l *loader) resourceRoots(expr hcl.Expression) []string {
	var roots []string
	for _, t := range expr.Variables() {
		kind := engine.Kind(t.RootName())
		if !slices.Contains(engine.BlockKinds, kind) {
			continue
		}
		name := t.RootName()
		if len(t) > 1 {
			name += "." + attrName(t[1])
		}
		roots = append(roots, name)
	}
	return roots
}

func attrName(t hcl.Traverser) string {
	switch t := t.(type) {
	case hcl.TraverseAttr:
		return t.Name
	case hcl.TraverseIndex:
		if t.Key.Type() == cty.String {
			return t.Key.AsString()
		}
	}
	return ""
}

// sitesOf finds every use of a resource in an expression and checks every name
// in it. With a nil inst, each is not known. refs says that the expression is
// to be a reference to a block, not a value.
func (l *loader) sitesOf(expr hclsyntax.Expression, attr *engine.Attribute, inst *instance) ([]site, engine.Diagnostics) {
	w := &walker{loader: l, inst: inst, consumed: map[hclsyntax.Node]bool{}}
	w.refs = attr != nil && attr.Form == engine.ReferenceForm
	hclsyntax.Walk(expr, w)
	return w.sites, w.diags
}

// checkNames checks the names in an expression that refers to no resource.
func (l *loader) checkNames(expr hclsyntax.Expression, inst *instance) engine.Diagnostics {
	_, diags := l.sitesOf(expr, nil, inst)
	return diags
}

// walker visits an expression.
type walker struct {
	loader   *loader
	inst     *instance
	refs     bool
	scopes   []map[string]struct{} // names bound by for expressions
	consumed map[hclsyntax.Node]bool
	sites    []site
	diags    engine.Diagnostics
}

// step is one step into an object: a name or an index, or an expression for it.
type step struct {
	name string
	key  cty.Value
	expr hclsyntax.Expression
	rng  hcl.Range
}

// Enter implements hclsyntax.Walker.
func (w *walker) Enter(n hclsyntax.Node) hcl.Diagnostics {
	if scope, ok := n.(hclsyntax.ChildScope); ok {
		w.scopes = append(w.scopes, scope.LocalNames)
		return nil
	}
	if w.consumed[n] {
		return nil
	}
	if splat, ok := n.(*hclsyntax.SplatExpr); ok {
		w.splat(splat)
		return nil
	}
	expr, ok := n.(hclsyntax.Expression)
	if !ok {
		return nil
	}
	if root, steps, ok := w.path(expr); ok {
		w.use(root, steps, expr.Range())
	}
	return nil
}

// Exit implements hclsyntax.Walker.
func (w *walker) Exit(n hclsyntax.Node) hcl.Diagnostics {
	if _, ok := n.(hclsyntax.ChildScope); ok {
		w.scopes = w.scopes[:len(w.scopes)-1]
	}
	return nil
}

// path reads a chain of attributes and indexes down to its root, and marks its
// parts as seen.
func (w *walker) path(expr hclsyntax.Expression) (root hcl.TraverseRoot, steps []step, ok bool) {
	switch e := expr.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		root = e.Traversal[0].(hcl.TraverseRoot)
		w.consumed[e] = true
		return root, traversalSteps(e.Traversal[1:]), true
	case *hclsyntax.RelativeTraversalExpr:
		root, steps, ok = w.path(e.Source)
		w.consumed[e] = w.consumed[e] || ok
		return root, append(steps, traversalSteps(e.Traversal)...), ok
	case *hclsyntax.IndexExpr:
		root, steps, ok = w.path(e.Collection)
		w.consumed[e] = w.consumed[e] || ok
		return root, append(steps, step{expr: e.Key, rng: e.Key.Range()}), ok
	case *hclsyntax.ParenthesesExpr:
		return w.path(e.Expression)
	}
	return root, nil, false
}

func traversalSteps(t hcl.Traversal) []step {
	var steps []step
	for _, s := range t {
		switch s := s.(type) {
		case hcl.TraverseAttr:
			steps = append(steps, step{name: s.Name, rng: s.SrcRange})
		case hcl.TraverseIndex:
			steps = append(steps, step{key: s.Key, rng: s.SrcRange})
		}
	}
	return steps
}

func (w *walker) splat(e *hclsyntax.SplatExpr) {
	root, steps, ok := w.path(e.Source)
	if !ok {
		return
	}
	kind := engine.Kind(root.Name)
	if s := w.use(root, steps, e.Source.Range()); s != nil && kind.Sized() && s.index < 0 {
		if each, ok := e.Each.(*hclsyntax.RelativeTraversalExpr); ok {
			w.attribute(kind, traversalSteps(each.Traversal))
		}
	}
}

func (w *walker) bound(name string) bool {
	return slices.ContainsFunc(w.scopes, func(s map[string]struct{}) bool { _, ok := s[name]; return ok })
}

func (w *walker) fault(r hcl.Range, summary, detail string) {
	w.diags = append(w.diags, engine.Diagnostic{Summary: summary, Detail: detail, Source: at(r)})
}

// use checks one path from a root and files it if it leads to a resource.
func (w *walker) use(root hcl.TraverseRoot, steps []step, rng hcl.Range) *site {
	l := w.loader
	if w.bound(root.Name) {
		return nil
	}
	switch root.Name {
	case "var":
		w.member(root, steps, slices.Sorted(maps.Keys(l.variables)), "Unknown variable", "variable")
	case "local":
		if name := w.member(root, steps, slices.Sorted(maps.Keys(l.locals)), "Unknown local", "local"); name != "" {
			w.sites = append(w.sites, l.locals[name].sites...)
		}
	case "flow":
		w.member(root, steps, []string{"dir", "name"}, "Unknown attribute", "attribute of flow")
	case "each":
		if w.inst == nil || w.inst.block.forEach == nil {
			w.fault(root.SrcRange, "each outside of for_each", "each.key and each.value are known only in a block that has for_each.")
			return nil
		}
		w.member(root, steps, []string{"key", "value"}, "Unknown attribute", "attribute of each")
	default:
		kind := engine.Kind(root.Name)
		if !slices.Contains(engine.BlockKinds, kind) {
			w.unknownRoot(root, rng)
			return nil
		}
		return w.resource(kind, root, steps, rng)
	}
	return nil
}

func (w *walker) unknownRoot(root hcl.TraverseRoot, rng hcl.Range) {
	known := []string{"var", "local", "each", "flow"}
	for _, k := range engine.BlockKinds {
		known = append(known, string(k))
	}
	detail := fmt.Sprintf("Nothing is called %q.", root.Name)
	if n := nearest(root.Name, known); n != "" {
		detail += fmt.Sprintf(" Did you mean %s?", n)
	} else {
		detail += fmt.Sprintf(" Write var.%[1]s for a variable, local.%[1]s for a local, kind.name for a block, or \"%[1]s\" for text.", root.Name)
	}
	w.fault(rng, "Unknown name", detail)
}

// member checks the first step of a path into var, local, each or flow and
// returns its name, or "" if there is none of that name.
func (w *walker) member(root hcl.TraverseRoot, steps []step, known []string, summary, what string) string {
	if len(steps) == 0 {
		w.fault(root.SrcRange, summary, fmt.Sprintf("%s alone is no value. Write %s.NAME.", root.Name, root.Name))
		return ""
	}
	if steps[0].expr != nil {
		return ""
	}
	name := steps[0].name
	if name == "" && steps[0].key.Type() == cty.String {
		name = steps[0].key.AsString()
	}
	if !slices.Contains(known, name) {
		w.fault(steps[0].rng, summary, fmt.Sprintf("There is no %s %q.%s", what, name, didYouMean(name, known, root.Name+".")))
		return ""
	}
	return name
}

// resource checks a path into a resource and files it.
func (w *walker) resource(kind engine.Kind, root hcl.TraverseRoot, steps []step, rng hcl.Range) *site {
	blocks := w.loader.index[kind]
	known := slices.Sorted(maps.Keys(blocks))
	if len(steps) == 0 || steps[0].name == "" {
		w.fault(root.SrcRange, "Incomplete reference", fmt.Sprintf("%s alone is no value. Write %s.NAME.", kind, kind))
		return nil
	}
	b := blocks[steps[0].name]
	if b == nil {
		detail := fmt.Sprintf("There is no block %s %q.", kind, steps[0].name)
		if len(known) == 0 {
			detail += fmt.Sprintf(" The flow has no %s blocks.", kind)
		}
		w.fault(hcl.RangeBetween(root.SrcRange, steps[0].rng), "Unknown block", detail+didYouMean(steps[0].name, known, string(kind)+"."))
		return nil
	}
	s := site{block: b, index: -1, rng: rng}
	steps = steps[1:]
	var ok bool
	if b.forEach != nil && len(steps) > 0 {
		if s.key, ok = w.keyOf(b, steps[0]); !ok {
			return nil
		}
		steps = steps[1:]
	}
	if w.refs {
		if len(steps) > 0 {
			w.fault(steps[0].rng, "Reference expected", fmt.Sprintf("This expects a block, not a value of it. Write %s.", b.addr()))
		}
		return nil
	}
	if kind.Sized() && len(steps) > 0 && (b.forEach == nil || s.key != "") {
		if s.index, ok = w.indexOf(b, steps[0]); !ok {
			return nil
		}
		steps = steps[1:]
	}
	w.attribute(kind, steps)
	w.sites = append(w.sites, s)
	return &s
}

// keyOf reads the step that picks one for_each key. A key that cannot be told
// in advance means all keys.
func (w *walker) keyOf(b *block, s step) (string, bool) {
	key := s.name
	if s.expr != nil {
		v, ds := cty.DynamicVal, hcl.Diagnostics(nil)
		if w.inst != nil && len(w.loader.resourceRoots(s.expr)) == 0 {
			v, ds = s.expr.Value(w.inst.ctx)
		}
		v, _ = v.Unmark()
		if ds.HasErrors() || v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
			return "", true
		}
		key = v.AsString()
	} else if key == "" && s.key.Type() == cty.String {
		key = s.key.AsString()
	}
	if b.keys != nil && !slices.Contains(b.keys, key) {
		w.fault(s.rng, "Unknown key", fmt.Sprintf("%s has for_each, but no key %q.%s", b.addr(), key, didYouMean(key, b.keys, "")))
		return "", false
	}
	return key, true
}

// indexOf reads the step that picks one instance of a group; -1 means all.
func (w *walker) indexOf(b *block, s step) (int, bool) {
	if s.name != "" {
		attr := s.name
		w.fault(s.rng, "Group instead of instance", fmt.Sprintf("%[1]s is a group. Write %[1]s[0].%[2]s for its first instance, or %[1]s[*].%[2]s for a list of all.", b.addr(), attr))
		return 0, false
	}
	v := s.key
	if s.expr != nil {
		v = cty.DynamicVal
		if w.inst != nil && len(w.loader.resourceRoots(s.expr)) == 0 && !w.usesBound(s.expr) {
			v, _ = s.expr.Value(w.inst.ctx)
		}
	}
	v, _ = v.Unmark()
	if v.IsNull() || !v.IsKnown() || v.Type() != cty.Number {
		return -1, true
	}
	n, _ := v.AsBigFloat().Int64()
	if n < 0 || !v.AsBigFloat().IsInt() {
		w.fault(s.rng, "Invalid index", fmt.Sprintf("Instances of %s are counted from 0.", b.addr()))
		return 0, false
	}
	return int(n), true
}

func (w *walker) usesBound(expr hclsyntax.Expression) bool {
	return slices.ContainsFunc(expr.Variables(), func(t hcl.Traversal) bool { return w.bound(t.RootName()) })
}

// attribute checks the first step into a resource's value.
func (w *walker) attribute(kind engine.Kind, steps []step) {
	if len(steps) == 0 || steps[0].name == "" {
		return
	}
	schema := engine.ValueSchema(kind)
	if a := schema.Attribute(steps[0].name); a != nil && !a.Meta {
		return
	}
	var known []string
	for _, a := range schema.Attributes {
		if !a.Meta {
			known = append(known, a.Name)
		}
	}
	w.fault(steps[0].rng, "Unknown attribute", fmt.Sprintf("A %s has no attribute %q.%s", kind, steps[0].name, didYouMean(steps[0].name, known, "")))
}
