package spec

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
)

// checkFits finds functions that can never be placed in full.
func (l *loader) checkFits(f engine.FunctionGroup) {
	inst := l.groups[f.Address]
	if !inst.sound() {
		return
	}
	slots, unlimited := 0.0, false
	var reasons []string
	for _, on := range f.On {
		m, ok := l.machine(on)
		if !ok {
			return // it has a fault of its own
		}
		if why := tooLarge(f.Each, m.Each); why != "" {
			reasons = append(reasons, fmt.Sprintf("%s %s", on, why))
			continue
		}
		per, bounded := perMachine(f, m.Each)
		unlimited = unlimited || !bounded
		slots += per * float64(m.Count.Max)
	}
	if len(reasons) == len(f.On) && len(f.On) > 0 {
		l.faultOf(inst, largeAttribute(inst.block, reasons), "Replica larger than its machine", fmt.Sprintf("No machine can take even one replica of %s: %s. Make the machine larger or the replica smaller.", f.Address, strings.Join(reasons, "; ")))
		return
	}
	if !unlimited && float64(f.Replicas.Max) > slots && len(f.On) > 0 {
		wish := "asks for"
		if f.Replicas.Autoscaled {
			wish = "may grow to"
		}
		l.faultOf(inst, l.sizeRange(inst), "More replicas than room", fmt.Sprintf("%s %s %d replicas, but its machines take at most %.0f of them (%s). Raise the machines' number or slots, or lower the replicas.", f.Address, wish, f.Replicas.Max, slots, l.roomText(f)))
	}
}

// machine returns a group of machines that is in order.
func (l *loader) machine(group engine.Address) (*engine.MachineGroup, bool) {
	i, ok := l.machines[group]
	if !ok {
		return nil, false
	}
	return &l.desired.Machines[i], true
}

// sizeRange returns the place that says how many instances a group may have.
func (l *loader) sizeRange(inst *instance) hcl.Range {
	if o := l.owners[inst.addr]; o != nil {
		return o.inst.block.attribute("max")
	}
	return inst.block.oneOf("replicas", "count")
}

func largeAttribute(b *block, reasons []string) hcl.Range {
	if strings.Contains(reasons[0], "memory") {
		return b.attribute("memory")
	}
	return b.attribute("cpu")
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
func perMachine(f engine.FunctionGroup, m engine.Capacity) (float64, bool) {
	n, bounded := 0.0, false
	limit := func(k float64) {
		if !bounded || k < n {
			n, bounded = float64(int64(min(k, 1e9))), true
		}
	}
	if m.Slots > 0 {
		limit(float64(m.Slots))
	}
	if f.MaxPerMachine > 0 {
		limit(float64(f.MaxPerMachine))
	}
	if m.CPU > 0 && f.Each.CPU > 0 {
		limit(m.CPU/f.Each.CPU + 1e-9)
	}
	if m.Memory > 0 && f.Each.Memory > 0 {
		limit(float64(m.Memory / f.Each.Memory))
	}
	return n, bounded
}

func (l *loader) roomText(f engine.FunctionGroup) string {
	var parts []string
	for _, on := range f.On {
		m, _ := l.machine(on)
		if tooLarge(f.Each, m.Each) != "" {
			continue
		}
		per, _ := perMachine(f, m.Each)
		parts = append(parts, fmt.Sprintf("%s: %d × %.0f", on, m.Count.Max, per))
		if len(parts) == few {
			parts = append(parts, "…")
			break
		}
	}
	return strings.Join(parts, ", ")
}

// checkTogether adds up what all functions need of the machine groups that they
// do not share with others. Not fitting at their least is an error; at their
// largest it is a warning, for they need not all grow at once.
func (l *loader) checkTogether() {
	least := l.sums(func(b engine.Bounds) int { return b.Min })
	most := l.sums(func(b engine.Bounds) int { return b.Max })
	for _, addr := range slices.SortedFunc(maps.Keys(most), engine.Address.Compare) {
		m, ok := l.machine(addr)
		if !ok || most[addr].faulty {
			continue
		}
		inst := l.groups[addr]
		const advice = "Raise the machines' number or size, or lower the functions'."
		if need, have := shortage(least[addr], m); need != "" {
			l.faultOf(inst, l.sizeRange(inst), "More replicas than room", fmt.Sprintf("The functions on %s need %s, but at its largest (%s) it has %s. %s", addr, need, countText(m.Count.Max), have, advice))
		} else if need, have := shortage(most[addr], m); need != "" {
			l.warnOf(inst, l.sizeRange(inst), "More replicas than room", fmt.Sprintf("The functions on %s may grow to need %s together, but at its largest (%s) it has %s. %s", addr, need, countText(m.Count.Max), have, advice))
		}
	}
}

func countText(n int) string {
	if n == 1 {
		return "1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}

// sum is what several functions need together.
type sum struct {
	functions int
	replicas  float64
	cpu       float64
	memory    float64 // bytes
	faulty    bool    // one of them has a fault: nothing can be said
}

func (l *loader) sums(size func(engine.Bounds) int) map[engine.Address]sum {
	sums := map[engine.Address]sum{}
	for _, f := range l.desired.Functions {
		if len(f.On) != 1 {
			continue
		}
		n, s := float64(size(f.Replicas)), sums[f.On[0]]
		s.functions++
		s.replicas += n
		s.cpu += n * f.Each.CPU
		s.memory += n * float64(f.Each.Memory)
		s.faulty = s.faulty || !l.groups[f.Address].sound()
		sums[f.On[0]] = s
	}
	return sums
}

// shortage says what a machine group at its largest lacks, "" if nothing.
func shortage(s sum, m *engine.MachineGroup) (need, have string) {
	n := float64(m.Count.Max)
	switch {
	case m.Each.Slots > 0 && s.replicas+float64(m.Headroom) > n*float64(m.Each.Slots):
		need = fmt.Sprintf("%.0f slots", s.replicas)
		if m.Headroom > 0 {
			need += fmt.Sprintf(" and %d of headroom", m.Headroom)
		}
		return need, strconv.FormatFloat(n*float64(m.Each.Slots), 'f', -1, 64)
	case m.Each.CPU > 0 && s.cpu > n*m.Each.CPU+1e-9:
		return fmt.Sprintf("%g cpus", s.cpu), fmt.Sprintf("%g", n*m.Each.CPU)
	case m.Each.Memory > 0 && s.memory > n*float64(m.Each.Memory):
		return engine.Size(s.memory).String() + " of memory", engine.Size(n * float64(m.Each.Memory)).String()
	default:
		return "", ""
	}
}
