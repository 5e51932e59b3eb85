package view

import (
	"fmt"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Sources are the files that findings point into. A nil one has none. Not safe
// for concurrent use.
type Sources struct {
	texts  map[string][]byte
	parsed map[string]*hcl.File
}

// NewSources returns the sources with the given texts by file name.
func NewSources(texts map[string][]byte) *Sources {
	return &Sources{texts: texts, parsed: map[string]*hcl.File{}}
}

func (s *Sources) text(name string) []byte {
	if s == nil {
		return nil
	}
	return s.texts[name]
}

// enclosing names the outermost block that a range lies in: `vm "node"`.
func (s *Sources) enclosing(r engine.Range) string {
	src := s.text(r.Filename)
	if len(src) == 0 {
		return ""
	}
	file, seen := s.parsed[r.Filename]
	if !seen {
		file, _ = hclsyntax.ParseConfig(src, r.Filename, hcl.InitialPos)
		s.parsed[r.Filename] = file
	}
	if file == nil {
		return ""
	}
	blk := file.OutermostBlockAtPos(hcl.Pos{Line: r.Start.Line, Column: r.Start.Column, Byte: r.Start.Byte})
	if blk == nil {
		return ""
	}
	text := blk.Type
	for _, l := range blk.Labels {
		text += fmt.Sprintf(" %q", l)
	}
	return text
}
