package lb

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsAreWithinFivePercent(t *testing.T) {
	last := -1
	for us := 1.0; us < 2e9; us *= 1.01 {
		d := time.Duration(us * 1e3)
		i := bucketOf(d)
		if i < last {
			t.Fatalf("bucket of %v is %d, below that of less", d, i)
		}
		last = i
		if off := math.Abs(float64(middle(i)-d)) / float64(d); us >= 16 && off > 0.05 {
			t.Fatalf("%v lies in the bucket of %v: %.3f off", d, middle(i), off)
		}
	}
	for _, d := range []time.Duration{-1, 0, math.MaxInt64} {
		bucketOf(d) // in range
	}
	if bucketOf(math.MaxInt64) != buckets-1 {
		t.Error("what is too long is not in the last bucket")
	}
}

func TestQuantilesAreWithinFivePercent(t *testing.T) {
	const seed = 5
	r := rand.New(rand.NewPCG(seed, 0))
	var w window
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(math.Exp(r.NormFloat64()*1.5) * float64(3*time.Millisecond))
		all = append(all, d)
		w.record(5*second, d)
	}
	slices.Sort(all)
	l := w.latency(6 * second)
	for _, c := range []struct {
		got Duration
		pct int
	}{{l.P50, 50}, {l.P95, 95}, {l.P99, 99}} {
		want := all[len(all)*c.pct/100-1]
		if off := math.Abs(float64(c.got)-float64(want)) / float64(want); off > 0.05 {
			t.Errorf("p%d = %v, want %v (seed %d)", c.pct, c.got, want, seed)
		}
	}
	if l.Count != 10_000 {
		t.Errorf("count = %d", l.Count)
	}
}

func TestWindowForgets(t *testing.T) {
	var w window
	w.record(1*second, time.Second)
	w.record(11*second, time.Millisecond)
	if l := w.latency(19 * second); l.Count != 2 || time.Duration(l.P99) < 900*time.Millisecond {
		t.Errorf("the last period and this one: %+v", l)
	}
	if l := w.latency(21 * second); l.Count != 1 || time.Duration(l.P99) > 2*time.Millisecond {
		t.Errorf("a period later: %+v", l)
	}
	w.record(22*second, time.Second)
	if l := w.latency(41 * second); l != (Latency{}) {
		t.Errorf("two periods later: %+v", l)
	}
}

func TestRates(t *testing.T) {
	var r rates
	for s := range int64(30) {
		for range s {
			r.add(s*second + 5)
		}
	}
	now := 29*second + 500
	if got := r.last(now, 1, false); got != 28 {
		t.Errorf("last whole second: %d, want 28", got)
	}
	if got := r.last(now, 10, false); got != 19+20+21+22+23+24+25+26+27+28 {
		t.Errorf("last ten whole seconds: %d", got)
	}
	if got := r.last(now, 10, true); got != 19+20+21+22+23+24+25+26+27+28+29 {
		t.Errorf("with the running second: %d", got)
	}
	if got := r.last(now+60*second, 10, true); got != 0 {
		t.Errorf("a minute later: %d", got)
	}
	if got := r.total.Load(); got != 29*30/2 {
		t.Errorf("total: %d", got)
	}
}
