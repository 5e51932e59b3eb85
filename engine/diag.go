package engine

import (
	"fmt"
	"strings"
)

// Severity tells an error from a warning.
type Severity int

// The severities. The zero value is an error.
const (
	Error Severity = iota
	Warning
)

func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Pos is a place in a source file. Line and Column count from 1, Byte from 0.
type Pos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

// Range is a stretch of a source file.
type Range struct {
	Filename string `json:"filename"`
	Start    Pos    `json:"start"`
	End      Pos    `json:"end"`
}

func (r Range) String() string {
	return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line)
}

// Diagnostic is something that the operator can mend. Summary is a fixed
// phrase; Detail says in full sentences what is wrong, why, and what to write
// instead; Source is the narrowest range that is to blame.
type Diagnostic struct {
	Severity Severity
	Summary  string
	Detail   string
	Address  Address // the resource concerned, if one is
	Source   *Range  // nil if no source text is to blame
}

func (d Diagnostic) String() string {
	var b strings.Builder
	if d.Source != nil {
		b.WriteString(d.Source.String() + ": ")
	}
	b.WriteString(d.Severity.String() + ": " + d.Summary)
	if d.Detail != "" {
		b.WriteString("; " + d.Detail)
	}
	return b.String()
}

// Diagnostics is a list of findings; nil is none. All of them are reported, in
// the order of the source.
type Diagnostics []Diagnostic

// HasErrors reports whether at least one finding is an error.
func (ds Diagnostics) HasErrors() bool {
	for _, d := range ds {
		if d.Severity == Error {
			return true
		}
	}
	return false
}

// Err returns the findings as an error, or nil if none of them is one.
func (ds Diagnostics) Err() error {
	if !ds.HasErrors() {
		return nil
	}
	return diagError(ds)
}

type diagError Diagnostics

func (e diagError) Error() string {
	lines := make([]string, len(e))
	for i, d := range e {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}
