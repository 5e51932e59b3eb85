package tasks

import (
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

func TestAssess(t *testing.T) {
	policy := engine.UpdatePolicy{MinRequests: 100, MaxErrorRate: 1, MaxSlower: 1.5}
	tally := func(answered, failed uint64, p95 time.Duration) providers.Tally {
		return providers.Tally{Answered: answered, Failed: failed, Latency: map[time.Duration]uint64{p95: answered}}
	}
	ms := time.Millisecond
	for _, c := range []struct {
		name       string
		fresh, old providers.Tally
		fault      string // "" for none
		note       string
	}{
		{"as good as the old ones", tally(100, 0, 20*ms), tally(900, 0, 20*ms), "", "0 of 100 requests (0 %) failed, p95 20ms; old: 0 of 900 requests (0 %), 20ms"},
		{"a failure within the rate", tally(100, 1, 20*ms), tally(900, 0, 20*ms), "", "1 of 100"},
		{"failures beyond it", tally(100, 2, 20*ms), tally(900, 0, 20*ms), "2 of 100 requests (2 %) to it failed, and 0 of 900 requests (0 %) to the old replicas; max_error_rate allows 1 % more", ""},
		{"failures that the old ones have, too", tally(100, 11, 20*ms), tally(900, 90, 20*ms), "", "11 of 100"},
		{"few requests", tally(12, 0, 20*ms), tally(900, 0, 20*ms), "", "12 requests only, fewer than min_requests = 100: taken as good"},
		{"few requests, most of which fail", tally(3, 2, 20*ms), tally(900, 0, 20*ms), "2 of 3 requests", ""},
		{"no requests", tally(0, 0, 0), tally(0, 0, 0), "", "0 requests only"},
		{"slower", tally(100, 0, 40*ms), tally(900, 0, 20*ms), "up to 40ms, those of the old replicas up to 20ms, and max_slower = 1.5 allows up to 30ms", ""},
		{"slower by what never counts", tally(100, 0, 9*ms), tally(900, 0, 1*ms), "", "p95 9ms"},
		{"slower than too few", tally(100, 0, 400*ms), tally(9, 0, 20*ms), "", "p95 400ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fault, note := assess(policy, c.fresh, c.old)
			if (fault == "") != (c.fault == "") || !strings.Contains(fault, c.fault) || !strings.Contains(note, c.note) {
				t.Errorf("fault %q, note %q; want %q, %q", fault, note, c.fault, c.note)
			}
		})
	}
	out := tally(5, 5, 0)
	out.Out = map[engine.Key]string{{Address: engine.BackendOf(engine.Addr(engine.KindFrontend, "www"), engine.Addr(engine.KindFunction, "web").At(0)), Gen: 2}: "it fails its health checks"}
	if fault, _ := assess(engine.UpdatePolicy{MinRequests: 1000, MaxErrorRate: 100}, out, tally(900, 0, 0)); !strings.Contains(fault, "of backend.www/web[0], it fails its health checks") {
		t.Errorf("a canary that was taken out: %q", fault)
	}
}
