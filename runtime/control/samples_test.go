package control_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/flowctl/flowctl/state"
)

// What was measured outlives the controller: the next one decides by the window that
// the last one saw, although nobody can say anything now. What is measured is kept
// by the second and by the minute, and the load of a function with it.
func TestWindowsOutliveTheController(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		l.ask(0.4)
		l.apply(fmt.Sprintf(twoTier, 20))
		_, stop := l.serve()
		after(90 * time.Second)
		stop()
		seconds, err := l.store.Samples(t.Context(), state.Span{Series: state.Series{Of: "function.web", Metric: "cpu"}, Step: state.Second})
		if err != nil || len(seconds) < 80 || seconds[0].Mean != 0.4 || seconds[0].Units != 1 {
			t.Fatalf("%d seconds, %v: %+v", len(seconds), err, seconds[:min(3, len(seconds))])
		}
		minutes, err := l.store.Samples(t.Context(), state.Span{Series: state.Series{Of: "function.web", Metric: "cpu"}, Step: state.Minute})
		if err != nil || len(minutes) < 2 || minutes[0].Mean != 0.4 {
			t.Fatalf("minutes %+v, %v", minutes, err)
		}

		l.ask(-1)
		c, stop := l.serve()
		defer stop()
		after(2 * time.Second)
		if w := c.Status().Rules[0].Decision.Wishes[0]; w.Missing || w.Samples < 25 || w.Want != 1 || w.Value < 0.39 || w.Value > 0.41 {
			t.Errorf("the window of 30 s is lost: %+v", w)
		}
	})
}
