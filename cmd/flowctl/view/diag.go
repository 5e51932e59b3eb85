package view

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/flowctl/flowctl/engine"
)

// Diagnostics renders findings with excerpts of their sources.
func Diagnostics(ds engine.Diagnostics, sources *Sources, s Style) string {
	var b strings.Builder
	for i, d := range ds {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(diagnostic(d, sources, s))
	}
	return b.String()
}

// diagnostic renders one finding:
//
//	Error: Invalid value
//
//	  on two-tier.hcl line 12, in vm "node":
//	  12:   memory = "much"
//	                 ^^^^^^
//
//	"memory": "much" is not a size: …
func diagnostic(d engine.Diagnostic, sources *Sources, s Style) string {
	var b strings.Builder
	title := s.bad("Error: ")
	if d.Severity == engine.Warning {
		title = s.warn("Warning: ")
	}
	b.WriteString(s.bold(title+s.bold(d.Summary)) + "\n\n")
	if d.Source != nil {
		b.WriteString(excerpt(*d.Source, sources, s))
	} else if !d.Address.IsZero() {
		b.WriteString("  in " + d.Address.String() + "\n\n")
	}
	for line := range strings.Lines(wrap(d.Detail, 78)) {
		b.WriteString(strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}

// excerpt shows the source line of a range, with the range marked beneath.
func excerpt(r engine.Range, sources *Sources, s Style) string {
	if r.Start.Line == 0 {
		return ""
	}
	src := sources.text(r.Filename)
	lines := bytes.Split(src, []byte("\n"))
	where := fmt.Sprintf("  on %s line %d", r.Filename, r.Start.Line)
	if context := sources.enclosing(r); context != "" {
		where += ", in " + context
	}
	if r.Start.Line > len(lines) || len(src) == 0 {
		return where + "\n\n"
	}
	line := strings.TrimRight(string(lines[r.Start.Line-1]), "\r")
	prefix := fmt.Sprintf("  %d: ", r.Start.Line)
	from := min(max(r.Start.Column-1, 0), len([]rune(line)))
	to := len([]rune(line))
	if r.End.Line == r.Start.Line {
		to = min(max(r.End.Column-1, from), to)
	}
	pad := strings.Map(func(c rune) rune {
		if c == '\t' {
			return c
		}
		return ' '
	}, string([]rune(line)[:from]))
	marker := strings.Repeat(" ", len(prefix)) + pad + s.bad(strings.Repeat("^", max(1, to-from)))
	return where + ":\n" + prefix + line + "\n" + marker + "\n\n"
}

// wrap breaks text into lines of a width, and keeps lines that start with a
// space as they are.
func wrap(text string, width int) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, " ") {
			out = append(out, line)
			continue
		}
		current := ""
		for word := range strings.FieldsSeq(line) {
			if current != "" && len([]rune(current))+1+len([]rune(word)) > width {
				out = append(out, current)
				current = ""
			}
			if current != "" {
				current += " "
			}
			current += word
		}
		out = append(out, current)
	}
	return strings.Join(out, "\n")
}

// JSONDiagnostic is a finding in JSON.
type JSONDiagnostic struct {
	Severity string        `json:"severity"`
	Summary  string        `json:"summary"`
	Detail   string        `json:"detail,omitempty"`
	Address  string        `json:"address,omitempty"`
	Range    *engine.Range `json:"range,omitempty"`
	Snippet  string        `json:"snippet,omitempty"` // the source line
}

// JSONDiagnostics converts findings; the list is never null.
func JSONDiagnostics(ds engine.Diagnostics, sources *Sources) []JSONDiagnostic {
	out := []JSONDiagnostic{}
	for _, d := range ds {
		j := JSONDiagnostic{Severity: d.Severity.String(), Summary: d.Summary, Detail: d.Detail, Address: d.Address.String(), Range: d.Source}
		if d.Source != nil && d.Source.Start.Line > 0 {
			lines := bytes.Split(sources.text(d.Source.Filename), []byte("\n"))
			if d.Source.Start.Line <= len(lines) {
				j.Snippet = strings.TrimRight(string(lines[d.Source.Start.Line-1]), "\r")
			}
		}
		out = append(out, j)
	}
	return out
}

// Validation is the result of 'flowctl validate -json'.
type Validation struct {
	FormatVersion string           `json:"format_version"`
	Valid         bool             `json:"valid"`
	ErrorCount    int              `json:"error_count"`
	WarningCount  int              `json:"warning_count"`
	Diagnostics   []JSONDiagnostic `json:"diagnostics"`
}

// FormatVersion is the version of all JSON forms.
const FormatVersion = "1.0"

// Validate makes the result of a validation.
func Validate(ds engine.Diagnostics, sources *Sources) Validation {
	v := Validation{FormatVersion: FormatVersion, Valid: !ds.HasErrors(), Diagnostics: JSONDiagnostics(ds, sources)}
	for _, d := range ds {
		if d.Severity == engine.Error {
			v.ErrorCount++
		} else {
			v.WarningCount++
		}
	}
	return v
}
