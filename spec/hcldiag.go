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

// rangeOf converts a range of the parser.
func rangeOf(r hcl.Range) engine.Range {
	return engine.Range{
		Filename: r.Filename,
		Start:    engine.Pos{Line: r.Start.Line, Column: r.Start.Column, Byte: r.Start.Byte},
		End:      engine.Pos{Line: r.End.Line, Column: r.End.Column, Byte: r.End.Byte},
	}
}

func at(r hcl.Range) *engine.Range {
	out := rangeOf(r)
	return &out
}

// place writes where something is, for a sentence.
func place(r hcl.Range) string { return rangeOf(r).String() }

// convertDiags turns the findings of the parser and evaluator into ours.
func convertDiags(ds hcl.Diagnostics) engine.Diagnostics {
	var out engine.Diagnostics
	for _, d := range ds {
		e := engine.Diagnostic{Summary: d.Summary, Detail: d.Detail + suggestion(d)}
		if d.Severity == hcl.DiagWarning {
			e.Severity = engine.Warning
		}
		if d.Subject != nil {
			e.Source = at(*d.Subject)
		}
		out = append(out, e)
	}
	return out
}

// suggestion ends the evaluator's word on a name that an object or a map does
// not have with the nearest that it has.
func suggestion(d *hcl.Diagnostic) string {
	if d.EvalContext == nil || d.Subject == nil {
		return ""
	}
	name, known := "", []string(nil)
	switch e := d.Expression.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		name, known = missingStep(e.Traversal, *d.Subject, func(t hcl.Traversal) (cty.Value, hcl.Diagnostics) { return t.TraverseAbs(d.EvalContext) })
	case *hclsyntax.RelativeTraversalExpr:
		source, ds := evaluate(e.Source, d.EvalContext)
		if ds.HasErrors() {
			return ""
		}
		name, known = missingStep(e.Traversal, *d.Subject, func(t hcl.Traversal) (cty.Value, hcl.Diagnostics) { return t.TraverseRel(source) })
	case *hclsyntax.IndexExpr:
		of, ds := evaluate(e.Collection, d.EvalContext)
		key, keyDs := evaluate(e.Key, d.EvalContext)
		if !ds.HasErrors() && !keyDs.HasErrors() && key.Type() == cty.String && key.IsKnown() && !key.IsNull() && !key.IsMarked() {
			name, known = key.AsString(), keysOf(of)
			return fmt.Sprintf(" It is %q.", name) + didYouMean(name, known, "")
		}
	}
	if name == "" || known == nil {
		return ""
	}
	return didYouMean(name, known, "")
}

// missingStep finds the step of a traversal that a finding is about, and what
// could stand there.
func missingStep(t hcl.Traversal, subject hcl.Range, value func(hcl.Traversal) (cty.Value, hcl.Diagnostics)) (string, []string) {
	for i, s := range t {
		a, ok := s.(hcl.TraverseAttr)
		if !ok || a.SrcRange != subject {
			continue
		}
		if v, ds := value(t[:i]); !ds.HasErrors() {
			return a.Name, keysOf(v)
		}
	}
	return "", nil
}

// keysOf lists the attributes of an object or the keys of a map, nil if v is
// neither or is sensitive.
func keysOf(v cty.Value) []string {
	t := v.Type()
	switch {
	case v.IsMarked() || v.IsNull():
		return nil
	case t.IsObjectType():
		return slices.Sorted(maps.Keys(t.AttributeTypes()))
	case t.IsMapType() && v.IsKnown():
		return slices.Sorted(maps.Keys(v.AsValueMap()))
	default:
		return nil
	}
}
