package spec

import (
	"fmt"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// expression is what is known of an expression before it is evaluated. It is
// found out once, however many instances for_each makes of it.
type expression struct {
	uses   []use      // of resources
	locals []localUse // of locals
	each   bool       // whether it names each
	broken bool       // whether it has faults, which are reported: it is not evaluated
	value  cty.Value  // the attribute's value, once known to be the same for every instance
}

// dynamic reports whether e depends on what resources become.
func (e *expression) dynamic() bool {
	for _, u := range e.locals {
		if u.local.dynamic {
			return true
		}
	}
	return len(e.uses) > 0
}

// varies reports whether e may come to different values at different times or
// for different instances.
func (e *expression) varies() bool { return e.each || e.dynamic() }

// use is one place in an expression that uses what a resource becomes.
type use struct {
	block      *block
	key, index pick
	rng        hcl.Range
}

// localUse is one place in an expression that uses a local.
type localUse struct {
	local *local
	rng   hcl.Range
}

// pick says which for_each key or which instance of a block a use is about.
// The zero pick is about all of them.
type pick struct {
	value cty.Value            // the key or number, if it is written out
	expr  hclsyntax.Expression // it is this, in each instance
	same  bool                 // that is each.key
	rng   hcl.Range
}

// in returns the key or number that p comes to in a scope, null if it cannot be
// told.
func (p pick) in(ctx *hcl.EvalContext, want cty.Type) cty.Value {
	v := p.value
	if p.expr != nil {
		var ds hcl.Diagnostics
		if v, ds = evaluate(p.expr, ctx); ds.HasErrors() {
			return cty.NullVal(want)
		}
	}
	if v == cty.NilVal {
		return cty.NullVal(want)
	}
	v, _ = v.Unmark()
	v, err := convert.Convert(v, want)
	if err != nil || !v.IsKnown() {
		return cty.NullVal(want)
	}
	return v
}

// text is in for a key; false if it cannot be told.
func (p pick) text(ctx *hcl.EvalContext, inst *instance) (string, bool) {
	if p.same && inst != nil {
		return inst.addr.Key, true
	}
	v := p.in(ctx, cty.String)
	if v.IsNull() {
		return "", false
	}
	return v.AsString(), true
}

// site is what one instance uses of a block.
type site struct {
	use   *use
	key   string // of for_each; "" means all, or that there are none
	index int    // -1 means all, or that there are none
	lost  bool   // there is no such instance, which is reported
}

// siteOf finds what a use is about in a scope.
func (l *loader) siteOf(u *use, ctx *hcl.EvalContext, inst *instance) site {
	s := site{use: u, index: -1}
	b := u.block
	if b.forEach != nil && b.keys != nil {
		if key, ok := u.key.text(ctx, inst); ok {
			if s.key = key; !b.has(s.key) {
				l.add(engine.Diagnostic{
					Summary: "Unknown key", Source: sourceOf(u.key.rng), Address: inst.address(),
					Detail: fmt.Sprintf("%s has for_each, but no key %q.%s", b.addr(), s.key, didYouMean(s.key, b.keys, "")),
				})
				s.lost = true
				return s
			}
		}
	}
	if n := u.index.in(ctx, cty.Number); !n.IsNull() && (b.forEach == nil || s.key != "") {
		i, problem := wholeIndex(n)
		if problem != "" {
			l.add(engine.Diagnostic{
				Summary: "Invalid index", Source: sourceOf(u.index.rng), Address: inst.address(),
				Detail: fmt.Sprintf("%s. The instances of %s are numbered 0, 1, 2 and so on.", problem, b.addr()),
			})
			s.lost = true
			return s
		}
		s.index = i
	}
	return s
}

// maxIndex is above any size that a group may have.
const maxIndex = 1 << 30

func wholeIndex(n cty.Value) (int, string) {
	f, _ := n.AsBigFloat().Float64()
	switch {
	case !n.AsBigFloat().IsInt():
		return 0, fmt.Sprintf("%g is not a whole number", f)
	case f < 0:
		return 0, fmt.Sprintf("%g is less than 0", f)
	case f > maxIndex:
		return 0, fmt.Sprintf("%g is more than there ever are", f)
	default:
		return int(f), ""
	}
}

// targets calls f for each resource or group that s uses.
func (s site) targets(f func(engine.Address)) {
	b := s.use.block
	switch {
	case s.lost:
	case b.forEach == nil || s.key != "":
		a := b.addr()
		a.Key = s.key
		if s.index >= 0 {
			a = a.At(s.index)
		}
		f(a)
	default:
		for _, inst := range b.instances {
			f(inst.addr)
		}
	}
}

// evaluate is expr.Value, for text that may be anything: what makes the
// evaluator panic is a fault of the expression.
func evaluate(expr hcl.Expression, ctx *hcl.EvalContext) (v cty.Value, ds hcl.Diagnostics) {
	defer func() {
		if r := recover(); r != nil {
			v, ds = cty.DynamicVal, hcl.Diagnostics{{
				Severity: hcl.DiagError, Subject: expr.Range().Ptr(), Summary: "Expression not evaluable",
				Detail: fmt.Sprintf("This cannot be evaluated: %v. Write it in another way, and please report this as a bug.", r),
			}}
		}
	}()
	return expr.Value(ctx)
}
