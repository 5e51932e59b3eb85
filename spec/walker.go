package spec

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// where says what an expression may refer to.
type where struct {
	each  bool   // each has a value
	block bool   // a reference to a block is expected, not a value
	known string // why it must be known before anything is made; "" if it need not
	fixed string // why it may refer to nothing at all; "" if it may
}

// examine checks every name in an expression and finds what it uses.
func (l *loader) examine(expr hclsyntax.Expression, in where) *expression {
	if isLiteral(expr) {
		e := &expression{}
		l.exprs[expr] = e
		return e
	}
	w := &walker{loader: l, where: in}
	hclsyntax.Walk(expr, w)
	w.found.broken = w.found.broken || len(w.diags) > 0
	l.addAll(w.diags)
	l.exprs[expr] = &w.found
	return &w.found
}

// isLiteral reports whether an expression is a number, a string or the like, as
// most are.
func isLiteral(expr hclsyntax.Expression) bool {
	switch e := expr.(type) {
	case *hclsyntax.LiteralValueExpr:
		return true
	case *hclsyntax.TemplateExpr:
		return e.IsStringLiteral()
	default:
		return false
	}
}

// walker visits an expression.
type walker struct {
	where
	loader   *loader
	scopes   []map[string]struct{} // names bound by for expressions
	consumed map[hclsyntax.Node]bool
	found    expression
	diags    engine.Diagnostics
}

// step is one step into an object: a name or an index, or an expression for it.
type step struct {
	name string
	key  cty.Value
	expr hclsyntax.Expression
	rng  hcl.Range
}

// text returns the name that s is, or that its index spells out; "" if none.
func (s step) text() string {
	if s.expr == nil && s.name == "" && s.key.IsKnown() && !s.key.IsNull() && s.key.Type() == cty.String {
		return s.key.AsString()
	}
	return s.name
}

func (s step) isNumber() bool { return s.expr == nil && s.name == "" && s.key.Type() == cty.Number }

// Enter implements hclsyntax.Walker.
func (w *walker) Enter(n hclsyntax.Node) hcl.Diagnostics {
	if scope, ok := n.(hclsyntax.ChildScope); ok {
		w.scopes = append(w.scopes, scope.LocalNames)
		return nil
	}
	expr, ok := n.(hclsyntax.Expression)
	if !ok || w.consumed[n] {
		return nil
	}
	switch e := expr.(type) {
	case *hclsyntax.SplatExpr:
		w.splat(e)
	case *hclsyntax.FunctionCallExpr:
		w.call(e)
	default:
		if root, steps, ok := w.path(expr); ok {
			w.use(root, steps, expr.Range(), nil)
		}
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
		w.consume(e)
		return e.Traversal[0].(hcl.TraverseRoot), traversalSteps(e.Traversal[1:]), true
	case *hclsyntax.RelativeTraversalExpr:
		if root, steps, ok = w.path(e.Source); ok {
			w.consume(e)
		}
		return root, append(steps, traversalSteps(e.Traversal)...), ok
	case *hclsyntax.IndexExpr:
		if root, steps, ok = w.path(e.Collection); ok {
			w.consume(e)
		}
		return root, append(steps, step{expr: e.Key, rng: e.Key.Range()}), ok
	case *hclsyntax.ParenthesesExpr:
		return w.path(e.Expression)
	}
	return root, nil, false
}

func (w *walker) consume(n hclsyntax.Node) {
	if w.consumed == nil {
		w.consumed = map[hclsyntax.Node]bool{}
	}
	w.consumed[n] = true
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
	var each []step
	if t, ok := e.Each.(*hclsyntax.RelativeTraversalExpr); ok {
		if _, direct := t.Source.(*hclsyntax.AnonSymbolExpr); direct {
			each = traversalSteps(t.Traversal)
		}
	}
	w.use(root, steps, e.Range(), &each)
}

func (w *walker) call(e *hclsyntax.FunctionCallExpr) {
	if _, ok := w.loader.scope.Functions[e.Name]; !ok {
		w.fault(e.NameRange, "Unknown function", fmt.Sprintf("There is no function %q.%s", e.Name, suggestFunction(e.Name, w.loader.scope.Functions)))
	}
}

func (w *walker) binds(name string) bool {
	return slices.ContainsFunc(w.scopes, func(s map[string]struct{}) bool { _, ok := s[name]; return ok })
}

// bound lists the names that are bound here.
func (w *walker) bound() []string {
	var names []string
	for _, s := range w.scopes {
		names = append(names, slices.Sorted(maps.Keys(s))...)
	}
	return names
}

func (w *walker) fault(r hcl.Range, summary, detail string) {
	w.diags = append(w.diags, engine.Diagnostic{Summary: summary, Detail: detail, Source: sourceOf(r)})
}

// use checks one path from a root, and files what it leads to. splat are the
// steps into each element of it, nil if it is not followed by [*].
func (w *walker) use(root hcl.TraverseRoot, steps []step, rng hcl.Range, splat *[]step) {
	l := w.loader
	switch {
	case w.binds(root.Name):
	case w.fixed != "":
		w.fault(rng, "Constant expected", w.fixed)
	case root.Name == "var":
		w.member(root, steps, "Unknown variable", "There is no variable %q.", func(name string) bool { return l.variables[name] != nil },
			func() []string { return slices.Sorted(maps.Keys(l.variables)) })
	case root.Name == "local":
		w.local(root, steps, rng)
	case root.Name == "flow":
		w.memberOf(root, steps, "dir", "name")
	case root.Name == "each" && !w.each:
		w.fault(rng, "each outside of for_each", "each.key and each.value are known only in a block that has for_each.")
	case root.Name == "each":
		w.found.each = true
		w.memberOf(root, steps, "key", "value")
	case slices.Contains(engine.BlockKinds, engine.Kind(root.Name)):
		w.resource(engine.Kind(root.Name), root, steps, rng, splat)
	default:
		w.fault(rng, "Unknown name", unknownRoot(root.Name, w.bound()))
	}
}

func (w *walker) local(root hcl.TraverseRoot, steps []step, rng hcl.Range) {
	l := w.loader
	name := w.member(root, steps, "Unknown local", "There is no local %q.", func(name string) bool { return l.locals[name] != nil },
		func() []string { return slices.Sorted(maps.Keys(l.locals)) })
	if name == "" {
		return
	}
	loc := l.locals[name]
	switch {
	case !loc.dynamic:
	case w.block:
		w.fault(rng, "Reference expected", fmt.Sprintf("local.%s holds a value of %s, and this expects the block itself. Write %s.NAME here.", name, loc.maker, loc.maker.Kind))
	case w.known != "":
		w.fault(rng, "Value must be known", fmt.Sprintf("%s, so this cannot depend on local.%s, which is made of %s. Use variables and other locals.", w.known, name, loc.maker))
	}
	w.found.locals = append(w.found.locals, localUse{loc, rng})
}

func (w *walker) memberOf(root hcl.TraverseRoot, steps []step, known ...string) {
	w.member(root, steps, "Unknown attribute", root.Name+" has no attribute %q.", func(name string) bool { return slices.Contains(known, name) }, func() []string { return known })
}

// member checks the first step of a path into var, local, each or flow and
// returns its name, or "" if there is none of that name.
func (w *walker) member(root hcl.TraverseRoot, steps []step, summary, problem string, has func(string) bool, known func() []string) string {
	if len(steps) == 0 || steps[0].text() == "" {
		rng := root.SrcRange
		if len(steps) > 0 {
			rng = steps[0].rng
		}
		w.fault(rng, "Incomplete reference", fmt.Sprintf("Names are written out: %s.NAME. To choose by a value, put a map into a local and write local.NAME[value].", root.Name))
		return ""
	}
	name := steps[0].text()
	if !has(name) {
		w.fault(steps[0].rng, summary, fmt.Sprintf(problem, name)+didYouMean(name, known(), root.Name+"."))
		return ""
	}
	return name
}
