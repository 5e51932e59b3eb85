package observe

import (
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// A frontend that is told of late, on a busy machine, has no more requests a second
// for that.
func TestRatesAreOfTheTimeBetweenCounts(t *testing.T) {
	www, web := engine.Addr(engine.KindFrontend, "www"), engine.Addr(engine.KindFunction, "web")
	targets := map[engine.Address][]engine.Address{www: {web}}
	begun := time.Unix(1000, 0)
	rate := func(told bool) float64 {
		var was, is reading
		for second, late := range []time.Duration{0, 900 * time.Millisecond, 0} { // the second is told of nearly when the third is
			at := begun.Add(time.Duration(second) * time.Second)
			u := providers.Usage{Address: www, Requests: uint64(20 * second)}
			if told {
				u.Counted = at
			}
			was, is = is, readingOf(at.Add(late), []providers.Usage{u}, is)
		}
		return trafficOf(targets, was, is)[web].requests
	}
	if r := rate(true); r != 20 {
		t.Errorf("%g requests a second, instead of 20", r)
	}
	if r := rate(false); r < 190 {
		t.Errorf("%g requests a second, where it is not told when they were counted", r)
	}
}
