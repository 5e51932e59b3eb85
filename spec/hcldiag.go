package spec

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
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

// convert turns the findings of the parser and evaluator into ours.
func convertDiags(ds hcl.Diagnostics) engine.Diagnostics {
	var out engine.Diagnostics
	for _, d := range ds {
		e := engine.Diagnostic{Summary: d.Summary, Detail: d.Detail}
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

// nearest returns the name most like the given one, or "" if none is like it.
func nearest(name string, known []string) string {
	best, least := "", 4
	for _, k := range known {
		if d := levenshtein.Distance(strings.ToLower(name), strings.ToLower(k), nil); d < least && d < max(len(name), 2) {
			best, least = k, d
		}
	}
	return best
}

// didYouMean ends a sentence about an unknown name: with the nearest known one,
// or with all there are if they are few.
func didYouMean(name string, known []string, prefix string) string {
	if n := nearest(name, known); n != "" {
		return fmt.Sprintf(" Did you mean %s%s?", prefix, n)
	}
	switch {
	case len(known) == 0:
		return ""
	case len(known) <= 12:
		return " There is " + enumerate(known, prefix) + "."
	default:
		return ""
	}
}

// enumerate writes "a", "a and b" or "a, b and c".
func enumerate(words []string, prefix string) string {
	full := make([]string, len(words))
	for i, w := range words {
		full[i] = prefix + w
	}
	if len(full) == 1 {
		return full[0]
	}
	return strings.Join(full[:len(full)-1], ", ") + " and " + full[len(full)-1]
}
