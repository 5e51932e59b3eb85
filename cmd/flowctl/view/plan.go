package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/spread"
	"github.com/zclconf/go-cty/cty"
)

// Plan renders a plan in Terraform's manner. Instances of one group that change
// alike share one entry.
func Plan(p engine.Plan, s Style) string {
	var b strings.Builder
	entries := slices.DeleteFunc(collect(p), func(e entry) bool { return e.first.Action == engine.NoOp && len(e.first.Leftovers) == 0 })
	if len(entries) > 0 {
		b.WriteString("flowctl will do the following:\n\n")
	}
	b.WriteString(strings.Join(render(entries, p, s), ""))
	writeRollouts(&b, p, s)
	writeHolds(&b, p, s)
	writeSizes(&b, p, s)
	writeOutputs(&b, p, s)
	b.WriteString(summary(p, s))
	return b.String()
}

// render writes entries, each for itself.
func render(entries []entry, p engine.Plan, s Style) []string {
	texts := make([]string, len(entries))
	spread.Each(len(entries), func(i int) {
		var b strings.Builder
		entries[i].write(&b, p, s)
		texts[i] = b.String()
	})
	return texts
}

// entry is one change, or several of one group that are alike.
type entry struct {
	first *engine.Change
	all   []engine.Change
}

func collect(p engine.Plan) []entry {
	var entries []entry
	for i := range p.Changes {
		c := &p.Changes[i]
		if n := len(entries); n > 0 && alike(entries[n-1].first, c) {
			last := &entries[n-1]
			last.all = p.Changes[i-len(last.all) : i+1] // they stand side by side: a plan is sorted
			continue
		}
		entries = append(entries, entry{c, p.Changes[i : i+1]})
	}
	return entries
}

// alike reports whether two changes can share an entry. What is wanted of the
// instances of a group is the same, but for their machines.
func alike(a, b *engine.Change) bool {
	return a.Address.Group() == b.Address.Group() && a.Address != a.Address.Group() && a.Action == b.Action && a.Why == b.Why &&
		a.Hold == b.Hold && a.CreateFirst == b.CreateFirst && (a.From == nil) == (b.From == nil) && len(a.Leftovers) == len(b.Leftovers) &&
		slices.Equal(a.Changed, b.Changed) && slices.Equal(a.ReplacePaths, b.ReplacePaths)
}

// sign is the mark of an action: Terraform's, with +/- for new before old.
func sign(c engine.Change, s Style) string {
	switch c.Action {
	case engine.Create:
		return s.good("  +")
	case engine.Update:
		return s.warn("  ~")
	case engine.Replace:
		if c.CreateFirst {
			return s.good("+") + "/" + s.bad("-")
		}
		return s.bad("-") + "/" + s.good("+")
	case engine.Delete:
		return s.bad("  -")
	case engine.Run, engine.Suspend, engine.Resume, engine.Restart, engine.Capture, engine.Revert, engine.Discard:
		return s.note("  >")
	default:
		return "   "
	}
}

// names writes the addresses of an entry: "function.web[0..2, 5]".
func (e entry) names() string {
	if len(e.all) == 1 {
		return e.first.Address.String()
	}
	var numbers []int
	for _, c := range e.all {
		n, _ := c.Address.Index()
		numbers = append(numbers, n)
	}
	return e.first.Address.Group().String() + "[" + Ranges(numbers) + "]"
}

// Ranges writes sorted numbers as "0..2, 5".
func Ranges(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		switch {
		case j == i:
			parts = append(parts, fmt.Sprint(numbers[i]))
		case j == i+1:
			parts = append(parts, fmt.Sprintf("%d, %d", numbers[i], numbers[j]))
		default:
			parts = append(parts, fmt.Sprintf("%d..%d", numbers[i], numbers[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}

func (e entry) write(b *strings.Builder, p engine.Plan, s Style) {
	c := *e.first
	if c.Address.Kind == engine.KindBackend {
		e.writeBackend(b, p, s)
		return
	}
	if c.Address.Kind == engine.KindDelivery {
		e.writeDelivery(b, s)
		return
	}
	fmt.Fprintf(b, "  %s\n", s.dim("# ")+s.bold(e.names())+" "+verdict(c))
	for _, line := range e.places(p) {
		fmt.Fprintf(b, "  %s\n", s.dim("#   "+line))
	}
	if c.From != nil {
		fmt.Fprintf(b, "  %s\n", s.dim("#   made of "+e.from()))
	}
	if c.Reload != nil {
		fmt.Fprintf(b, "  %s\n", s.dim("#   "+reloadText(*c.Reload)))
	}
	for _, o := range c.Leftovers {
		fmt.Fprintf(b, "  %s\n", s.dim("#   "+leftover(o)))
	}
	if c.Action == engine.NoOp {
		b.WriteByte('\n')
		return
	}
	fmt.Fprintf(b, "%s %s\n", sign(c, s), e.names())
	if c.Action != engine.Delete && c.Action != engine.Run && !c.Action.Ordered() {
		writeBody(b, c, s)
	}
	b.WriteByte('\n')
}

// from names the warm machines that those of an entry are made of.
func (e entry) from() string {
	var warm []engine.Change
	for _, c := range e.all {
		warm = append(warm, engine.Change{Address: c.From.Address})
	}
	return entry{&warm[0], warm}.names()
}

// reloadText says how a replica takes over its new files.
func reloadText(r engine.Reload) string {
	switch what := r.String(); {
	case r.Restart:
		return "it restarts for its new files"
	case what == "":
		return "nothing is done for its new files but to put them there"
	default:
		return "for its new files: " + what
	}
}

// leftover says what happens to an object beside the one that stands.
func leftover(o engine.Object) string {
	if !o.Kept.IsZero() {
		return fmt.Sprintf("generation %d, kept for a rollback until %s, will be deleted", o.Gen, o.Kept.Local().Format("15:04:05"))
	}
	return fmt.Sprintf("generation %d is left over and will be deleted (%s)", o.Gen, o.Lifecycle)
}

// verdict says in words what happens.
func verdict(c engine.Change) string {
	text := map[engine.Action]string{
		engine.Create: "will be created", engine.Update: "will be updated in place",
		engine.Delete: "will be deleted", engine.Run: "will run", engine.NoOp: "stays",
		engine.Suspend: "will be suspended", engine.Resume: "will be resumed", engine.Restart: "will be restarted",
		engine.Capture: "will have a snapshot", engine.Revert: "will be what its snapshot is", engine.Discard: "will have a snapshot less",
	}[c.Action]
	if c.Action == engine.Replace {
		text = "must be replaced, the old one leaves first"
		if c.CreateFirst {
			text = "must be replaced, the new one starts first"
		}
	}
	if c.Address.Kind == engine.KindTask && c.Action != engine.Delete {
		text = "will run"
	}
	if c.Snapshot != "" {
		text += ": " + c.Snapshot
	}
	if c.Why != "" {
		text += ": " + c.Why
	}
	return text
}

// places tells on which machines the replicas of an entry go.
func (e entry) places(p engine.Plan) []string {
	if e.first.Address.Kind != engine.KindFunction || e.first.Action == engine.Delete {
		return nil
	}
	on := map[engine.Address][]int{}
	from := map[engine.Address]bool{}
	for _, c := range e.all {
		i, ok := slices.BinarySearchFunc(p.Placings, c.Address, func(pl engine.Placing, a engine.Address) int { return pl.Replica.Compare(a) })
		if !ok {
			continue
		}
		n, _ := c.Address.Index()
		pl := p.Placings[i]
		on[pl.Machine] = append(on[pl.Machine], n)
		if !pl.Was.IsZero() && pl.Was != pl.Machine {
			from[pl.Was] = true
		}
	}
	var parts []string
	for _, m := range slices.SortedFunc(maps.Keys(on), engine.Address.Compare) {
		if len(e.all) == 1 {
			parts = append(parts, "on "+m.String())
			continue
		}
		parts = append(parts, fmt.Sprintf("%s on %s", Ranges(on[m]), m))
	}
	if len(parts) == 0 {
		return nil
	}
	line := strings.Join(parts, "; ")
	if len(from) > 0 {
		var left []string
		for _, m := range slices.SortedFunc(maps.Keys(from), engine.Address.Compare) {
			left = append(left, m.String())
		}
		line += " (from " + strings.Join(left, ", ") + ")"
	}
	return []string{line}
}

func writeHolds(b *strings.Builder, p engine.Plan, s Style) {
	by := map[string][]engine.Address{}
	var reasons []string
	for _, c := range p.Changes {
		if c.Hold == "" || c.Hold == "not targeted" {
			continue
		}
		if by[c.Hold] == nil {
			reasons = append(reasons, c.Hold)
		}
		by[c.Hold] = append(by[c.Hold], c.Address)
	}
	for _, why := range reasons {
		left := "is"
		if len(by[why]) > 1 {
			left = "are"
		}
		fmt.Fprintf(b, "  %s %s %s left alone: %s\n", s.warn("!"), engine.List(by[why]), left, why)
	}
	if len(reasons) > 0 {
		b.WriteByte('\n')
	}
}

// writeSizes tells the sizes of groups that the spec does not say; of an empty
// plan only those that differ from it.
func writeSizes(b *strings.Builder, p engine.Plan, s Style) {
	n := 0
	for _, g := range p.Sizes {
		if g.ByHand || !p.Empty() {
			fmt.Fprintf(b, "  %s %s\n", s.dim("#"), SizeText(g))
			n++
		}
	}
	if n > 0 {
		b.WriteByte('\n')
	}
}

// SizeText says the size of a group, and who decided it.
func SizeText(g engine.GroupSize) string {
	if g.ByHand {
		return fmt.Sprintf("%s: %s", g.Group, HandText(engine.HandSize{Size: g.Size, Spec: g.Bounds.Min}))
	}
	return fmt.Sprintf("%s: %d (autoscaled, %d..%d)", g.Group, g.Size, g.Bounds.Min, g.Bounds.Max)
}

// HandText says a size that was set by hand: "5 (by hand; the spec says 3)".
func HandText(h engine.HandSize) string {
	return fmt.Sprintf("%d (by hand; the spec says %d)", h.Size, h.Spec)
}

func writeOutputs(b *strings.Builder, p engine.Plan, s Style) {
	n := 0
	for _, o := range p.Outputs {
		if !o.Changed() {
			continue
		}
		if n == 0 {
			b.WriteString("Outputs:\n")
		}
		n++
		was, is := outputText(o.Before, o.Sensitive), outputText(o.After, o.Sensitive)
		switch {
		case o.Before == cty.NilVal:
			fmt.Fprintf(b, "  %s %s = %s\n", s.good("+"), o.Name, is)
		case o.After == cty.NilVal:
			fmt.Fprintf(b, "  %s %s = %s\n", s.bad("-"), o.Name, was)
		default:
			fmt.Fprintf(b, "  %s %s = %s -> %s\n", s.warn("~"), o.Name, was, is)
		}
	}
	if n > 0 {
		b.WriteByte('\n')
	}
}

func outputText(v cty.Value, sensitive bool) string {
	switch {
	case v == cty.NilVal:
		return ""
	case sensitive:
		return sensitiveText
	default:
		return inline(v)
	}
}

// summary counts what a plan does, in all and for each phase.
func summary(p engine.Plan, s Style) string {
	all, phases := p.Summarise()
	if p.Empty() && all.Run == 0 {
		if n := len(p.Away()); n > 0 {
			return s.warn("Nothing to do with what can be reached.") + fmt.Sprintf(" %d of the flow's resources cannot.\n", n)
		}
		if p.Destroy {
			return s.good("Nothing to destroy.") + " The flow has made nothing that is still there.\n"
		}
		if p.Ordered {
			return s.good("Nothing to do.") + " It is so already.\n"
		}
		return s.good("No changes.") + " What is there matches the spec.\n"
	}
	line := s.bold("Plan: ") + counts(all)
	var parts []string
	for _, ph := range engine.Phases {
		if n := phases[ph].Total(); n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", ph, n))
		}
	}
	if len(parts) > 0 {
		line += "\n      " + s.dim("by phase: "+strings.Join(parts, ", "))
	}
	return line + "\n"
}

func counts(n engine.Summary) string {
	text := fmt.Sprintf("%d to add, %d to change, %d to replace, %d to destroy", n.Add, n.Change, n.Replace, n.Destroy)
	for _, c := range []struct {
		n    int
		what string
	}{{n.Run, "run"}, {n.Suspend, "suspend"}, {n.Resume, "resume"}, {n.Restart, "restart"}, {n.Capture, "snapshot"}, {n.Revert, "restore"}, {n.Discard, "delete a snapshot of"}} {
		if c.n > 0 {
			text += fmt.Sprintf(", %d to %s", c.n, c.what)
		}
	}
	return text + "."
}
