package view

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime/api"
)

// Decisions lists decisions, a line each.
func Decisions(list []api.Decision, s Style) string {
	width := 0
	for _, d := range list {
		width = max(width, len(d.Rule))
	}
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "%s  %-*s  %s  %s\n", s.dim(d.At.Local().Format("2006-01-02 15:04:05")), width, d.Rule, sizes(d, s), d.Why)
	}
	return b.String()
}

// sizes is "2 -> 5", or "5" for a decision that changed nothing.
func sizes(d api.Decision, s Style) string {
	text := strconv.Itoa(d.From)
	if d.To != d.From {
		text += " -> " + strconv.Itoa(d.To)
	}
	text = fmt.Sprintf("%-9s", text)
	switch {
	case d.Act && d.To > d.From:
		return s.good(text)
	case d.Act:
		return s.warn(text)
	default:
		return text
	}
}

// Explain shows all that went into a decision.
func Explain(d api.Decision, s Style) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s: %s\n", s.bold("scaling."+d.Rule), d.At.Local().Format("2006-01-02 15:04:05"), d.Why)
	fmt.Fprintf(&b, "  %s had %d, of which %d ready; %s\n", d.Target, d.From, d.Ready, outcome(d))
	if len(d.Wishes) > 0 {
		b.WriteString("\nWhat asked for what\n")
		var t Table
		t.Row(s.dim("  metric"), s.dim("value"), s.dim("of target"), s.dim("measured"), s.dim("asks for"))
		for _, w := range d.Wishes {
			t.Row("  "+w.Name, wishValue(w), wishRatio(w), wishAge(w, d.At), wishWant(w))
		}
		b.WriteString(t.String())
	}
	fmt.Fprintf(&b, "\nFrom there to the size\n  asked for is %d\n", d.Want)
	for _, l := range d.Limits {
		fmt.Fprintf(&b, "  %d -> %d  %s\n", l.From, l.To, l.Text)
	}
	if d.Blocked != "" {
		fmt.Fprintf(&b, "  nothing shrinks: %s\n", d.Blocked)
	}
	fmt.Fprintf(&b, "  the size is %d\n", d.To)
	if d.Run != 0 {
		fmt.Fprintf(&b, "\nCarried out by run %d: flowctl runs show %d\n", d.Run, d.Run)
	}
	return b.String()
}

func outcome(d api.Decision) string {
	switch {
	case d.Act:
		return fmt.Sprintf("it goes to %d", d.To)
	case d.To != d.From:
		return fmt.Sprintf("it would go to %d", d.To)
	default:
		return "it stays"
	}
}

func wishValue(w api.Wish) string {
	switch {
	case w.Missing:
		return "missing"
	case w.Ahead > w.Value:
		return fmt.Sprintf("%.4g (%.4g ahead)", w.Value, w.Ahead)
	default:
		return fmt.Sprintf("%.4g", w.Value)
	}
}

func wishRatio(w api.Wish) string {
	if w.Missing || w.Ratio == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", 100*w.Ratio)
}

func wishAge(w api.Wish, at time.Time) string {
	if w.Newest.IsZero() {
		return "-"
	}
	return at.Sub(w.Newest).Round(100*time.Millisecond).String() + " before"
}

func wishWant(w api.Wish) string {
	switch {
	case !w.Voted:
		return "-"
	case w.Held:
		return fmt.Sprintf("%d (within tolerance)", w.Want)
	default:
		return strconv.Itoa(w.Want)
	}
}

// controllerText tells what the controller of a flow does.
func controllerText(st FlowStatus, s Style) string {
	if st.ControllerPID == 0 {
		if slices.ContainsFunc(st.Resources, func(r ResourceStatus) bool { return r.Object.Address.Kind == engine.KindScaling }) {
			return "\n" + s.warn("No controller runs, so the sizes stay as they are: apply, or serve, starts one.") + "\n"
		}
		return ""
	}
	var b strings.Builder
	c := st.Controller
	switch {
	case c == nil:
		fmt.Fprintf(&b, "\n%s\n", s.warn(fmt.Sprintf("The controller (process %d) does not answer.", st.ControllerPID)))
		return b.String()
	case c.Trouble != "":
		fmt.Fprintf(&b, "\n%s\n", s.bad("The controller cannot look at the flow: "+c.Trouble))
	case c.Held != "":
		fmt.Fprintf(&b, "\n%s\n", s.warn("The controller rests: "+c.Held+". An apply of the whole spec lets it go on."))
	case c.Waiting != "":
		fmt.Fprintf(&b, "\n%s\n", s.warn("The controller waits: "+c.Waiting))
	case c.Failed != "":
		fmt.Fprintf(&b, "\n%s\n", s.bad(fmt.Sprintf("The controller could not do what it decided, and tries again at %s: %s", c.Again.Local().Format(time.TimeOnly), c.Failed)))
	}
	var t Table
	for _, r := range c.Rules {
		if c.Held != "" {
			continue // what was decided before is not what would be decided now
		}
		t.Row("  "+s.bold("scaling."+r.Rule), fmt.Sprintf("%d (%d..%d)", r.Decision.To, r.Min, r.Max), r.Decision.Why)
	}
	fmt.Fprintf(&b, "\nController (process %d)%s\n%s", st.ControllerPID, running(c.Running), t.String())
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		fmt.Fprintf(&b, "  %s\n", s.warn(fmt.Sprintf("%s gives nothing: %s", name, c.Sources[name])))
	}
	return b.String()
}

func running(sizes []api.Size) string {
	var parts []string
	for _, x := range sizes {
		parts = append(parts, fmt.Sprintf("%s to %d", x.Target, x.Size))
	}
	if len(parts) == 0 {
		return ""
	}
	return ", on the way: " + strings.Join(parts, ", ")
}
