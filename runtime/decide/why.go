package decide

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
)

// why tells the operator how it came to this, in one line.
func (t *turn) why() string {
	var b strings.Builder
	b.WriteString(t.asked())
	for _, l := range t.d.Limits {
		b.WriteString("; ")
		b.WriteString(l.String())
	}
	if t.d.Blocked != "" {
		b.WriteString("; nothing shrinks: ")
		b.WriteString(t.d.Blocked)
	}
	if t.r.Mode == "dry_run" || t.r.Mode == "off" {
		b.WriteString("; mode is ")
		b.WriteString(t.r.Mode)
	}
	return b.String()
}

// asked tells what the strongest wish was.
func (t *turn) asked() string {
	if t.r.Target.Kind == engine.KindVM {
		return fmt.Sprintf("the replicas need %d", t.o.Demand)
	}
	var top *Wish
	for i := range t.d.Wishes {
		if w := &t.d.Wishes[i]; w.Voted && (top == nil || w.Want > top.Want) {
			top = w
		}
	}
	switch {
	case t.r.Formula != nil:
		return "the formula asks for " + strconv.Itoa(t.d.Want)
	case top == nil:
		return "nothing asks for a change"
	case top.Held:
		return fmt.Sprintf("%s is %s, %.0f%% of target", top.Name, number(top.Value), 100*top.Ratio)
	case top.Ratio > 0 || top.Value == 0:
		return fmt.Sprintf("%s is %s, %.0f%% of target: asks for %d", top.Name, number(top.Value), 100*top.Ratio, top.Want)
	default:
		return fmt.Sprintf("step %s asks for %d", top.Name, top.Want)
	}
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }

// words say what a limiter did; the number is what it left.
var words = map[Limiter]string{
	ByMissing: "kept at %d: something is missing", ByZero: "%d: what rests, or may not yet", BySchedule: "%d by schedule", ByBurst: "%d held up by a burst",
	ByHistory: "kept at %d: it was not watched long enough to shrink", ByStabilise: "stabilised at %d", ByCooldown: "cooling down at %d",
	ByRate: "limited to %d", ByRoom: "%d is what the machines can hold", ByMode: "kept at %d by mode",
}

// String is the limiter in words, such as "limited to 9 until 12:03:10".
func (l Limit) String() string {
	word := words[l.By]
	switch {
	case l.By == ByBounds && l.To < l.From:
		word = "%d at most"
	case l.By == ByBounds:
		word = "%d at least"
	}
	text := fmt.Sprintf(word, l.To)
	if l.What != "" {
		text += " (" + l.What + ")"
	}
	if !l.Until.IsZero() {
		text += " until " + l.Until.UTC().Format(time.TimeOnly)
	}
	return text
}
