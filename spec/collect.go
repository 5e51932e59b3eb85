package spec

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// topLevel lists the block types, with the number of their labels.
var topLevel = map[string]int{
	"flow": 1, "variable": 1, "locals": 0, "output": 1, "provider": 1,
	"vm": 1, "host": 1, "network": 1, "image": 1, "function": 1, "frontend": 1, "cluster": 1, "scaling": 1, "task": 1,
}

// BlockTypes lists the types of blocks that a spec may have, sorted.
func BlockTypes() []string { return slices.Sorted(maps.Keys(topLevel)) }

// parse reads a file of the language. The body is nil if it does not parse.
func (l *loader) parse(f File) *hclsyntax.Body {
	if deep := tooDeep(f); deep != nil {
		l.add(*deep)
		return nil
	}
	file, ds := hclsyntax.ParseConfig(f.Bytes, f.Name, hcl.InitialPos)
	l.addAll(syntaxDiags(ds, f.Bytes))
	if ds.HasErrors() {
		return nil
	}
	return file.Body.(*hclsyntax.Body)
}

// collect parses all files and sorts their blocks by type. It returns false if
// a file does not parse.
func (l *loader) collect() bool {
	parsed := true
	for _, f := range l.bundle.Files {
		body := l.parse(f)
		if body == nil {
			parsed = false
			continue
		}
		for _, a := range attributes(body) {
			l.fault(a.NameRange, "Attribute outside of a block", fmt.Sprintf("%q stands outside of any block. Put values into locals { … }, and the settings of a resource into its block.", a.Name))
		}
		for _, blk := range body.Blocks {
			l.collectBlock(blk)
		}
	}
	return parsed
}

func (l *loader) collectBlock(blk *hclsyntax.Block) {
	if !l.wellLabelled(blk) {
		for _, name := range blk.Labels {
			l.rejected[name] = true
		}
		return
	}
	switch blk.Type {
	case "flow":
		if l.flow != nil {
			l.fault(blk.DefRange(), "Duplicate flow block", "A flow has one flow block; the first is at "+place(l.flow.DefRange())+". Remove one, or put the flows into folders of their own.")
			return
		}
		l.flow = blk
	case "variable":
		l.collectVariable(blk)
	case "locals":
		l.collectLocals(blk)
	case "output":
		l.collectOutput(blk)
	case "provider":
		l.providers = append(l.providers, blk)
	default:
		l.collectResource(engine.Kind(blk.Type), blk)
	}
}

// wellLabelled checks a block's type and labels.
func (l *loader) wellLabelled(blk *hclsyntax.Block) bool {
	labels, known := topLevel[blk.Type]
	if !known {
		l.fault(blk.TypeRange, "Unknown block type", fmt.Sprintf("There are no %q blocks.%s", blk.Type, suggestBlockType(blk.Type)))
		return false
	}
	if len(blk.Labels) != labels {
		l.fault(blk.DefRange(), "Wrong number of labels", labelHelp(blk.Type, labels))
		return false
	}
	for i, name := range blk.Labels {
		if !hclsyntax.ValidIdentifier(name) {
			l.fault(blk.LabelRanges[i], "Invalid name", fmt.Sprintf("%q is no name: names start with a letter and go on with letters, digits, _ and -.", name))
			return false
		}
		if len(name) > maxName {
			l.fault(blk.LabelRanges[i], "Invalid name", fmt.Sprintf("The name has %d characters; %d are the most, since machines, files and containers are named after it.", len(name), maxName))
			return false
		}
	}
	return true
}

// maxName is the longest name of a block: host names are made of it (RFC 1123).
const maxName = 63

func labelHelp(kind string, labels int) string {
	if labels == 0 {
		return fmt.Sprintf("%s block has no name: write %s { … }.", capital(article(kind)), kind)
	}
	return fmt.Sprintf("%s block has one name: write %s \"name\" { … }.", capital(article(kind)), kind)
}

func (l *loader) collectVariable(blk *hclsyntax.Block) {
	name := blk.Labels[0]
	if first, ok := l.variables[name]; ok {
		l.fault(blk.DefRange(), "Duplicate variable", fmt.Sprintf("The variable %q is declared twice, first at %s. Rename or remove one.", name, place(first.block.DefRange())))
		return
	}
	l.variables[name] = newVariable(name, blk)
}

func (l *loader) collectLocals(blk *hclsyntax.Block) {
	for _, nested := range blk.Body.Blocks {
		l.fault(nested.DefRange(), "Block in locals", fmt.Sprintf("A locals block has only lines such as name = value. To make an object, write %s = { … }.", nested.Type))
	}
	for _, a := range attributes(blk.Body) {
		if first, ok := l.locals[a.Name]; ok {
			l.fault(a.NameRange, "Duplicate local", fmt.Sprintf("local.%s is declared twice, first at %s. Rename or remove one.", a.Name, place(first.attr.SrcRange)))
			continue
		}
		l.locals[a.Name] = &local{name: a.Name, attr: a}
	}
}

func (l *loader) collectOutput(blk *hclsyntax.Block) {
	name := blk.Labels[0]
	if first := l.outputs[name]; first != nil {
		l.fault(blk.DefRange(), "Duplicate output", fmt.Sprintf("The output %q is declared twice, first at %s. Rename or remove one.", name, place(first.DefRange())))
		return
	}
	l.outputs[name] = blk
}

// collectResource files a resource block and notes the attributes that every
// such block may have.
func (l *loader) collectResource(kind engine.Kind, blk *hclsyntax.Block) {
	b := &block{program: l.program, kind: kind, name: blk.Labels[0], body: blk.Body, def: blk.DefRange()}
	if first, ok := l.index[kind][b.name]; ok {
		l.fault(blk.DefRange(), "Duplicate name", fmt.Sprintf("%s is declared twice, first at %s. Rename or remove one.", b.addr(), place(first.def)))
		return
	}
	b.forEach = blk.Body.Attributes["for_each"]
	for _, nested := range blk.Body.Blocks {
		switch {
		case nested.Type != "timeouts":
		case b.timeouts != nil:
			l.fault(nested.DefRange(), "Duplicate block", fmt.Sprintf("A %s block has one timeouts block; the first is at %s.", kind, place(b.timeouts.DefRange())))
		default:
			b.timeouts = nested
		}
	}
	if l.index[kind] == nil {
		l.index[kind] = map[string]*block{}
	}
	l.index[kind][b.name] = b
	l.blocks = append(l.blocks, b)
}

// attributes lists a body's attributes in the order of the source.
func attributes(body *hclsyntax.Body) []*hclsyntax.Attribute {
	all := slices.Collect(maps.Values(body.Attributes))
	slices.SortFunc(all, func(a, b *hclsyntax.Attribute) int { return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte })
	return all
}
