package view_test

import (
	"math"
	"testing"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/state"
)

func TestSpark(t *testing.T) {
	for want, values := range map[string][]float64{
		"":         nil,
		"▁▁":       {0, 0},
		"▁▅█ █":    {0, 4, 8, math.NaN(), 8},
		"▁▂▃▄▅▆▇█": {0, 1, 2, 3, 4, 5, 6, 7},
		"  ":       {math.NaN(), math.NaN()},
	} {
		if got := view.Spark(values); got != want {
			t.Errorf("%v is %q, want %q", values, got, want)
		}
	}
}

// Samples are averaged by step of a grid, levels hold until the next; what is before
// the first, or out of the grid, is not drawn.
func TestGrid(t *testing.T) {
	g := view.GridUntil(night, 5*time.Second, 4) // 02:59:55 to 03:00:15
	at := func(s int) time.Time { return night.Add(time.Duration(s) * time.Second) }
	means := g.Means([]state.Rollup{
		{At: at(-60), Mean: 99, Count: 1}, {At: at(-10), Mean: 1, Count: 1}, {At: at(-6), Mean: 4, Count: 2}, {At: at(4), Mean: 7, Count: 1}, {At: at(60), Mean: 99, Count: 1},
	})
	levels := g.Levels([]view.Level{{At: at(-7), Value: 2}, {At: at(-6), Value: 3}, {At: at(3), Value: 5}})
	for _, c := range []struct{ got, want []float64 }{
		{means, []float64{math.NaN(), 3, math.NaN(), 7}},
		{levels, []float64{math.NaN(), 3, 3, 5}},
	} {
		for i, want := range c.want {
			if got := c.got[i]; got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
				t.Errorf("%v, want %v", c.got, c.want)
				break
			}
		}
	}
}
