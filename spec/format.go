package spec

import (
	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Format returns the canonical layout of a source file. It refuses text that
// does not parse. Formatting twice changes nothing.
func Format(f File) ([]byte, engine.Diagnostics) {
	if deep := tooDeep(f); deep != nil {
		return nil, engine.Diagnostics{*deep}
	}
	_, diags := hclsyntax.ParseConfig(f.Bytes, f.Name, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, syntaxDiags(diags, f.Bytes)
	}
	return hclwrite.Format(f.Bytes), nil
}
