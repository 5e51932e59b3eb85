package load

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestClassics(t *testing.T) {
	const peak = 100.0
	for _, c := range []struct {
		name  string
		share float64 // of the time above half the peak
	}{{"spike", 0.1}, {"step", 0.5}, {"on-off", 0.5}, {"noisy-diurnal", 0.5}} {
		trace, err := Classic(c.name, peak, 2*time.Hour, rand.New(rand.NewPCG(1, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if trace.Duration() != 2*time.Hour {
			t.Errorf("%s lasts %v", c.name, trace.Duration())
		}
		high := 0
		for i := range 7200 {
			if trace.rate(float64(i)) > peak/2 {
				high++
			}
		}
		if got := float64(high) / 7200; got < c.share-0.07 || got > c.share+0.07 {
			t.Errorf("%s is high for %.3f of the time, want about %.2f", c.name, got, c.share)
		}
		again, _ := Classic(c.name, peak, 2*time.Hour, rand.New(rand.NewPCG(1, 1)))
		if !slices.Equal(again.Points(), trace.Points()) {
			t.Errorf("%s is not the same the second time", c.name)
		}
	}
	if _, err := Classic("wave", 1, time.Hour, nil); err == nil {
		t.Error("an unknown name makes a trace")
	}
	if _, err := Classic("step", 1, time.Second, rand.New(rand.NewPCG(1, 1))); err == nil {
		t.Error("a second makes a trace")
	}
}
