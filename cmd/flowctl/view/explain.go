package view

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime/api"
)

// Explained is a decision, and what became of it.
type Explained struct {
	Decision api.Decision
	Run      *engine.RunInfo // that carried it out; nil if none has, or it is forgotten
	Now      time.Time
}

// Explain tells an operator how a decision came about, from what was measured to
// what was done.
func Explain(e Explained, s Style) string {
	d := e.Decision
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s (%s ago): %s\n", s.bold("scaling."+d.Rule), timeOfDay(d.At, e.Now), ago(e.Now.Sub(d.At)), s.bold(decided(d)))
	had := fmt.Sprintf("There were %d", d.From)
	if d.Ready < d.From {
		had += fmt.Sprintf(", of which %d still started", d.From-d.Ready)
	}
	b.WriteString(had + ".\n")
	if len(d.Wishes) > 0 {
		b.WriteString("\nWhat was measured, and asks for how many\n" + wishes(d, s))
	}
	fmt.Fprintf(&b, "\nHow it comes to %d\n", d.To)
	var t Table
	first := d.Want
	if len(d.Limits) > 0 {
		first = d.Limits[0].From
	}
	asked, _, _ := strings.Cut(d.Why, "; ")
	t.Row("  "+strconv.Itoa(first), asked)
	for _, l := range d.Limits {
		t.Row("  "+strconv.Itoa(l.To), limitText(d, l, e.Now))
	}
	b.WriteString(t.String())
	if d.Blocked != "" {
		fmt.Fprintf(&b, "  %s\n", s.warn("Nothing shrinks for now: "+d.Blocked+"."))
	}
	b.WriteString("\n" + done(e))
	return b.String()
}

// decided is what was decided, in one line.
func decided(d api.Decision) string {
	switch {
	case d.Act:
		return fmt.Sprintf("%s goes from %d to %d", d.Target, d.From, d.To)
	case d.To != d.From:
		return fmt.Sprintf("%s would go from %d to %d, but its mode lets it stay", d.Target, d.From, d.To)
	default:
		return fmt.Sprintf("%s stays at %d", d.Target, d.From)
	}
}

// timeOfDay is a time of day in the operator's own time zone, with the date if it is of
// another day.
func timeOfDay(at, now time.Time) string {
	at, now = at.In(now.Location()), now.In(now.Location())
	if at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}

// wishes is the table of the metrics and steps.
func wishes(d api.Decision, s Style) string {
	var t Table
	t.Row(s.dim("  metric"), s.dim("value"), s.dim("target"), s.dim("that is"), s.dim("newest sample"), s.dim("asks for"))
	for _, w := range d.Wishes {
		t.Row("  "+w.Name, wishValue(w, s), wishTarget(w), wishRatio(w), wishAge(w, d.At), wishWant(w))
		if w.Ahead > w.Value {
			t.Row("", fmt.Sprintf("%.4g", w.Ahead), "is expected soon")
		}
		if w.Burst > w.Value*burstShown && w.Each {
			t.Row("", fmt.Sprintf("%.4g", w.Burst), "in the last seconds")
		}
	}
	return t.String()
}

// burstShown is by how much the last seconds must be above the window to be worth a
// line.
const burstShown = 1.1

func wishValue(w api.Wish, s Style) string {
	if w.Missing {
		return s.warn("missing")
	}
	return fmt.Sprintf("%.4g", w.Value)
}

func wishTarget(w api.Wish) string {
	switch {
	case w.Target == 0:
		return "-"
	case w.Each:
		return fmt.Sprintf("%.4g each", w.Target)
	default:
		return fmt.Sprintf("%.4g", w.Target)
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
		return fmt.Sprintf("%d (near enough to its target)", w.Want)
	default:
		return strconv.Itoa(w.Want)
	}
}

// limitText says in a sentence what a limiter did, why, and until when.
func limitText(d api.Decision, l api.Limit, now time.Time) string {
	text := limitWords(d, l)
	if l.Until.IsZero() {
		return text
	}
	until := " until " + timeOfDay(l.Until, now)
	switch left := l.Until.Sub(now); {
	case left > 0:
		until += fmt.Sprintf(" (%s from now)", left.Round(time.Second))
	case l.Until.After(d.At):
		until += fmt.Sprintf(" (%s later)", l.Until.Sub(d.At).Round(time.Second))
	}
	return text + "," + until
}

func limitWords(d api.Decision, l api.Limit) string {
	up := l.To > l.From
	pick := func(raised, cut string) string {
		if up {
			return raised
		}
		return cut
	}
	switch l.By {
	case "missing":
		if l.What != "" {
			return "as its block says for when it is missing: " + l.What
		}
		return "kept: not all is measured, and nothing shrinks on a guess"
	case "zero":
		return pick("one stays awake: it is in use, or was a short time ago", "it rests: nothing was asked of it for long enough (zero)")
	case "schedule":
		return pick("at least so many by the schedule ", "at most so many by the schedule ") + l.What
	case "burst":
		return "a burst: the load rose so suddenly that it grows at once, by what the last seconds ask for, and does not shrink"
	case "history":
		return "kept: it was not watched for long enough to know that fewer will do"
	case "stabilise":
		return pick("not below the most that was asked for lately (down.stabilise)", "not above the least that was asked for lately (up.stabilise)")
	case "cooldown":
		return "kept: the last change was too short a time ago (cooldown)"
	case "limit":
		return "as far as it may go at once (" + direction(d, l) + ".limit)"
	case "bounds":
		return pick("at least so many (min)", "at most so many (max)")
	case "room":
		return "at most so many fit on the machines"
	case "mode":
		return "kept: its mode lets nothing shrink"
	default:
		return l.Text
	}
}

func direction(d api.Decision, l api.Limit) string {
	if l.From > d.From {
		return "up"
	}
	return "down"
}

// done says what was done about a decision.
func done(e Explained) string {
	d := e.Decision
	switch {
	case d.Run != 0 && e.Run != nil && !e.Run.Ended.IsZero():
		return fmt.Sprintf("Run %d did it: %s after %s. See 'flowctl runs show %d'.\n", d.Run, e.Run.Status, e.Run.Ended.Sub(d.At).Round(100*time.Millisecond), d.Run)
	case d.Run != 0:
		return fmt.Sprintf("Run %d does it. See 'flowctl runs show %d'.\n", d.Run, d.Run)
	case d.Act:
		return "No run has carried it out: it failed, is still under way, or a newer decision took its place. See 'flowctl status'.\n"
	default:
		return "There was nothing to do.\n"
	}
}
