package spec

import (
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// block is one resource block of the source.
type block struct {
	kind    engine.Kind
	name    string
	body    *hclsyntax.Body // without the attributes that every block may have
	forEach *hclsyntax.Attribute
	common  map[string]*hclsyntax.Attribute // provider, depends_on
	timeout *hclsyntax.Block
	def     hcl.Range
	keys    []string // of for_each, sorted; nil without it
}

func (b *block) addr() engine.Address { return engine.Addr(b.kind, b.name) }

// instance is one block for one for_each key.
type instance struct {
	block *block
	addr  engine.Address
	ctx   *hcl.EvalContext // var, local, flow, functions and each
}

// Common documents the attributes that every resource block may have.
type Common struct {
	ForEach   string           `flow:"for_each,meta" doc:"A map or a set of strings: the block is made once for each, with each.key and each.value."`
	Provider  string           `flow:"provider,meta" doc:"The provider that makes it: a name, or name.alias."`
	DependsOn []engine.Address `flow:"depends_on,meta" doc:"Blocks that must be done before this one, beyond those that it refers to."`
	Timeouts  *engine.Timeouts `flow:"timeouts,meta" doc:"How long attempts may take."`
}

// topLevel lists the block types, with the number of their labels.
var topLevel = map[string]int{
	"flow": 1, "variable": 1, "locals": 0, "output": 1, "provider": 1,
	"vm": 1, "host": 1, "network": 1, "image": 1, "function": 1, "frontend": 1, "scaling": 1, "task": 1,
}

// BlockTypes lists the types of blocks that a spec may have, sorted.
func BlockTypes() []string {
	var all []string
	for t := range topLevel {
		all = append(all, t)
	}
	slices.Sort(all)
	return all
}

// collect parses all files and sorts their blocks by type.
func (l *loader) collect() {
	for _, f := range l.bundle.Files {
		file, ds := hclsyntax.ParseConfig(f.Bytes, f.Name, hcl.InitialPos)
		l.add(ds)
		if file == nil {
			continue
		}
		body := file.Body.(*hclsyntax.Body)
		for _, a := range attributes(body) {
			l.fault(a.NameRange, "Attribute outside of a block", fmt.Sprintf("%q stands outside of any block. Put values into locals { … }, and the settings of a resource into its block.", a.Name))
		}
		for _, blk := range body.Blocks {
			l.collectBlock(blk)
		}
	}
}

func (l *loader) collectBlock(blk *hclsyntax.Block) {
	labels, known := topLevel[blk.Type]
	if !known {
		l.fault(blk.TypeRange, "Unknown block type", fmt.Sprintf("There are no %q blocks.%s", blk.Type, didYouMean(blk.Type, BlockTypes(), "")))
		return
	}
	if len(blk.Labels) != labels {
		l.fault(blk.DefRange(), "Wrong number of labels", labelHelp(blk.Type, labels))
		return
	}
	for i, name := range blk.Labels {
		if !hclsyntax.ValidIdentifier(name) {
			l.fault(blk.LabelRanges[i], "Invalid name", fmt.Sprintf("%q is no name: names start with a letter or _ and go on with letters, digits, _ and -.", name))
			return
		}
	}
	switch blk.Type {
	case "flow":
		if l.flow != nil {
			l.fault(blk.DefRange(), "Duplicate flow block", "A flow has one flow block; the first is at "+l.flow.DefRange().String()+". Remove one, or put the flows into folders of their own.")
			return
		}
		l.flow = blk
	case "variable":
		l.declareVariable(blk)
	case "locals":
		l.declareLocals(blk)
	case "output":
		l.outputs = append(l.outputs, blk)
	case "provider":
		l.providers = append(l.providers, blk)
	default:
		l.declareBlock(engine.Kind(blk.Type), blk)
	}
}

func labelHelp(kind string, labels int) string {
	if labels == 0 {
		return fmt.Sprintf("A %s block has no name: write %s { … }.", kind, kind)
	}
	return fmt.Sprintf("A %s block has one name: write %s \"name\" { … }.", kind, kind)
}

// declareBlock files a resource block and takes the common attributes out of it.
func (l *loader) declareBlock(kind engine.Kind, blk *hclsyntax.Block) {
	b := &block{kind: kind, name: blk.Labels[0], def: blk.DefRange(), common: map[string]*hclsyntax.Attribute{}}
	if first, ok := l.index[kind][b.name]; ok {
		l.fault(blk.DefRange(), "Duplicate name", fmt.Sprintf("%s is declared twice, first at %s. Rename one.", b.addr(), first.def))
		return
	}
	b.body, b.forEach = split(blk.Body, "for_each")
	for _, name := range []string{"provider", "depends_on"} {
		var a *hclsyntax.Attribute
		if b.body, a = split(b.body, name); a != nil {
			b.common[name] = a
		}
	}
	var rest hclsyntax.Blocks
	for _, nested := range b.body.Blocks {
		if nested.Type == "timeouts" {
			b.timeout = nested
			continue
		}
		rest = append(rest, nested)
	}
	b.body.Blocks = rest
	if l.index[kind] == nil {
		l.index[kind] = map[string]*block{}
	}
	l.index[kind][b.name] = b
	l.blocks = append(l.blocks, b)
}

// expandBlocks evaluates for_each and makes the instances, and with them the
// scope in which attributes such as to and on find the blocks they refer to.
func (l *loader) expandBlocks() {
	byKind := map[engine.Kind]map[string]cty.Value{}
	for _, b := range l.blocks {
		l.expand(b)
		if byKind[b.kind] == nil {
			byKind[b.kind] = map[string]cty.Value{}
		}
		byKind[b.kind][b.name] = l.reference(b)
	}
	l.refs = map[string]cty.Value{}
	for _, kind := range engine.BlockKinds {
		l.refs[string(kind)] = cty.EmptyObjectVal
		if blocks := byKind[kind]; blocks != nil {
			l.refs[string(kind)] = cty.ObjectVal(blocks)
		}
	}
}

func (l *loader) expand(b *block) {
	if b.forEach == nil {
		l.groups[b.addr()] = &instance{block: b, addr: b.addr(), ctx: l.scope}
		return
	}
	b.keys = []string{}
	v, ds := b.forEach.Expr.Value(l.scope)
	if refs := l.resourceRoots(b.forEach.Expr); len(refs) > 0 {
		l.fault(b.forEach.Expr.Range(), "for_each must be known", fmt.Sprintf("for_each decides how many blocks there are, so it cannot depend on what %s becomes. Use variables and locals.", refs[0]))
		return
	}
	l.add(ds)
	if ds.HasErrors() {
		return
	}
	elements, problem := eachOf(v)
	if problem != "" {
		l.fault(b.forEach.Expr.Range(), "Invalid for_each", problem)
		return
	}
	for key := range elements {
		b.keys = append(b.keys, key)
	}
	slices.Sort(b.keys)
	for _, key := range b.keys {
		ctx := l.scope.NewChild()
		ctx.Variables = map[string]cty.Value{"each": cty.ObjectVal(map[string]cty.Value{
			"key": cty.StringVal(key), "value": elements[key],
		})}
		addr := b.addr().For(key)
		l.groups[addr] = &instance{block: b, addr: addr, ctx: ctx}
	}
}

// eachOf returns the elements of a for_each by key, or what is wrong with it.
func eachOf(v cty.Value) (map[string]cty.Value, string) {
	if v.IsMarked() || v.ContainsMarked() {
		return nil, "for_each is sensitive, but its keys become part of addresses, which are shown. Use nonsensitive(…) if the keys may be seen."
	}
	t := v.Type()
	switch {
	case v.IsNull() || !v.IsWhollyKnown():
		return nil, "for_each is null. Give it a map or a set of strings; an empty one makes nothing."
	case t.IsSetType() && (t.ElementType() == cty.String || v.LengthInt() == 0):
	case t.IsMapType() || t.IsObjectType():
	case t.IsTupleType() || t.IsListType():
		return nil, "for_each is a list, whose elements have no names of their own. Write toset([…]) around it."
	default:
		return nil, fmt.Sprintf("for_each is a %s. Give it a map or a set of strings.", t.FriendlyName())
	}
	elements := map[string]cty.Value{}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if t.IsSetType() {
			k = e
		}
		if k.IsNull() || k.AsString() == "" {
			return nil, "for_each has an empty key. Each key becomes part of an address and must not be empty."
		}
		elements[k.AsString()] = e
	}
	return elements, ""
}

// reference returns what stands for a block where an attribute expects a
// reference: the block's address, or an object of them with for_each.
func (l *loader) reference(b *block) cty.Value {
	if b.forEach == nil {
		return refVal(b.addr())
	}
	byKey := map[string]cty.Value{}
	for _, key := range b.keys {
		byKey[key] = refVal(b.addr().For(key))
	}
	return cty.ObjectVal(byKey)
}

// attributes lists a body's attributes in the order of the source.
func attributes(body *hclsyntax.Body) []*hclsyntax.Attribute {
	var all []*hclsyntax.Attribute
	for _, a := range body.Attributes {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *hclsyntax.Attribute) int { return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte })
	return all
}
