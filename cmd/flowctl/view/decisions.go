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
func Decisions(list []api.Decision, now time.Time, s Style) string {
	width := 0
	for _, d := range list {
		width = max(width, len(d.Rule))
	}
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "%s  %-*s  %s  %s\n", s.dim(d.At.Local().Format("2006-01-02 15:04:05")), width, d.Rule, sizes(d, s), Why(d, now))
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

// controllerText tells what the controller of a flow does.
func controllerText(st FlowStatus, now time.Time, s Style) string {
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
		if c.Held != "" || st.NoRules {
			continue // what was decided before is not what would be decided now
		}
		t.Row("  "+s.bold("scaling."+r.Rule), fmt.Sprintf("%d (%d..%d)", r.Decision.To, r.Min, r.Max), Why(r.Decision, now))
	}
	fmt.Fprintf(&b, "\nController (process %d)%s\n%s", st.ControllerPID, running(c.Running), t.String())
	for _, note := range c.Notes {
		fmt.Fprintf(&b, "  %s\n", s.warn(note))
	}
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
