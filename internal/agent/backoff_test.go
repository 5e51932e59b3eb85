package agent

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBackoffSchedule(t *testing.T) {
	var b backoff
	var got []time.Duration
	for range 12 {
		got = append(got, b.next(time.Second, 0))
	}
	const ms, s = time.Millisecond, time.Second
	want := []time.Duration{
		100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 12800 * ms, 25600 * ms, 30 * s, 30 * s, 30 * s,
	}
	if !slices.Equal(got, want) {
		t.Errorf("delays = %v\nwant     %v", got, want)
	}
	if d := b.next(10*s, 0); d != 100*ms {
		t.Errorf("after 10 s of uptime: %s, want the first delay", d)
	}
	if d := b.next(9999*ms, 0); d != 200*ms {
		t.Errorf("after a little less: %s, want the second delay", d)
	}
}

func TestBackoffJitterStaysWithinAQuarterAndForever(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	var steady, b backoff
	for range 1000 {
		step := steady.next(0, 0)
		if d := b.next(0, chance.Float64()); d > step || d < step*3/4 {
			t.Fatalf("delay %s of a step of %s", d, step)
		}
	}
}

func TestPacer(t *testing.T) {
	var p pacer
	now := time.Unix(1000, 0)
	total := 0
	for at := now; at.Before(now.Add(10 * time.Second)); {
		at = at.Add(time.Millisecond) // reading
		total += logBuffer
		at = at.Add(p.delay(logBuffer, at))
	}
	if total > 11*10*paceBytes {
		t.Errorf("%d bytes in 10 s, want at most about %d", total, 10*10*paceBytes)
	}
	p = pacer{}
	for range 10_000 { // 8 kB every 10 ms is no flood
		now = now.Add(10 * time.Millisecond)
		if d := p.delay(logBuffer, now); d != 0 {
			t.Fatalf("a slow stream is held up by %s", d)
		}
	}
}
