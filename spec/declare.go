package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// commonNames are the attributes and blocks that every resource block may have.
var commonNames = []string{"for_each", "provider", "depends_on", "timeouts"}

// declare makes a Decl of every block instance, and the groups that placement
// works with. Scaling blocks come first: they own the sizes of others.
func (l *loader) declare() {
	for _, b := range l.blocks {
		l.checkBody(b.body, engine.BlockSchema(b.kind), string(b.kind), commonNames...)
		if b.timeout != nil {
			l.static(b.timeout.Body, engine.SchemaOf[engine.Timeouts](), l.scope)
		}
		l.checkExpressions(b)
	}
	owners := l.scalingOwners()
	for _, b := range l.blocks {
		for i, inst := range l.instancesOf(b) {
			l.declareInstance(inst, owners, i == 0)
		}
	}
}

func (l *loader) instancesOf(b *block) []*instance {
	if b.forEach == nil {
		return []*instance{l.groups[b.addr()]}
	}
	var all []*instance
	for _, key := range b.keys {
		all = append(all, l.groups[b.addr().For(key)])
	}
	return all
}

// checkExpressions checks the names in every expression of a block once.
func (l *loader) checkExpressions(b *block) {
	insts := l.instancesOf(b)
	if len(insts) == 0 {
		return
	}
	eachExpression(b.body, engine.BlockSchema(b.kind), func(expr hclsyntax.Expression, a *engine.Attribute) {
		if _, ds := l.sitesOf(expr, a, insts[0]); ds.HasErrors() {
			l.diags = append(l.diags, ds...)
			l.bad[expr] = true
		}
	})
}

// eachExpression calls f for every attribute of a body and its nested blocks
// that the schema has, in the order of the schema.
func eachExpression(body *hclsyntax.Body, s *engine.Schema, f func(hclsyntax.Expression, *engine.Attribute)) {
	for i := range s.Attributes {
		a := &s.Attributes[i]
		if written := body.Attributes[a.Name]; written != nil && a.Form != engine.BlockForm {
			f(written.Expr, a)
		}
		if a.Form != engine.BlockForm {
			continue
		}
		for _, blk := range body.Blocks {
			if blk.Type == a.Name {
				eachExpression(blk.Body, a.Block, f)
			}
		}
	}
}

// owner is the scaling block that owns a group's size.
type owner struct {
	inst  *instance
	value engine.Scaling
}

// scalingOwners evaluates the scaling blocks and finds groups with two.
func (l *loader) scalingOwners() map[engine.Address]owner {
	owners := map[engine.Address]owner{}
	for _, b := range l.blocks {
		if b.kind != engine.KindScaling {
			continue
		}
		for _, inst := range l.instancesOf(b) {
			d := l.staticDecoder(inst)
			v := d.object(b.body, engine.BlockSchema(b.kind), b.def)
			if d.diags.HasErrors() || !v.IsWhollyKnown() {
				continue // reported when it is declared
			}
			s := engine.MustDecode[engine.Scaling](v)
			if first, ok := owners[s.Target]; ok {
				l.fault(attrRange(b, "target"), "Two scaling blocks on one target", fmt.Sprintf("%s already belongs to %s at %s, and only one can own its size. Put the rules into one block: several metrics combine by the greatest.", s.Target, first.inst.addr, first.inst.block.def))
				continue
			}
			owners[s.Target] = owner{inst, s}
		}
	}
	return owners
}

func (l *loader) staticDecoder(inst *instance) *decoder {
	sites := l.instanceSites(inst)
	return &decoder{values: l.scopeFor(inst, sites, noValues{}), refs: l.refScope(inst), bad: l.bad}
}

// instanceSites lists the uses of resources in the values of a block instance.
func (l *loader) instanceSites(inst *instance) []site {
	var sites []site
	eachExpression(inst.block.body, engine.BlockSchema(inst.block.kind), func(expr hclsyntax.Expression, a *engine.Attribute) {
		if a.Form == engine.ReferenceForm || l.bad[expr] {
			return
		}
		some, ds := l.sitesOf(expr, a, inst)
		if ds.HasErrors() { // a key that only this instance gets wrong
			l.diags = append(l.diags, ds...)
			return
		}
		sites = append(sites, some...)
	})
	return sites
}

// attrRange returns the place of an attribute's value, or of the block.
func attrRange(b *block, name string) hcl.Range {
	if a := b.body.Attributes[name]; a != nil {
		return a.Expr.Range()
	}
	return b.def
}

// declareInstance makes the Decl of one block instance. Types are checked here
// for the first instance of a block; planning checks them all.
func (l *loader) declareInstance(inst *instance, owners map[engine.Address]owner, first bool) {
	b := inst.block
	cfg := &blockConfig{loader: l, inst: inst, sites: l.instanceSites(inst)}
	decl := engine.Decl{Address: inst.addr, Config: cfg, Source: rangeOf(b.def)}
	decl.Provider = l.providerOf(inst)
	decl.Needs = l.needsOf(inst, cfg.sites)
	if b.timeout != nil {
		d := decoder{values: inst.ctx, refs: inst.ctx, bad: l.bad}
		engine.Decode(d.all(b.timeout.Body, engine.SchemaOf[engine.Timeouts](), b.def, true), &decl.Timeouts)
	}
	var value cty.Value
	if first || b.kind.Sized() || b.kind == engine.KindHost || b.kind == engine.KindFrontend {
		var ds engine.Diagnostics
		value, ds = cfg.Eval(noValues{})
		if first {
			l.diags = append(l.diags, ds...)
		}
	}
	switch b.kind {
	case engine.KindVM:
		l.declareMachines(inst, &decl, value, owners)
	case engine.KindHost:
		l.declareHost(inst, &decl, value)
	case engine.KindFunction:
		l.declareFunction(inst, &decl, value, owners)
	case engine.KindFrontend:
		l.declareFrontend(inst, &decl, value)
	case engine.KindScaling:
		l.declareScaling(inst, &decl)
	}
	l.desired.Decls = append(l.desired.Decls, decl)
}

// meta decodes the attributes of a block that decide about size and place. They
// must not depend on what resources become.
func (l *loader) meta(inst *instance, into any, also ...string) {
	b := inst.block
	d := l.staticDecoder(inst)
	v := d.all(b.body, engine.BlockSchema(b.kind), b.def, true)
	l.diags = append(l.diags, d.diags...)
	if d.diags.HasErrors() {
		return
	}
	for name, a := range v.AsValueMap() {
		if !a.IsWhollyKnown() {
			l.mustBeKnown(b, name)
		}
	}
	engine.Decode(v, into)
}

func (l *loader) mustBeKnown(b *block, name string) {
	expr := b.body.Attributes[name]
	if expr == nil || l.bad[expr.Expr] {
		return
	}
	l.fault(expr.Expr.Range(), "Value must be known", fmt.Sprintf("%q decides about sizes and places, which a plan shows before anything is made, so it cannot depend on what a resource becomes. Use variables and locals.", name))
}

// known reports whether the attributes of a value that placement computes with
// are known, and says which are not.
func (l *loader) known(b *block, v cty.Value, names ...string) bool {
	ok := true
	for _, name := range names {
		if a := v.GetAttr(name); !a.IsKnown() {
			l.mustBeKnown(b, name)
			ok = false
		}
	}
	return ok
}

// bounds returns the size of a group: that of its scaling block, or its own.
func (l *loader) bounds(inst *instance, attr string, own int, owners map[engine.Address]owner) engine.Bounds {
	o, ok := owners[inst.addr]
	if !ok {
		return engine.Bounds{Min: own, Max: own}
	}
	if a := inst.block.body.Attributes[attr]; a != nil {
		l.fault(a.NameRange, "Two owners of one size", fmt.Sprintf("%s belongs to %s at %s, which owns its size. Remove %s here; the bounds are min and max there.", inst.addr, o.inst.addr, o.inst.block.def, attr))
	}
	return engine.Bounds{Min: o.value.Min, Max: o.value.Max, Autoscaled: true}
}

func (l *loader) declareMachines(inst *instance, decl *engine.Decl, value cty.Value, owners map[engine.Address]owner) {
	m := engine.MachineBlock{Count: 1}
	l.meta(inst, &m)
	if !l.known(inst.block, value, "cpus", "memory", "slots") {
		return
	}
	engine.Decode(value, &m.VM)
	l.desired.Machines = append(l.desired.Machines, engine.MachineGroup{
		Address: inst.addr, Provider: decl.Provider, Source: decl.Source,
		Count:    l.bounds(inst, "count", m.Count, owners),
		Each:     engine.Capacity{CPU: m.CPUs, Memory: m.Memory, Slots: m.Slots},
		Headroom: owners[inst.addr].value.Headroom,
	})
}

func (l *loader) declareHost(inst *instance, decl *engine.Decl, value cty.Value) {
	if !l.known(inst.block, value, "cpus", "memory", "slots") {
		return
	}
	h := engine.MustDecode[engine.Host](value)
	l.desired.Machines = append(l.desired.Machines, engine.MachineGroup{
		Address: inst.addr, Provider: decl.Provider, Source: decl.Source,
		Count: engine.Bounds{Min: 1, Max: 1},
		Each:  engine.Capacity{CPU: h.CPUs, Memory: h.Memory, Slots: h.Slots},
	})
}

func (l *loader) declareFunction(inst *instance, decl *engine.Decl, value cty.Value, owners map[engine.Address]owner) {
	f := engine.Function{Replicas: 1}
	l.meta(inst, &f)
	if !l.known(inst.block, value, "cpu", "memory") {
		return
	}
	engine.Decode(value, &f.Replica)
	decl.Roll = engine.UpdatePolicy{MaxSurge: 1, MaxUnavailable: 1}
	if f.Update != nil {
		decl.Roll = *f.Update
		if f.Update.MaxSurge == 0 && f.Update.MaxUnavailable == 0 {
			l.fault(inst.block.def, "Update that cannot move", fmt.Sprintf("%s allows neither a replica more nor one fewer than wanted while it is updated, so no replica could ever be replaced. Set max_surge or max_unavailable to 1 or more.", inst.addr))
		}
	}
	l.desired.Functions = append(l.desired.Functions, engine.FunctionGroup{
		Address: inst.addr, Source: decl.Source, On: f.On,
		Replicas:      l.bounds(inst, "replicas", f.Replicas, owners),
		Each:          engine.Capacity{CPU: f.CPU, Memory: f.Memory, Slots: 1},
		Spread:        f.Spread,
		MaxPerMachine: f.MaxPerMachine,
		Colocate:      f.Colocate,
		Avoid:         f.Avoid,
	})
	l.checkHealth(inst)
}

func (l *loader) declareFrontend(inst *instance, decl *engine.Decl, value cty.Value) {
	f := engine.MustDecode[engine.Frontend](value)
	for _, fn := range f.Targets() {
		decl.Needs = append(decl.Needs, engine.Need{Target: fn, Kind: engine.Member, Source: rangeOf(attrRange(inst.block, "to"))})
	}
}

func (l *loader) declareScaling(inst *instance, decl *engine.Decl) {
	d := l.staticDecoder(inst)
	v := d.object(inst.block.body, engine.BlockSchema(engine.KindScaling), inst.block.def)
	if !d.diags.HasErrors() && !l.known(inst.block, v, "min", "max", "target", "headroom") {
		return
	}
	s := engine.MustDecode[engine.Scaling](v)
	if !s.Target.IsZero() {
		decl.Needs = append(decl.Needs, engine.Need{Target: s.Target, Source: rangeOf(attrRange(inst.block, "target"))})
	}
}

// needsOf lists what a block instance depends on: what its values refer to, and
// its depends_on. Each target once, the first place in the source counts.
func (l *loader) needsOf(inst *instance, sites []site) []engine.Need {
	first := map[engine.Address]engine.Range{}
	add := func(a engine.Address, r hcl.Range) {
		if _, ok := first[a]; !ok && a != inst.addr {
			first[a] = rangeOf(r)
		}
	}
	for _, s := range sites {
		for _, a := range s.targets() {
			if a.Group() == inst.addr {
				l.fault(s.rng, "Reference to itself", fmt.Sprintf("%s refers to itself, which is not known before it is made. Its own address is in FLOWCTL_ADDRESS, its port in PORT, when a function runs.", inst.addr))
				continue
			}
			add(a, s.rng)
		}
	}
	if a := inst.block.common["depends_on"]; a != nil {
		for _, addr := range l.dependsOn(inst, a) {
			add(addr, a.Expr.Range())
		}
	}
	var needs []engine.Need
	for _, a := range slices.SortedFunc(maps.Keys(first), engine.Address.Compare) {
		needs = append(needs, engine.Need{Target: a, Source: first[a]})
	}
	return needs
}

func (l *loader) dependsOn(inst *instance, a *hclsyntax.Attribute) []engine.Address {
	attr := engine.SchemaOf[Common]().Attribute("depends_on")
	if _, ds := l.sitesOf(a.Expr, attr, inst); ds.HasErrors() {
		l.diags = append(l.diags, ds...)
		return nil
	}
	d := decoder{values: inst.ctx, refs: l.refScope(inst), bad: l.bad}
	v := d.reference(a.Expr, attr)
	l.diags = append(l.diags, d.diags...)
	if !v.IsWhollyKnown() || v.IsNull() {
		return nil
	}
	var addrs []engine.Address
	for _, e := range v.AsValueSlice() {
		addr, err := engine.ParseAddress(e.AsString())
		if err != nil {
			panic("bug: " + err.Error())
		}
		addrs = append(addrs, addr)
	}
	return addrs
}

// providerOf returns the name of the provider that makes a block's resources.
func (l *loader) providerOf(inst *instance) string {
	b := inst.block
	a := b.common["provider"]
	if a == nil {
		switch b.kind {
		case engine.KindFunction:
			return ""
		case engine.KindFrontend:
			return l.opts.Balancer
		case engine.KindScaling, engine.KindTask:
			return l.opts.Builtin
		default:
			return l.knownProvider(l.opts.DefaultProvider, b.def)
		}
	}
	if b.kind == engine.KindFunction {
		l.fault(a.SrcRange, "Provider of a function", "A function is run by the provider of the machine that it is on. Remove the line, and name the provider in that vm or host.")
		return ""
	}
	if l.bad[a.Expr] {
		return ""
	}
	if ds := l.checkNames(a.Expr, inst); ds.HasErrors() {
		l.diags = append(l.diags, ds...)
		l.bad[a.Expr] = true
		return ""
	}
	v, ds := a.Expr.Value(inst.ctx)
	l.add(ds)
	v, _ = v.Unmark()
	if ds.HasErrors() || v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
		if !ds.HasErrors() {
			l.fault(a.Expr.Range(), "Wrong type", `"provider" expects the name of a provider, such as "local", or "name.alias".`)
		}
		return ""
	}
	return l.knownProvider(v.AsString(), a.Expr.Range())
}

// knownProvider checks a provider's name; each wrong use is reported once.
func (l *loader) knownProvider(name string, where hcl.Range) string {
	base, alias, aliased := strings.Cut(name, ".")
	known := slices.Sorted(maps.Keys(l.opts.Providers))
	if !slices.Contains(known, base) {
		l.faultOnce(where, "Unknown provider", fmt.Sprintf("There is no provider %q.%s", base, didYouMean(base, known, "")))
		return name
	}
	if _, ok := l.settings[name]; aliased && !ok {
		l.faultOnce(where, "Unknown provider alias", fmt.Sprintf("No block declares the alias: write provider %q { alias = %q … }.", base, alias))
	}
	return name
}

func (l *loader) faultOnce(r hcl.Range, summary, detail string) {
	for _, d := range l.diags {
		if d.Summary == summary && d.Source != nil && *d.Source == rangeOf(r) {
			return
		}
	}
	l.fault(r, summary, detail)
}

// loadProviders evaluates the provider blocks.
func (l *loader) loadProviders() {
	first := map[string]hcl.Range{}
	for _, blk := range l.providers {
		name := blk.Labels[0]
		schema := l.opts.Providers[name]
		if schema == nil {
			known := slices.Sorted(maps.Keys(l.opts.Providers))
			l.fault(blk.LabelRanges[0], "Unknown provider", fmt.Sprintf("There is no provider %q.%s", name, didYouMean(name, known, "")))
			continue
		}
		body, alias := split(blk.Body, "alias")
		full := name
		if alias != nil {
			v, ds := alias.Expr.Value(l.scope)
			l.add(ds)
			if ds.HasErrors() || v.Type() != cty.String || !v.IsKnown() || v.IsNull() || !hclsyntax.ValidIdentifier(v.AsString()) {
				l.fault(alias.Expr.Range(), "Invalid name", "An alias is a name in quotes: letters, digits, _ and -.")
				continue
			}
			full += "." + v.AsString()
		}
		if was, ok := first[full]; ok {
			l.fault(blk.DefRange(), "Duplicate provider", fmt.Sprintf("The provider %q is set up twice, first at %s. Give one of them an alias.", full, was))
			continue
		}
		first[full] = blk.DefRange()
		l.checkBody(body, schema, "provider "+name, "alias")
		var ds engine.Diagnostics
		eachExpression(body, schema, func(expr hclsyntax.Expression, _ *engine.Attribute) { ds = append(ds, l.checkNames(expr, nil)...) })
		if l.diags = append(l.diags, ds...); ds.HasErrors() {
			continue
		}
		d := decoder{values: l.scope, refs: l.scope, bad: l.bad}
		v := d.object(body, schema, blk.DefRange())
		l.diags = append(l.diags, d.diags...)
		l.settings[full] = engine.Setting{Name: full, Config: v}
		l.desired.Providers = append(l.desired.Providers, l.settings[full])
	}
}
