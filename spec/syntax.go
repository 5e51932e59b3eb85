package spec

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
)

// rewording says in the words of this language what the parser says in those of
// another. An empty detail keeps the parser's.
type rewording struct{ summary, detail string }

var rewordings = map[string]rewording{
	"Unclosed configuration block":               {"Unclosed block", "This block has no closing brace. Add a } where it ends; the missing one may also be that of a block within it."},
	"Missing argument separator":                 {"Missing comma", "The arguments of a function are separated by commas and end with a ). One of them is missing before this."},
	"Missing item separator":                     {"Missing comma", "The elements of a list are separated by commas and end with a ]. One of them is missing before this."},
	"Missing attribute separator":                {"Missing comma", "The entries of an object are separated by commas or lines and end with a }. One of them is missing before this."},
	"Invalid single-argument block definition":   {"Block on one line", "A block on one line holds at most one attribute: write { name = value }. Put each attribute of a larger one on a line of its own."},
	"Argument definition required":               {"Block on one line", "A block on one line holds at most one attribute: write { name = value }. Put nested blocks on lines of their own."},
	"Unexpected comma after argument":            {"Unexpected comma", "An attribute ends with its line. Remove the comma."},
	"Invalid argument name":                      {"Invalid name", "The name of an attribute is written without quotes: name = value."},
	"Unterminated object constructor expression": {"Unclosed object", "This object has no closing brace. Add a } where it ends."},
	"Unterminated tuple constructor expression":  {"Unclosed list", "This list has no closing bracket. Add a ] where it ends."},
	"Unterminated function call":                 {"Unclosed call", "This call has no closing parenthesis. Add a ) where it ends."},
	"Unclosed template interpolation sequence":   {"Unclosed template", "This ${ has no closing brace. Add a } where it ends, or write $${ for the text itself."},
	"Missing expression":                         {"Missing value", "The file ends where a value should be."},
}

// endings are findings after which the parser has lost its way: what it says of
// the rest of the file is guesswork.
var endings = map[string]bool{
	"Invalid multi-line string": true, "Unterminated template string": true, "Unterminated string literal": true,
	"Unclosed template interpolation sequence": true, "Invalid character encoding": true,
}

// syntaxDiags converts what the parser says about a text: one finding for each
// place, none that only follows from another.
func syntaxDiags(ds hcl.Diagnostics, text []byte) engine.Diagnostics {
	var out engine.Diagnostics
	last := -1
	for _, d := range ds {
		if d.Subject != nil {
			if d.Subject.Start.Byte == last {
				continue
			}
			last = d.Subject.Start.Byte
		}
		out = append(out, syntaxDiag(d, text))
		if endings[d.Summary] {
			break
		}
	}
	return out
}

func syntaxDiag(d *hcl.Diagnostic, text []byte) engine.Diagnostic {
	e := convertDiags(hcl.Diagnostics{d})[0]
	if e.Source == nil {
		return e
	}
	after := text[min(e.Source.End.Byte, len(text)):]
	here := text[min(e.Source.Start.Byte, len(text)):min(e.Source.End.Byte, len(text))]
	switch d.Summary {
	case "Argument or block definition required":
		e.Summary, e.Detail = "Attribute or block expected", expectedItem(here, after, e.Source.Start.Byte == 0)
	case "Invalid multi-line string":
		e.Summary, e.Detail = "Unclosed string", "This string has no closing quote on its line. Add a \" where it ends, or write text of several lines as <<EOT … EOT."
		e.Source = stringStart(*e.Source, text)
	case "Unterminated template string":
		e.Summary, e.Detail = "Unclosed string", "The text ends within a string. Add the \" or the end marker that closes it."
	case "Attribute redefined":
		e.Summary, e.Detail = "Duplicate attribute", fmt.Sprintf("%q is set already in the same block. Remove one.", here)
	case "Invalid escape sequence":
		e.Detail += " Write \\\\ for a backslash itself."
	case "Invalid expression":
		if strings.Contains(d.Detail, "invalid expression token") {
			e.Summary, e.Detail = "Missing value", "A value should start here: text in quotes, a number, true, false, null, [ … ], { … }, or a name such as var.NAME."
		}
	}
	if r, ok := rewordings[d.Summary]; ok {
		e.Summary, e.Detail = r.summary, r.detail
	}
	return e
}

// expectedItem says what to write where the parser found neither an attribute
// nor a block.
func expectedItem(here, after []byte, first bool) string {
	next := bytes.TrimLeft(after, " \t")
	switch {
	case first && bytes.HasPrefix(here, []byte("{")):
		return "This looks like JSON. A spec has blocks such as: flow \"name\" {}"
	case bytes.HasPrefix(here, []byte("}")):
		return "No block is open here. Remove the }, or look for a { that is missing before it."
	case bytes.HasPrefix(next, []byte(":")):
		return fmt.Sprintf("Attributes are written with an equals sign: %s = value.", here)
	default:
		return "Write an attribute, such as name = value, or a block, such as name { … }."
	}
}

// stringStart widens the place of a string's missing end to the string.
func stringStart(r engine.Range, text []byte) *engine.Range {
	line := bytes.LastIndexByte(text[:min(r.Start.Byte, len(text))], '\n') + 1
	quote := bytes.LastIndexByte(text[line:min(r.Start.Byte, len(text))], '"')
	if quote < 0 || r.Start.Column <= 1 {
		return &r
	}
	r.End = r.Start
	r.Start = engine.Pos{Line: r.End.Line, Column: len([]rune(string(text[line:line+quote]))) + 1, Byte: line + quote}
	return &r
}
