package view_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime/api"
)

var night = time.Date(2026, 7, 1, 3, 0, 10, 0, time.UTC)

// A decision is told from what was measured to what was done, with the reader's own
// clock.
func TestExplain(t *testing.T) {
	at := night.Add(-10 * time.Second)
	d := api.Decision{
		Rule: "web", Target: "function.web", At: at, From: 2, Ready: 1, Want: 10, To: 6, Act: true, Run: 7,
		Why: "rps is 480, 480% of target: asks for 10; 8 at most; limited to 6 until 03:00:15",
		Wishes: []api.Wish{
			{Name: "rps", Value: 480, Target: 50, Each: true, Ratio: 4.8, Burst: 700, Newest: at.Add(-300 * time.Millisecond), Want: 10, Voted: true},
			{Name: "latency", Value: 0.08, Target: 0.1, Ratio: 0.8, Ahead: 0.2, Newest: at, Want: 2, Voted: true, Held: true},
			{Name: "queue", Missing: true},
		},
		Limits: []api.Limit{
			{By: "bounds", From: 10, To: 8, Text: "8 at most"},
			{By: "limit", From: 8, To: 6, Until: at.Add(15 * time.Second), Text: "limited to 6 until 03:00:15"},
		},
	}
	run := engine.RunInfo{ID: 7, Status: engine.RunSucceeded, Ended: at.Add(1500 * time.Millisecond)}
	const want = `scaling.web at 03:00:00 (10s ago): function.web goes from 2 to 6
There were 2, of which 1 still started.

What was measured, and asks for how many
  metric   value    target            that is  newest sample  asks for
  rps      480      50 each           480%     300ms before   10
           700      in the last seconds
  latency  0.08     0.1               80%      0s before      2 (near enough to its target)
           0.2      is expected soon
  queue    missing  -                 -        -              -

How it comes to 6
  10  rps is 480, 480% of target: asks for 10
  8   at most so many (max)
  6   as far as it may go at once (up.limit), until 03:00:15 (5s from now)

Run 7 did it: succeeded after 1.5s. See 'flowctl runs show 7'.
`
	got := view.Explain(view.Explained{Decision: d, Run: &run, Now: night}, view.Style{})
	if squeeze(got) != squeeze(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	vienna := time.FixedZone("Vienna", 2*3600)
	if got := view.Why(d, night.In(vienna)); got != "rps is 480, 480% of target: asks for 10; 8 at most; limited to 6 until 05:00:15" {
		t.Errorf("why: %s", got)
	}
	if got := view.Explain(view.Explained{Decision: d, Now: night.AddDate(0, 0, 2)}, view.Style{}); !strings.Contains(got, "at 2026-07-01 03:00:00 (48h ago)") && !strings.Contains(got, "(2d ago)") {
		t.Errorf("of another day:\n%s", got)
	}
}

// squeeze makes runs of blanks one: how wide columns are is no matter here.
func squeeze(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

// Each limiter has a sentence of its own, in both directions.
func TestEveryLimiterHasASentence(t *testing.T) {
	seen := map[string]string{}
	for _, by := range []string{"missing", "zero", "schedule", "bounds", "stabilise", "history", "burst", "cooldown", "limit", "room", "mode"} {
		for _, to := range []int{1, 9} {
			d := api.Decision{Rule: "web", From: 5, To: to, Why: "x", At: night, Limits: []api.Limit{{By: by, From: 5, To: to, Text: "RAW"}}}
			got := view.Explain(view.Explained{Decision: d, Now: night}, view.Style{})
			if strings.Contains(got, "RAW") {
				t.Errorf("%s has none:\n%s", by, got)
			}
			if was, again := seen[got]; again {
				t.Errorf("%s and %s are told alike", was, by)
			}
			seen[got] = by
		}
	}
}
