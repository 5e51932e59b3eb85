package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// check looks for what no single block can tell: sizes that can never fit,
// instances that never are, listeners in one place.
func (l *loader) check() {
	l.checkListeners()
	l.checkProtocols()
	l.checkIndexes()
	l.checkMeasured()
	l.checkCanaries()
	for _, f := range l.desired.Functions {
		l.checkFits(f)
	}
	l.checkTogether()
}

func (l *loader) checkTask(inst *instance, value cty.Value) {
	var t engine.Task
	mustDecode(value, &t)
	if isGiven(value, "exec") == isGiven(value, "http") && !l.misspelt(inst.block, "exec", "http") {
		l.faultOf(inst, inst.block.def, "Task without one thing to do", fmt.Sprintf("%s needs either exec = [\"program\", \"argument\"] or a block http { url = … }.", inst.addr))
	}
	if len(t.Triggers) > 0 && t.When != "update" && t.When != "" {
		l.warnOf(inst, inst.block.attribute("triggers"), "Triggers without effect", fmt.Sprintf("%s has triggers, but when = %q. Write when = \"update\" to run it again when one of them changes.", inst.addr, t.When))
	}
}

func (l *loader) checkImage(inst *instance, value cty.Value) {
	var have []string
	for _, name := range []string{"ref", "archive", "build"} {
		if isGiven(value, name) {
			have = append(have, name)
		}
	}
	b := inst.block
	if a := b.body.Attributes["distribute"]; a != nil {
		switch {
		case value.GetAttr("distribute").RawEquals(cty.StringVal("pull")) && len(have) == 1 && have[0] != "ref":
			l.faultOf(inst, a.Expr.Range(), "Image that no registry has", fmt.Sprintf("%s is made on its host, so other machines cannot pull it. Write distribute = \"push\", or nothing.", inst.addr))
		case b.body.Attributes["host"] == nil && !l.misspelt(b, "host"):
			l.warnOf(inst, a.Expr.Range(), "Distribution without effect", fmt.Sprintf("%s names no host that gets it first, so there is nothing to bring anywhere. Write host = host.NAME.", inst.addr))
		}
	}
	if len(have) == 1 || l.misspelt(b, "ref", "archive", "build") {
		return
	}
	problem := "has none of them"
	if len(have) > 1 {
		problem = "has " + enumerate(have, "")
	}
	l.faultOf(inst, inst.block.def, "Image without one source", fmt.Sprintf("%s needs one of ref, archive and build { … }, and %s.", inst.addr, problem))
}

// homeOf returns the host that makes an image, the zero address if its block does
// not name just one.
func (i *instance) homeOf() engine.Address {
	a := i.block.body.Attributes["host"]
	if a == nil {
		return engine.Address{}
	}
	var homes []engine.Address
	for _, s := range i.sites {
		if r := s.use.rng; r.Filename == a.SrcRange.Filename && a.SrcRange.ContainsPos(r.Start) {
			s.targets(func(a engine.Address) { homes = append(homes, a) })
		}
	}
	if len(homes) != 1 {
		return engine.Address{}
	}
	return homes[0]
}

// checkFunction looks at what one function says about itself.
func (l *loader) checkFunction(inst *instance, f engine.Function, value cty.Value) {
	b := inst.block
	if f.Update != nil {
		l.checkUpdate(inst, *f.Update)
	}
	if len(f.On) == 0 && inst.sound() {
		l.faultOf(inst, b.attribute("on"), "Function without machines", fmt.Sprintf("%s has no machine to run on. Write on = vm.NAME.", inst.addr))
	}
	for _, name := range []string{"colocate", "avoid"} {
		others := f.Colocate
		if name == "avoid" {
			others = f.Avoid
		}
		if slices.Contains(others, inst.addr) {
			l.faultOf(inst, b.attribute(name), "Reference to itself", fmt.Sprintf("%s of %s names the function itself. To keep its replicas apart write spread = true or max_per_machine = 1.", name, inst.addr))
		}
	}
	for _, other := range f.Colocate {
		if other != inst.addr && slices.Contains(f.Avoid, other) {
			l.faultOf(inst, b.attribute("avoid"), "Near and apart", fmt.Sprintf("%s is to be on the same machines as %s (colocate) and on no machine with it (avoid). Remove one.", inst.addr, other))
		}
	}
	l.checkHealth(inst, value.GetAttr("health"))
	l.checkFiles(inst, value)
}

// checkFiles finds files whose on_change lacks what it needs, or has what it does
// not.
func (l *loader) checkFiles(inst *instance, value cty.Value) {
	var r engine.Replica
	mustDecode(value, &r)
	for i, blk := range nestedBlocks(inst.block.body, engine.ValueSchema(engine.KindFunction).Attribute("file")) {
		if !element0(value, "file", i).GetAttr("on_change").IsKnown() {
			continue
		}
		for _, name := range []string{"signal", "exec"} {
			l.checkOnChange(inst, blk, r.Files[i], name, isGiven(element0(value, "file", i), name))
		}
	}
}

// checkOnChange checks one of the settings that go with one on_change each.
func (l *loader) checkOnChange(inst *instance, blk *hclsyntax.Block, f engine.File, name string, given bool) {
	example := map[string]string{"signal": `signal = "SIGHUP"`, "exec": `exec = ["program", "argument"]`}[name]
	switch {
	case !given && f.OnChange == name:
		l.faultOf(inst, blk.Body.Attributes["on_change"].Expr.Range(), "Change without a way", fmt.Sprintf("The file %q of %s has on_change = %q, but does not say which. Write %s beside it.", f.Path, inst.addr, name, example))
	case given && f.OnChange != name:
		l.faultOf(inst, blk.Body.Attributes[name].NameRange, "Setting without effect", fmt.Sprintf("The file %q of %s has %s, which means something with on_change = %q only. Write that, or remove it.", f.Path, inst.addr, name, name))
	}
}

// nested returns the place of the first nested block of a type, or of b.
func (b *block) nested(name string) hcl.Range {
	for _, blk := range b.body.Blocks {
		if blk.Type == name {
			return blk.DefRange()
		}
	}
	return b.def
}

func (l *loader) checkHealth(inst *instance, health cty.Value) {
	if health, _ = health.Unmark(); health.IsNull() || !health.IsKnown() {
		return
	}
	var ways []string
	for _, name := range []string{"http", "tcp", "exec"} {
		if a, _ := health.GetAttr(name).Unmark(); !a.IsNull() && (name != "tcp" || !a.IsKnown() || a.True()) {
			ways = append(ways, name)
		}
	}
	if len(ways) > 1 {
		l.faultOf(inst, inst.block.nested("health"), "Several health checks", fmt.Sprintf("%s has %s. Keep one of them.", inst.addr, enumerate(ways, "")))
	}
	l.checkPath(inst, health)
}

// checkPath checks the path of a health check.
func (l *loader) checkPath(inst *instance, health cty.Value) {
	path, marks := health.GetAttr("http").Unmark()
	if path.IsNull() || !path.IsKnown() || len(marks) > 0 || strings.HasPrefix(path.AsString(), "/") {
		return
	}
	where := inst.block.nested("health")
	for _, blk := range inst.block.body.Blocks {
		if a := blk.Body.Attributes["http"]; blk.Type == "health" && a != nil {
			where = a.Expr.Range()
		}
	}
	l.faultOf(inst, where, "Invalid path", fmt.Sprintf("%q is no path: it starts with a slash, and has no scheme, host or port. Write \"/healthz\".", path.AsString()))
}

// checkIndexes finds uses of instances that a group never has, or need not have.
func (l *loader) checkIndexes() {
	for _, b := range l.blocks {
		for _, inst := range b.instances {
			l.checkSites(inst, inst.sites)
		}
	}
	for _, o := range l.desired.Outputs {
		l.checkSites(nil, o.Config.(*outputConfig).sites)
	}
	for _, loc := range l.locals {
		l.checkSites(nil, loc.sites)
	}
}

func (l *loader) checkSites(inst *instance, sites []site) {
	for _, s := range sites {
		if s.index < 0 || s.lost || s.key == "" && s.use.block.forEach != nil {
			continue
		}
		group := s.use.block.addr()
		group.Key = s.key
		size, known := l.sizes[group]
		switch {
		case !known || s.index < size.Min:
		case s.index >= size.Max:
			l.add(engine.Diagnostic{
				Summary: "No such instance", Address: inst.address(), Source: sourceOf(s.use.index.rng),
				Detail: fmt.Sprintf("%s is never there: %s has %s, counted from 0.", group.At(s.index), group, atMost(size)),
			})
		default:
			l.add(engine.Diagnostic{
				Severity: engine.Warning, Summary: "Instance that may be missing", Address: inst.address(), Source: sourceOf(s.use.index.rng),
				Detail: fmt.Sprintf("%s is there only while %s is large enough: it has %s. Refer to %s, which it always has, or to all of them with [*].", group.At(s.index), group, atMost(size), sure(group, size)),
			})
		}
	}
}

func atMost(size engine.Bounds) string {
	switch {
	case size.Autoscaled:
		return fmt.Sprintf("%d to %d instances", size.Min, size.Max)
	case size.Max == 1:
		return "1 instance"
	default:
		return fmt.Sprintf("%d instances", size.Max)
	}
}

func sure(group engine.Address, size engine.Bounds) string {
	if size.Min == 0 {
		return "something"
	}
	return group.At(0).String()
}
