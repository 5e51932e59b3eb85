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

// block is one resource block of the source.
type block struct {
	program   *program
	kind      engine.Kind
	name      string
	body      *hclsyntax.Body
	forEach   *hclsyntax.Attribute // nil without
	timeouts  *hclsyntax.Block     // nil without
	def       hcl.Range
	keys      []string // of for_each, sorted; nil without it, or if it cannot be told
	instances []*instance
	faulty    bool // its text has faults
	inputs    inputs
	typed     *hcl.EvalContext      // while the flow is loaded, see typedScope
	value     cty.Value             // of each instance, if they are all the same and depend on nothing
	meta      any                   // its decoded attributes about size and place, if each instance has the same
	capacity  *engine.Capacity      // of each instance, if they are all the same
	reported  map[finding]*instance // which instance spoke of a fault in one place
}

func (b *block) addr() engine.Address { return engine.Addr(b.kind, b.name) }

// has reports whether for_each has a key.
func (b *block) has(key string) bool {
	_, ok := slices.BinarySearch(b.keys, key)
	return ok
}

// example shows how the block, or one of its for_each, is referred to.
func (b *block) example() string {
	switch {
	case b.forEach == nil:
		return b.addr().String()
	case len(b.keys) == 0:
		return b.addr().String() + `["key"]`
	default:
		return b.addr().For(b.keys[0]).String()
	}
}

// attribute returns the place of an attribute's value, or of the block.
func (b *block) attribute(name string) hcl.Range {
	if a := b.body.Attributes[name]; a != nil {
		return a.Expr.Range()
	}
	return b.def
}

// instance is one block for one for_each key.
type instance struct {
	block  *block
	addr   engine.Address
	each   cty.Value // the object of key and value; NilVal without for_each
	sites  []site    // what its value uses of resources
	lost   bool      // one of the sites is
	faulty bool
}

// address is i's address; the zero one if there is no i.
func (i *instance) address() engine.Address {
	if i == nil {
		return engine.Address{}
	}
	return i.addr
}

// sound reports whether nothing wrong is known of an instance.
func (i *instance) sound() bool { return !i.faulty && !i.block.faulty }

// scope returns the scope of what does not depend on resources.
func (i *instance) scope() *hcl.EvalContext {
	if i.each == cty.NilVal {
		return i.block.program.scope
	}
	ctx := i.block.program.scope.NewChild()
	ctx.Variables = map[string]cty.Value{"each": i.each}
	return ctx
}

// Common documents the attributes that every resource block may have.
type Common struct {
	ForEach   string           `flow:"for_each,meta" doc:"A map or a set of strings: the block is made once for each, with each.key and each.value."`
	Provider  string           `flow:"provider,meta" doc:"The provider that makes it: a name, or name.alias."`
	DependsOn []engine.Address `flow:"depends_on,meta" doc:"Blocks that must be done before this one, beyond those that it refers to."`
	Timeouts  *engine.Timeouts `flow:"timeouts,meta" doc:"How long attempts may take."`
}

// commonNames are the attributes and blocks of Common.
var commonNames = []string{"for_each", "provider", "depends_on", "timeouts"}

// maxInstances is the most block instances of a flow: enough for all that it is
// made for, and no more than memory holds.
const maxInstances = 200_000

// expandBlocks evaluates for_each and makes the instances, and with them the
// scope in which attributes such as to and on find the blocks they refer to.
func (l *loader) expandBlocks() {
	byKind := map[engine.Kind]map[string]cty.Value{}
	for _, b := range l.blocks {
		l.expand(b)
		if byKind[b.kind] == nil {
			byKind[b.kind] = map[string]cty.Value{}
		}
		byKind[b.kind][b.name] = b.reference()
	}
	l.refs = map[string]cty.Value{}
	for _, kind := range engine.BlockKinds {
		l.refs[string(kind)] = cty.ObjectVal(byKind[kind])
	}
	l.resolveLocals()
}

func (l *loader) expand(b *block) {
	if b.forEach == nil {
		l.instantiate(b, b.addr(), cty.NilVal)
		return
	}
	expr := b.forEach.Expr
	each := l.eachOf(expr)
	if b.faulty = each == nil; b.faulty {
		return
	}
	problem := each.problem
	if problem == "" && len(l.groups)+len(each.keys) > maxInstances {
		problem = fmt.Sprintf("for_each has %d keys, and a flow takes %d instances of blocks at most. To make many alike, use count or replicas.", len(each.keys), maxInstances)
	}
	if b.faulty = problem != ""; b.faulty {
		l.fault(expr.Range(), "Invalid for_each", problem)
		return
	}
	b.keys = each.keys
	b.instances = make([]*instance, 0, len(each.keys))
	for i, key := range each.keys {
		l.instantiate(b, b.addr().For(key), each.objects[i])
	}
}

func (l *loader) instantiate(b *block, addr engine.Address, each cty.Value) {
	inst := &instance{block: b, addr: addr, each: each}
	b.instances = append(b.instances, inst)
	l.groups[addr] = inst
}

// forEach is what a for_each comes to, or what is wrong with it.
type forEach struct {
	keys    []string    // sorted
	objects []cty.Value // each, by key
	problem string
}

// eachOf evaluates a for_each. It returns nil for what is not known because it
// is made of something that has a fault of its own. Blocks that go over the same
// local or variable share the result.
func (l *loader) eachOf(expr hclsyntax.Expression) *forEach {
	if l.examine(expr, where{known: "for_each decides how many blocks there are"}).broken {
		return nil
	}
	name := sharedName(expr)
	if each := l.eaches[name]; each != nil && name != "" {
		return each
	}
	v, ds := evaluate(expr, l.scope)
	l.addAll(convertDiags(ds))
	if ds.HasErrors() || !v.IsKnown() {
		return nil
	}
	each := &forEach{problem: eachProblem(v)}
	if each.problem == "" && !each.fill(v) {
		return nil
	}
	l.eaches[name] = each
	return each
}

// sharedName returns the name of the local or variable that an expression is, ""
// if it is anything else.
func sharedName(expr hclsyntax.Expression) string {
	t, ok := expr.(*hclsyntax.ScopeTraversalExpr)
	if !ok || len(t.Traversal) != 2 {
		return ""
	}
	a, _ := t.Traversal[1].(hcl.TraverseAttr)
	return t.Traversal.RootName() + "." + a.Name
}

// eachProblem says what is wrong with a for_each, "" if nothing.
func eachProblem(v cty.Value) string {
	t := v.Type()
	switch {
	case v.IsMarked():
		return "for_each is sensitive, but its keys become part of addresses, which are shown. Use nonsensitive(…) if the keys may be seen."
	case v.IsNull():
		return "for_each is null. Give it a map or a set of strings; an empty one makes nothing."
	case t.IsTupleType() || t.IsListType():
		return "for_each is a list, whose elements have no names of their own. Write toset([…]) around it."
	case t.IsSetType() && t.ElementType() != cty.String && v.LengthInt() > 0:
		return fmt.Sprintf("for_each is a %s. Its elements become part of addresses, so they must be strings.", t.FriendlyName())
	case !t.IsSetType() && !t.IsMapType() && !t.IsObjectType():
		return fmt.Sprintf("for_each is a %s. Give it a map or a set of strings.", t.FriendlyName())
	default:
		return ""
	}
}

// fill takes the keys and elements from a value. It returns false if a key is
// not known.
func (each *forEach) fill(v cty.Value) bool {
	elements := make(map[string]cty.Value, v.LengthInt())
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if v.Type().IsSetType() {
			k = e
		}
		switch {
		case !k.IsKnown():
			return false
		case k.IsNull() || k.AsString() == "":
			each.problem = "for_each has an empty key. Each key becomes part of an address and must not be empty."
			return true
		}
		elements[k.AsString()] = e
	}
	each.keys = slices.AppendSeq(make([]string, 0, len(elements)), maps.Keys(elements)) // never nil
	slices.Sort(each.keys)
	each.objects = make([]cty.Value, len(each.keys))
	for i, key := range each.keys {
		each.objects[i] = cty.ObjectVal(map[string]cty.Value{"key": cty.StringVal(key), "value": elements[key]})
	}
	return true
}

// reference returns what stands for a block where an attribute expects a
// reference: the block's address, or an object of them with for_each.
func (b *block) reference() cty.Value {
	if b.forEach == nil {
		return refVal(b.addr())
	}
	if b.keys == nil {
		return cty.DynamicVal
	}
	byKey := make(map[string]cty.Value, len(b.keys))
	for _, inst := range b.instances {
		byKey[inst.addr.Key] = refVal(inst.addr)
	}
	return cty.ObjectVal(byKey)
}
