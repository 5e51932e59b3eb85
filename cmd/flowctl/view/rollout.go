package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
)

// writeRollouts tells how new revisions come in, other than one replica after the
// other.
func writeRollouts(b *strings.Builder, p engine.Plan, s Style) {
	if len(p.Rollouts) == 0 {
		return
	}
	b.WriteString("Rollouts:\n")
	for _, r := range p.Rollouts {
		fmt.Fprintf(b, "  %s: %s\n", s.bold(r.Function.String()), RolloutText(r))
	}
	b.WriteByte('\n')
}

// RolloutText says what a rollout does.
func RolloutText(r engine.Rollout) string {
	fronts := frontsText(r.Fronts)
	switch {
	case r.Back:
		return fmt.Sprintf("back to the revision before: %s; what it replaces stops", switches(fronts))
	case r.Strategy == engine.Canary:
		var steps []string
		for _, st := range r.Stages {
			steps = append(steps, fmt.Sprintf("%d %% to %s", st.Percent, replicas(st.Replicas)))
		}
		room := ""
		if r.Tight {
			room = "; for want of room, as many old ones leave at each step"
		}
		return fmt.Sprintf("canary: of the requests to %s, %s, each watched for %s and judged%s; then the rest is replaced", fronts, strings.Join(steps, ", then "), r.Policy.Pause, room)
	default:
		after := "the old ones stop"
		if len(r.Kept) > 0 {
			after = fmt.Sprintf("the old ones are kept for %s", r.Policy.Keep)
		}
		return fmt.Sprintf("blue_green: %s start beside the old ones; when all are healthy, %s; %s", replicas(len(r.Replicas)), switches(fronts), after)
	}
}

func replicas(n int) string {
	if n == 1 {
		return "1 new replica"
	}
	return fmt.Sprintf("%d new replicas", n)
}

func frontsText(fs []engine.Front) string {
	var names []string
	for _, f := range fs {
		names = append(names, f.Frontend.String())
	}
	return strings.Join(names, " and ")
}

func switches(fronts string) string {
	switch {
	case fronts == "":
		return "nothing has to be switched"
	case strings.Contains(fronts, " and "):
		return fronts + " switch at once"
	default:
		return fronts + " switches at once"
	}
}

// Kept tells which old replicas a plan that was carried out has left for a
// rollback, "" for none.
func Kept(p engine.Plan, now time.Time) string {
	var b strings.Builder
	for _, r := range p.Rollouts {
		if len(r.Kept) > 0 {
			fmt.Fprintf(&b, "The old replicas of %s are kept until %s: 'flowctl rollback %s' goes back to them at once.\n",
				r.Function, now.Add(r.Policy.Keep.Std()).Local().Format("15:04:05"), r.Function)
		}
	}
	return b.String()
}

// Back says to which revisions functions go back by themselves.
func Back(to []engine.Revision, s Style) string {
	var b strings.Builder
	for _, r := range to {
		fmt.Fprintf(&b, "\n%s\n", s.warn(fmt.Sprintf("%s goes back to revision %d, the last good one.", r.Function, r.Number)))
	}
	return b.String()
}
