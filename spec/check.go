package spec

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// check looks for what no single block can tell: sizes that can never fit, ports
// used twice, rules that contradict each other.
func (l *loader) check() {
	machines := map[engine.Address]engine.MachineGroup{}
	for _, m := range l.desired.Machines {
		machines[m.Address] = m
	}
	for _, d := range l.desired.Decls {
		inst := l.groups[d.Address]
		switch d.Address.Kind {
		case engine.KindScaling:
			l.checkScaling(inst)
		case engine.KindTask:
			l.checkTask(inst)
		case engine.KindImage:
			l.checkImage(inst)
		case engine.KindFrontend:
			l.checkFrontend(inst)
		}
	}
	l.checkPorts()
	for _, f := range l.desired.Functions {
		l.checkFits(f, machines)
	}
	l.checkTogether(machines)
}

func (l *loader) valueOf(inst *instance, into any) {
	d := l.staticDecoder(inst)
	engine.Decode(d.object(inst.block.body, engine.BlockSchema(inst.block.kind), inst.block.def), into)
}

func (l *loader) checkScaling(inst *instance) {
	var s engine.Scaling
	l.valueOf(inst, &s)
	b := inst.block
	if s.Min > s.Max {
		l.fault(attrRange(b, "min"), "Empty range", fmt.Sprintf("%s has min = %d above max = %d, so no size is allowed. Exchange them.", inst.addr, s.Min, s.Max))
	}
	if s.Target.Kind == engine.KindVM && len(s.Metrics) > 0 {
		l.fault(b.def, "Metric of machines", fmt.Sprintf("%s scales machines, which follow the replicas placed on them. Remove its metric blocks, and put them into the scaling block of a function; headroom keeps free slots ready.", inst.addr))
	}
	if s.Target.Kind == engine.KindFunction && s.Headroom > 0 {
		l.fault(attrRange(b, "headroom"), "Headroom of a function", "headroom counts free slots on machines. Move it into the scaling block of the vm.")
	}
	seen := map[string]bool{}
	for _, m := range s.Metrics {
		if seen[m.Name] {
			l.fault(b.def, "Duplicate metric", fmt.Sprintf("%s has two metrics called %q. Give each a name of its own.", inst.addr, m.Name))
		}
		seen[m.Name] = true
		if (m.Target == 0) == (m.Utilisation == 0) {
			l.fault(b.def, "Metric without a target", fmt.Sprintf("The metric %q of %s needs one of target (how much one replica should have) and utilisation (how much of its limit should be in use).", m.Name, inst.addr))
		}
	}
}

func (l *loader) checkTask(inst *instance) {
	var t engine.Task
	l.valueOf(inst, &t)
	hasExec := inst.block.body.Attributes["exec"] != nil
	if hasExec == (t.HTTP != nil) {
		l.fault(inst.block.def, "Task without one thing to do", fmt.Sprintf("%s needs either exec = [\"program\", \"argument\"] or a block http { url = … }.", inst.addr))
	}
	if len(t.Triggers) > 0 && t.When != "update" {
		l.warn(attrRange(inst.block, "triggers"), "Triggers without effect", fmt.Sprintf("%s has triggers, but when = %q. Write when = \"update\" to run it again when one of them changes.", inst.addr, t.When))
	}
}

func (l *loader) checkImage(inst *instance) {
	n := 0
	for _, name := range []string{"ref", "archive"} {
		if inst.block.body.Attributes[name] != nil {
			n++
		}
	}
	for _, blk := range inst.block.body.Blocks {
		if blk.Type == "build" {
			n++
		}
	}
	if n != 1 {
		l.fault(inst.block.def, "Image without one source", fmt.Sprintf("%s needs one of ref, archive and build { … }, and has %d of them.", inst.addr, n))
	}
}

// checkHealth looks at the health block of a function, which is declared already.
func (l *loader) checkHealth(inst *instance) {
	for _, blk := range inst.block.body.Blocks {
		if blk.Type != "health" {
			continue
		}
		var ways []string
		for _, name := range []string{"http", "tcp", "exec"} {
			if blk.Body.Attributes[name] != nil {
				ways = append(ways, name)
			}
		}
		if len(ways) > 1 {
			l.fault(blk.DefRange(), "Several health checks", fmt.Sprintf("%s has %s. Keep one of them.", inst.addr, enumerate(ways, "")))
		}
	}
}

func (l *loader) checkFrontend(inst *instance) {
	var f engine.Frontend
	l.valueOf(inst, &f)
	b := inst.block
	if len(f.Targets()) == 0 && !l.refersIn(b) {
		l.fault(b.def, "Frontend without a function", fmt.Sprintf("%s balances to nothing. Write to = function.NAME, or a block route \"/\" { to = function.NAME }.", inst.addr))
	}
	if f.Protocol == "tcp" && len(f.Routes) > 0 {
		l.fault(b.def, "Routes of a TCP frontend", "TCP connections have no path or host to route by. Write to = function.NAME instead of route blocks, or protocol = \"http\".")
	}
	if !f.To.IsZero() && len(f.Routes) > 0 {
		l.fault(attrRange(b, "to"), "Two ways to route", "to is short for one route \"/\". Keep either to or the route blocks.")
	}
	if (f.Balance == "hash") != (f.HashKey != "") {
		l.fault(attrRange(b, "balance"), "Hash without a key", "balance = \"hash\" and hash_key belong together: write hash_key = \"source\", \"path\", \"header:NAME\" or \"cookie:NAME\".")
	}
	l.checkRoutes(inst, f)
}

// refersIn reports whether a frontend names a function at all, known or not.
func (l *loader) refersIn(b *block) bool {
	found := false
	eachExpression(b.body, engine.BlockSchema(b.kind), func(_ hclsyntax.Expression, a *engine.Attribute) {
		found = found || a.Form == engine.ReferenceForm
	})
	return found
}

func (l *loader) checkRoutes(inst *instance, f engine.Frontend) {
	seen := map[string]bool{}
	i := -1
	for _, blk := range inst.block.body.Blocks {
		if blk.Type != "route" {
			continue
		}
		i++
		if i >= len(f.Routes) {
			return
		}
		r := f.Routes[i]
		if !strings.HasPrefix(r.Path, "/") {
			l.fault(blk.LabelRanges[0], "Invalid route", fmt.Sprintf("The path %q does not start with a slash. Write route \"/%s\".", r.Path, r.Path))
		}
		if (r.To.IsZero()) == (len(r.Split) == 0) {
			l.fault(blk.DefRange(), "Route without one target", "A route needs either to = function.NAME or split blocks.")
		}
		key := fmt.Sprint(r.Path, r.Host, slices.Sorted(maps.Keys(r.Headers)), r.Headers)
		if seen[key] {
			l.fault(blk.DefRange(), "Duplicate route", fmt.Sprintf("%s has two routes for the same path, host and headers, so the second would never be used. Remove one, or use split blocks to share the requests.", inst.addr))
		}
		seen[key] = true
	}
}

// checkPorts finds frontends that would listen in the same place.
func (l *loader) checkPorts() {
	type listener struct {
		host string
		inst *instance
	}
	byPort := map[string][]listener{}
	for _, d := range l.desired.Decls {
		if d.Address.Kind != engine.KindFrontend {
			continue
		}
		inst := l.groups[d.Address]
		var f engine.Frontend
		l.valueOf(inst, &f)
		if f.Listen == "" {
			continue // not known yet
		}
		where := attrRange(inst.block, "listen")
		host, port, err := net.SplitHostPort(f.Listen)
		n, perr := strconv.Atoi(port)
		if err != nil || perr != nil || n < 0 || n > 65535 {
			l.fault(where, "Invalid listen address", fmt.Sprintf("%q is no address to listen on. Write \"127.0.0.1:8080\", \":8080\" for all addresses, or port 0 for one that is free.", f.Listen))
			continue
		}
		if n == 0 {
			continue
		}
		for _, other := range byPort[port] {
			if other.host == host || everywhere(other.host) || everywhere(host) {
				l.fault(where, "Two frontends on one port", fmt.Sprintf("%s and %s (%s) both listen on port %s. Give each a port or an address of its own.", inst.addr, other.inst.addr, other.inst.block.def, port))
				break
			}
		}
		byPort[port] = append(byPort[port], listener{host, inst})
	}
}

func everywhere(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

// checkFits finds functions that can never be placed in full.
func (l *loader) checkFits(f engine.FunctionGroup, machines map[engine.Address]engine.MachineGroup) {
	b := l.groups[f.Address].block
	slots, unlimited := 0, false
	var reasons []string
	for _, on := range f.On {
		m := machines[on]
		if why := tooLarge(f.Each, m.Each); why != "" {
			reasons = append(reasons, fmt.Sprintf("%s %s", on, why))
			continue
		}
		per, bounded := perMachine(f, m.Each)
		if !bounded {
			unlimited = true
		}
		slots += per * m.Count.Max
	}
	if len(reasons) == len(f.On) && len(f.On) > 0 {
		l.fault(sizeRange(b), "Replica larger than its machine", fmt.Sprintf("No machine can take even one replica of %s: %s. Make the machine larger or the replica smaller.", f.Address, strings.Join(reasons, "; ")))
		return
	}
	if !unlimited && f.Replicas.Max > slots {
		l.fault(b.def, "More replicas than room", fmt.Sprintf("%s may grow to %d replicas, but its machines take at most %d of them (%s). Raise the machines' number or slots, or lower the replicas.", f.Address, f.Replicas.Max, slots, roomText(f, machines)))
	}
}

func sizeRange(b *block) hcl.Range {
	if a := b.body.Attributes["memory"]; a != nil {
		return a.Expr.Range()
	}
	return attrRange(b, "cpu")
}

func tooLarge(need, have engine.Capacity) string {
	switch {
	case have.CPU > 0 && need.CPU > have.CPU:
		return fmt.Sprintf("has %g cpus, a replica needs %g", have.CPU, need.CPU)
	case have.Memory > 0 && need.Memory > have.Memory:
		return fmt.Sprintf("has %s of memory, a replica needs %s", have.Memory, need.Memory)
	default:
		return ""
	}
}

// perMachine returns how many replicas one machine takes at most, and false if
// nothing bounds their number.
func perMachine(f engine.FunctionGroup, m engine.Capacity) (int, bool) {
	n, bounded := 0, false
	limit := func(k int) {
		if !bounded || k < n {
			n, bounded = k, true
		}
	}
	if m.Slots > 0 {
		limit(m.Slots)
	}
	if f.MaxPerMachine > 0 {
		limit(f.MaxPerMachine)
	}
	if m.CPU > 0 && f.Each.CPU > 0 {
		limit(int(m.CPU/f.Each.CPU + 1e-9))
	}
	if m.Memory > 0 && f.Each.Memory > 0 {
		limit(int(m.Memory / f.Each.Memory))
	}
	return n, bounded
}

func roomText(f engine.FunctionGroup, machines map[engine.Address]engine.MachineGroup) string {
	var parts []string
	for _, on := range f.On {
		m := machines[on]
		per, _ := perMachine(f, m.Each)
		parts = append(parts, fmt.Sprintf("%s: %d × %d", on, m.Count.Max, per))
	}
	return strings.Join(parts, ", ")
}

// checkTogether adds up what all functions need of the machine groups that they
// do not share with others. Not fitting at their least is an error; at their
// largest it is a warning, for they need not all grow at once.
func (l *loader) checkTogether(machines map[engine.Address]engine.MachineGroup) {
	least := l.sums(func(b engine.Bounds) int { return b.Min })
	most := l.sums(func(b engine.Bounds) int { return b.Max })
	for _, addr := range slices.SortedFunc(maps.Keys(most), engine.Address.Compare) {
		m, def := machines[addr], l.groups[addr].block.def
		const advice = "Raise the machines' number or size, or lower the functions'."
		if need, have := shortage(least[addr], m); need != "" {
			l.fault(def, "More replicas than room", fmt.Sprintf("The functions on %s need %s, but at its largest (%d machines) it has %s. %s", addr, need, m.Count.Max, have, advice))
		} else if need, have := shortage(most[addr], m); need != "" {
			l.warn(def, "More replicas than room", fmt.Sprintf("The functions on %s may grow to need %s together, but at its largest (%d machines) it has %s. %s", addr, need, m.Count.Max, have, advice))
		}
	}
}

// sum is what several functions need together.
type sum struct {
	replicas int
	cpu      float64
	memory   engine.Size
}

func (l *loader) sums(size func(engine.Bounds) int) map[engine.Address]sum {
	sums := map[engine.Address]sum{}
	for _, f := range l.desired.Functions {
		if len(f.On) != 1 {
			continue
		}
		n, s := size(f.Replicas), sums[f.On[0]]
		s.replicas += n
		s.cpu += float64(n) * f.Each.CPU
		s.memory += engine.Size(n) * f.Each.Memory
		sums[f.On[0]] = s
	}
	return sums
}

// shortage says what a machine group at its largest lacks, "" if nothing.
func shortage(s sum, m engine.MachineGroup) (need, have string) {
	n := m.Count.Max
	switch {
	case m.Each.Slots > 0 && s.replicas+m.Headroom > n*m.Each.Slots:
		need = fmt.Sprintf("%d slots", s.replicas)
		if m.Headroom > 0 {
			need += fmt.Sprintf(" and %d of headroom", m.Headroom)
		}
		return need, strconv.Itoa(n * m.Each.Slots)
	case m.Each.CPU > 0 && s.cpu > float64(n)*m.Each.CPU+1e-9:
		return fmt.Sprintf("%g cpus", s.cpu), fmt.Sprintf("%g", float64(n)*m.Each.CPU)
	case m.Each.Memory > 0 && s.memory > engine.Size(n)*m.Each.Memory:
		return s.memory.String() + " of memory", (engine.Size(n) * m.Each.Memory).String()
	default:
		return "", ""
	}
}
