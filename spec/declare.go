package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// sized lists the attributes of values that decide about sizes, places and the
// order of work, all of which a plan shows before anything is made.
var sized = map[engine.Kind][]string{
	engine.KindVM:       {"cpus", "memory", "slots", "max_cpus", "max_memory"},
	engine.KindHost:     {"cpus", "memory", "slots"},
	engine.KindFunction: {"cpu", "memory"},
	engine.KindScaling:  {"min", "max", "headroom"},
	engine.KindTask:     {"phase", "when", "retries"},
}

// examineBlocks checks the names in all blocks, each block once.
func (l *loader) examineBlocks() {
	for _, b := range l.blocks {
		if !l.examineBlock(b) {
			b.faulty = true
		}
	}
}

func (l *loader) examineBlock(b *block) bool {
	ok := l.checkBody(b.body, engine.BlockSchema(b.kind), string(b.kind), commonNames...)
	var values []*expression
	look := func(expr hclsyntax.Expression, in where) *expression {
		in.each = b.forEach != nil
		e := l.examine(expr, in)
		ok = ok && !e.broken
		return e
	}
	eachExpression(b.body, engine.BlockSchema(b.kind), false, func(expr hclsyntax.Expression, a *engine.Attribute, meta bool) {
		in := where{block: a.Form == engine.ReferenceForm}
		if meta || slices.Contains(sized[b.kind], a.Name) {
			in.known = fmt.Sprintf("%q decides about sizes, places or the order of work, which a plan shows before anything is made", a.Name)
		}
		if e := look(expr, in); !meta && !in.block && !e.broken {
			values = append(values, e)
		}
	})
	b.inputs = inputsOf(values)
	if a := b.body.Attributes["provider"]; a != nil && b.kind == engine.KindFunction {
		l.fault(a.SrcRange, "Provider of a function", "A function is run by the provider of the machine that it is on. Remove the line, and name the provider in that vm or host.")
		ok = false
	} else if a != nil && b.kind == engine.KindCluster {
		l.fault(a.SrcRange, "Provider of a cluster", "The machines of a cluster are told of each other by the providers that make them. Remove the line.")
		ok = false
	} else if a != nil {
		look(a.Expr, where{known: "A provider is chosen before anything is made"})
	}
	if a := b.body.Attributes["depends_on"]; a != nil {
		look(a.Expr, where{block: true})
	}
	if b.timeouts != nil {
		if len(b.timeouts.Labels) > 0 {
			l.fault(b.timeouts.DefRange(), "Wrong number of labels", "Write timeouts { … }.")
		}
		ok = l.checkBody(b.timeouts.Body, engine.SchemaOf[engine.Timeouts](), "timeouts") && ok
		eachExpression(b.timeouts.Body, engine.SchemaOf[engine.Timeouts](), true, func(expr hclsyntax.Expression, _ *engine.Attribute, _ bool) {
			look(expr, where{known: "Time limits are set before anything is made"})
		})
	}
	return ok
}

// declare makes a Decl of every block instance, and the groups that placement
// works with. Scaling blocks come first: they own the sizes of others.
func (l *loader) declare() {
	l.desired.Decls = make([]engine.Decl, 0, len(l.groups))
	machines := 0
	for _, b := range l.blocks {
		if b.kind == engine.KindVM || b.kind == engine.KindHost {
			machines += len(b.instances)
		}
	}
	l.desired.Machines = make([]engine.MachineGroup, 0, machines)
	for _, scaling := range []bool{true, false} {
		for _, b := range l.blocks {
			if (b.kind == engine.KindScaling) != scaling {
				continue
			}
			for _, inst := range b.instances {
				l.declareInstance(inst)
			}
		}
	}
}

// declareInstance makes the Decl of one block instance.
func (l *loader) declareInstance(inst *instance) {
	b := inst.block
	cfg := blockConfig{inst}
	decl := engine.Decl{Address: inst.addr, Config: cfg, Source: rangeOf(b.def), Provider: l.providerOf(inst)}
	l.resolve(inst)
	decl.Needs = l.needsOf(inst)
	l.decodeTimeouts(inst, &decl)
	value := b.value
	switch {
	case value != cty.NilVal:
	case b.kind == engine.KindVM && b.capacity != nil: // all that is asked of the value
		l.addOf(inst, cfg.check())
	default:
		var d *decoder
		value, d = cfg.eval(unmade{}, true)
		l.addOf(inst, d.diags)
		if !d.varies && len(d.diags) == 0 {
			b.value = value
		}
	}
	switch b.kind {
	case engine.KindVM:
		l.declareMachines(inst, &decl, value)
	case engine.KindHost:
		l.declareHost(inst, &decl, value)
	case engine.KindFunction:
		l.declareFunction(inst, &decl, value)
	case engine.KindFrontend:
		l.declareFrontend(inst, &decl, value)
	case engine.KindScaling:
		l.declareScaling(inst, &decl, value)
	case engine.KindCluster:
		l.declareCluster(inst, &decl, value)
	case engine.KindTask:
		l.checkTask(inst, value)
	case engine.KindImage:
		l.checkImage(inst, value)
		decl.Home = inst.homeOf()
	}
	l.desired.Decls = append(l.desired.Decls, decl)
}

// resolve finds what an instance's value uses of resources.
func (l *loader) resolve(inst *instance) {
	uses := inst.block.inputs.uses
	if len(uses) == 0 {
		return
	}
	ctx := l.scope
	if inst.each != cty.NilVal {
		l.lookup.Variables["each"] = inst.each
		ctx = l.lookup
	}
	inst.sites = make([]site, 0, len(uses))
	for i := range uses {
		s := l.siteOf(&uses[i], ctx, inst)
		inst.lost = inst.lost || s.lost
		inst.faulty = inst.faulty || s.lost
		inst.sites = append(inst.sites, s)
	}
}

func (l *loader) decodeTimeouts(inst *instance, decl *engine.Decl) {
	if inst.block.timeouts == nil {
		return
	}
	d := &decoder{program: l.program, instance: inst, values: inst.scope(), loading: true}
	v := d.all(inst.block.timeouts.Body, engine.SchemaOf[engine.Timeouts](), inst.block.timeouts.DefRange(), true)
	l.addOf(inst, d.diags)
	mustDecode(v, &decl.Timeouts)
}

// metaOf decodes the attributes of a block that decide about size and place.
func metaOf[T any](l *loader, inst *instance) T {
	b := inst.block
	if m, ok := b.meta.(T); ok {
		return m
	}
	d := &decoder{program: l.program, instance: inst, values: inst.scope(), loading: true}
	v := d.all(b.body, engine.BlockSchema(b.kind), b.def, true)
	l.addOf(inst, d.diags)
	var m T
	mustDecode(v, &m)
	switch {
	case !v.IsWhollyKnown(): // made of something that has a fault of its own
		inst.faulty = true
	case !d.varies && len(d.diags) == 0:
		b.meta = m
	}
	return m
}

func mustDecode(v cty.Value, into any) {
	if err := engine.Decode(v, into); err != nil {
		panic("bug: " + err.Error())
	}
}

func (l *loader) declareMachines(inst *instance, decl *engine.Decl, value cty.Value) {
	m := metaOf[engine.MachineBlock](l, inst)
	l.checkRoom(inst, value)
	group := engine.MachineGroup{
		Address: inst.addr, Provider: decl.Provider, Source: decl.Source,
		Count: l.bounds(inst, "count", m.Count), Each: inst.block.capacityOf(value, "cpus"),
	}
	if o := l.owners[inst.addr]; o != nil {
		group.Headroom = o.value.Headroom
	}
	if m.Warm > 0 {
		group.Warm, group.WarmAt = m.Warm, rangeOf(inst.block.attribute("warm"))
		l.checkWarm(inst, decl.Provider)
	}
	l.addMachines(inst, group)
}

// checkRoom finds a machine that is larger than it may grow.
func (l *loader) checkRoom(inst *instance, v cty.Value) {
	if v == cty.NilVal { // it is as an instance of the block that was looked at
		return
	}
	fault := func(name, most, is, limit string) {
		l.faultOf(inst, inst.block.attribute(most), "Machine beyond its maximum", fmt.Sprintf("%s = %s is more than the machine ever gets, which is %s = %s. Raise %[3]s, or lower %[1]s.", name, is, most, limit))
	}
	if is, most := number(v, "cpus"), number(v, "max_cpus"); most > 0 && is > most {
		fault("cpus", "max_cpus", fmt.Sprint(is), fmt.Sprint(most))
	}
	if is, most := size(v, "memory"), size(v, "max_memory"); most > 0 && is > most {
		fault("memory", "max_memory", is.String(), most.String())
	}
}

// checkWarm finds a provider that keeps no machines ready.
func (l *loader) checkWarm(inst *instance, provider string) {
	base, _, _ := strings.Cut(provider, ".")
	if l.opts.Warmers == nil || base == "" || l.opts.Warmers[base] || l.opts.Providers[base] == nil {
		return
	}
	var can []string
	for _, name := range slices.Sorted(maps.Keys(l.opts.Warmers)) {
		if l.opts.Warmers[name] {
			can = append(can, name)
		}
	}
	l.faultOf(inst, inst.block.attribute("warm"), "No warm machines with this provider", fmt.Sprintf("The provider %q keeps no machines ready; %s can. Remove the line, or name another provider.", provider, strings.Join(can, " and ")))
}

func (l *loader) declareHost(inst *instance, decl *engine.Decl, value cty.Value) {
	l.addMachines(inst, engine.MachineGroup{
		Address: inst.addr, Provider: decl.Provider, Source: decl.Source,
		Count: engine.Bounds{Min: 1, Max: 1}, Each: inst.block.capacityOf(value, "cpus"),
	})
}

// capacityOf reads what a machine offers, or a replica needs; 0 stands for what
// is not set.
func (b *block) capacityOf(v cty.Value, cpu string) engine.Capacity {
	if b.capacity != nil {
		return *b.capacity
	}
	c := engine.Capacity{CPU: number(v, cpu), Memory: size(v, "memory"), Slots: 1}
	if v.Type().HasAttribute("slots") {
		c.Slots = int(number(v, "slots"))
	}
	for _, name := range sized[b.kind] {
		if a := b.body.Attributes[name]; a != nil && (b.program.exprs[a.Expr] == nil || b.program.exprs[a.Expr].varies()) {
			return c
		}
	}
	b.capacity = &c
	return c
}

func number(v cty.Value, attr string) float64 {
	a, _ := v.GetAttr(attr).Unmark()
	if a.IsNull() || !a.IsKnown() {
		return 0
	}
	f, _ := a.AsBigFloat().Float64()
	return f
}

func size(v cty.Value, attr string) engine.Size {
	a, _ := v.GetAttr(attr).Unmark()
	if a.IsNull() || !a.IsKnown() {
		return 0
	}
	n, err := engine.ParseSize(a.AsString())
	if err != nil {
		panic("bug: " + err.Error()) // it has been normalised
	}
	return n
}

func (l *loader) addMachines(inst *instance, m engine.MachineGroup) {
	l.desired.Machines = append(l.desired.Machines, m)
	if inst.sound() {
		l.machines[inst.addr] = len(l.desired.Machines) - 1
	}
}

func (l *loader) declareFunction(inst *instance, decl *engine.Decl, value cty.Value) {
	f := metaOf[engine.Function](l, inst)
	decl.Roll = engine.DefaultUpdate
	if f.Update != nil {
		decl.Roll = *f.Update
	}
	l.desired.Functions = append(l.desired.Functions, engine.FunctionGroup{
		Address: inst.addr, Source: decl.Source, On: f.On,
		Replicas:      l.bounds(inst, "replicas", f.Replicas),
		Each:          inst.block.capacityOf(value, "cpu"),
		Spread:        f.Spread,
		MaxPerMachine: f.MaxPerMachine,
		Colocate:      f.Colocate,
		Avoid:         f.Avoid,
	})
	if p := value.GetAttr("protocol"); p.IsKnown() && !p.IsMarked() {
		l.protocols[inst.addr] = p.AsString()
	}
	l.checkFunction(inst, f, value)
}
