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

func sourceOf(r hcl.Range) *engine.Range {
	out := rangeOf(r)
	return &out
}

// place writes where something is, for a sentence.
func place(r hcl.Range) string { return rangeOf(r).String() }

// convertDiags turns the findings of the parser and evaluator into ours.
func convertDiags(ds hcl.Diagnostics) engine.Diagnostics {
	var out engine.Diagnostics
	for _, d := range ds {
		e := engine.Diagnostic{Summary: d.Summary, Detail: d.Detail}
		if d.Severity == hcl.DiagWarning {
			e.Severity = engine.Warning
		}
		if d.Subject != nil {
			e.Source = sourceOf(*d.Subject)
		}
		if name, known, ok := missingName(d); ok {
			e.Summary, e.Detail = "Unknown key", fmt.Sprintf("There is no %q in this.%s", name, didYouMean(name, known, ""))
		}
		out = append(out, e)
	}
	return out
}

// missingName finds the name that an object or a map does not have, where that
// is what the evaluator speaks of, and those that it has.
func missingName(d *hcl.Diagnostic) (name string, known []string, ok bool) {
	if d.EvalContext == nil || d.Subject == nil {
		return "", nil, false
	}
	switch e := d.Expression.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		name, known = missingStep(e.Traversal, *d.Subject, func(t hcl.Traversal) (cty.Value, hcl.Diagnostics) { return t.TraverseAbs(d.EvalContext) })
	case *hclsyntax.RelativeTraversalExpr:
		source, ds := evaluate(e.Source, d.EvalContext)
		if ds.HasErrors() {
			return "", nil, false
		}
		name, known = missingStep(e.Traversal, *d.Subject, func(t hcl.Traversal) (cty.Value, hcl.Diagnostics) { return t.TraverseRel(source) })
	case *hclsyntax.IndexExpr:
		of, ds := evaluate(e.Collection, d.EvalContext)
		key, keyDs := evaluate(e.Key, d.EvalContext)
		if ds.HasErrors() || keyDs.HasErrors() {
			return "", nil, false
		}
		name, known = textOf(key), keysOf(of)
	}
	return name, known, name != "" && known != nil && !slices.Contains(known, name)
}

// textOf returns a string that may be shown, "" if v is none.
func textOf(v cty.Value) string {
	if v.IsMarked() || !v.IsKnown() || v.IsNull() || v.Type() != cty.String {
		return ""
	}
	return v.AsString()
}

// missingStep finds the step of a traversal that a finding is about, and what
// could stand there.
func missingStep(t hcl.Traversal, subject hcl.Range, value func(hcl.Traversal) (cty.Value, hcl.Diagnostics)) (string, []string) {
	for i, s := range t {
		name, rng := "", hcl.Range{}
		switch s := s.(type) {
		case hcl.TraverseAttr:
			name, rng = s.Name, s.SrcRange
		case hcl.TraverseIndex:
			name, rng = textOf(s.Key), s.SrcRange
		}
		if name == "" || rng != subject {
			continue
		}
		if v, ds := value(t[:i]); !ds.HasErrors() {
			return name, keysOf(v)
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
