package spec

import (
	"bytes"
	"fmt"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// The parser and the evaluator descend into expressions by calling themselves,
// and Go ends the process when a stack grows too large. So what is nested
// deeper than anyone would write is refused before it is parsed.
const (
	maxDepth = 500      // brackets, operators and indexes within each other
	harmless = 20_000   // as many can do no harm, however they are nested
	maxFile  = 16 << 20 // bytes
)

// canNest reports whether a file has so much that may nest that it is worth a
// closer look.
func canNest(text []byte) bool {
	n := 0
	for _, c := range text {
		switch c {
		case '(', '[', '{', '!', '-', '+', '*', '/', '%', '?', '<', '>', '&', '|':
			n++
		}
	}
	return n+bytes.Count(text, []byte("==")) > harmless
}

// tooDeep returns a finding about a file that is nested too deeply or too large
// to be read, nil if it is neither.
func tooDeep(f File) *engine.Diagnostic {
	if len(f.Bytes) > maxFile {
		return &engine.Diagnostic{
			Summary: "File too large",
			Detail:  fmt.Sprintf("%s has %d MiB; a spec file has at most %d. Is it a spec at all?", f.Name, len(f.Bytes)>>20, maxFile>>20),
			Source:  sourceOf(hcl.Range{Filename: f.Name, Start: hcl.InitialPos, End: hcl.InitialPos}),
		}
	}
	if !canNest(f.Bytes) {
		return nil
	}
	tokens, _ := hclsyntax.LexConfig(f.Bytes, f.Name, hcl.InitialPos) // what is wrong with them, the parser says
	return deepToken(tokens)
}

// tooDeepTemplate is tooDeep for a template.
func tooDeepTemplate(f File) *engine.Diagnostic {
	if !canNest(f.Bytes) {
		return nil
	}
	tokens, _ := hclsyntax.LexTemplate(f.Bytes, f.Name, hcl.InitialPos)
	return deepToken(tokens)
}

func deepToken(tokens hclsyntax.Tokens) *engine.Diagnostic {
	d := depth{open: []level{{}}}
	for i, t := range tokens {
		if d.take(t, tokens[i+1:]); d.total > maxDepth {
			return &engine.Diagnostic{
				Summary: "Nested too deeply",
				Detail:  fmt.Sprintf("Here, more than %d brackets, operators and indexes stand within each other. Give parts of it names in locals.", maxDepth),
				Source:  sourceOf(t.Range),
			}
		}
	}
	return nil
}

// depth follows how deeply tokens are nested. Operators in a row count, too,
// until a comma or a line's end.
type depth struct {
	total int
	open  []level // never empty: the first stands for the file
}

// level is an open bracket.
type level struct {
	brace     bool // lines end within it
	operators int
}

func (d *depth) take(t hclsyntax.Token, rest hclsyntax.Tokens) {
	switch t.Type {
	case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen,
		hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
		switch {
		case t.Type == hclsyntax.TokenOBrack: // an index is one step deeper than what it is taken of
			d.operators(1)
		case t.Type == hclsyntax.TokenTemplateControl && len(rest) > 0:
			d.operators(directive(rest[0]))
		}
		d.open = append(d.open, level{brace: t.Type == hclsyntax.TokenOBrace})
		d.total++
	case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen,
		hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
		if n := len(d.open); n > 1 {
			d.total -= 1 + d.open[n-1].operators
			d.open = d.open[:n-1]
		}
	case hclsyntax.TokenComma:
		d.reset()
	case hclsyntax.TokenNewline:
		if n := len(d.open); (n == 1 || d.open[n-1].brace) && (len(rest) == 0 || !isOperator(rest[0].Type)) {
			d.reset()
		}
	default:
		if isOperator(t.Type) {
			d.operators(1)
		}
	}
}

func (d *depth) operators(more int) {
	if top := &d.open[len(d.open)-1]; top.operators+more >= 0 {
		top.operators += more
		d.total += more
	}
}

// directive tells how much deeper a template is after %{ and this word.
func directive(t hclsyntax.Token) int {
	switch string(t.Bytes) {
	case "if", "for":
		return 1
	case "endif", "endfor":
		return -1
	default:
		return 0
	}
}

func (d *depth) reset() {
	top := &d.open[len(d.open)-1]
	d.total -= top.operators
	top.operators = 0
}

func isOperator(t hclsyntax.TokenType) bool {
	switch t {
	case hclsyntax.TokenPlus, hclsyntax.TokenMinus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent,
		hclsyntax.TokenBang, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenQuestion, hclsyntax.TokenColon,
		hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq,
		hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq:
		return true
	default:
		return false
	}
}
