package load

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const ms = time.Millisecond

// wait stands in for the kernel's sleep inside a bubble.
func wait(t time.Duration) { <-time.After(t) }

// takes is a server that answers after d.
func takes(d time.Duration) func(context.Context, job) result {
	return func(ctx context.Context, j job) result {
		select {
		case <-ctx.Done():
			return result{kind: classify(ctx.Err(), false), latency: time.Since(j.due)}
		case <-time.After(d):
			return result{latency: time.Since(j.due), replica: "web[0]"}
		}
	}
}

// drive runs a driver inside a bubble.
func drive(ctx context.Context, c Config, do func(context.Context, job) result, tick func(Tick)) Report {
	return newDriver(c.withDefaults(), do, wait).run(ctx, tick)
}

func TestSendsAtTheScheduledInstants(t *testing.T) {
	for _, poisson := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			shape := Shape{Mode: Sine, BaseRPS: 10, PeakRPS: 200, Period: 10 * sec, Duration: 20 * sec}
			source := func() *rand.Rand { return rand.New(rand.NewPCG(7, 7)) }
			var mu sync.Mutex
			var late []time.Duration
			start := time.Now()
			var dues []time.Duration
			rep := drive(t.Context(), Config{Request: Request{N: Range{1, 2}}, Shape: shape, Poisson: poisson, Rand: source()}, func(_ context.Context, j job) result {
				mu.Lock()
				defer mu.Unlock()
				late = append(late, time.Since(j.due))
				dues = append(dues, j.due.Sub(start))
				return result{latency: time.Since(j.due)}
			}, nil)

			var want []time.Duration
			r := source()
			arrivals := shape.Arrivals(nil)
			if poisson {
				arrivals = shape.Arrivals(r)
			}
			for at := range arrivals {
				want = append(want, at)
				r.IntN(2) // the driver draws {n} from the same source
			}
			slices.Sort(dues)
			if !slices.Equal(dues, want) || rep.Sent != int64(len(want)) {
				t.Errorf("poisson %v: sent %d, want %d at their instants", poisson, rep.Sent, len(want))
			}
			if worst := slices.Max(late); worst > batch {
				t.Errorf("poisson %v: a request was %v late", poisson, worst)
			}
		})
	}
}

func TestArrivalsBeyondTheLimitAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Arrivals at 50 ms, 150 ms and so on, three at once, each for 970 ms: in
		// each second the first three are sent and the other seven find no room.
		c := Config{Shape: Shape{Mode: Steady, BaseRPS: 10, Duration: 2 * sec}, MaxInFlight: 3}
		rep := drive(t.Context(), c, takes(970*ms), nil)
		if rep.Sent != 6 || rep.Dropped != 14 || rep.OK != 6 || rep.PeakInFlight != 3 {
			t.Errorf("sent %d, dropped %d, ok %d, peak %d; want 6, 14, 6, 3", rep.Sent, rep.Dropped, rep.OK, rep.PeakInFlight)
		}
		if rep.MaxMs > 975 {
			t.Errorf("a request waited in the driver: latency %v ms", rep.MaxMs)
		}
	})
}

func TestTicksAddUpToTheReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Shape: Shape{Mode: Step, BaseRPS: 10, PeakRPS: 100, At: 3 * sec, Duration: 5500 * ms}, MaxInFlight: 20}
		var ticks []Tick
		n := 0
		rep := drive(t.Context(), c, func(_ context.Context, j job) result {
			wait(300 * ms)
			return result{kind: kind(j.n % 9), latency: time.Since(j.due), replica: []string{"a", "b"}[j.n%2], message: "m"}
		}, func(tk Tick) { ticks = append(ticks, tk); n++ })
		var sum Counts
		sum.Replicas = map[string]int64{}
		for _, tk := range ticks {
			sum.Sent += tk.Sent
			sum.Done += tk.Done
			sum.OK += tk.OK
			sum.Dropped += tk.Dropped
			sum.Cut += tk.Cut
			sum.Failures.Total += tk.Failures.Total
			for name, k := range tk.Replicas {
				sum.Replicas[name] += k
			}
		}
		sum.Failures = rep.Failures
		if a, b := mustJSON(t, sum), mustJSON(t, rep.Counts); a != b {
			t.Errorf("ticks add up to %s, the report says %s", a, b)
		}
		if len(ticks) != 6 || ticks[5].InFlight != 0 {
			t.Errorf("%d ticks: %+v", len(ticks), ticks)
		}
		if ticks[1].WantedRPS != 10 || ticks[4].WantedRPS != 100 || ticks[1].RPS != 10 {
			t.Errorf("ticks want %v and %v and saw %v", ticks[1].WantedRPS, ticks[4].WantedRPS, ticks[1].RPS)
		}
		if rep.Dropped == 0 {
			t.Error("nothing was dropped")
		}
	})
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSameSeedSameNumbers(t *testing.T) {
	numbers := func(seed uint64, took time.Duration) map[time.Duration]int {
		got := map[time.Duration]int{}
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			start := time.Now()
			c := Config{
				Request: Request{N: Range{15, 25}}, MaxInFlight: 4, Poisson: true,
				Shape: Shape{Mode: Steady, BaseRPS: 50, Duration: 4 * sec}, Rand: rand.New(rand.NewPCG(seed, 0)),
			}
			drive(t.Context(), c, func(ctx context.Context, j job) result {
				mu.Lock()
				got[j.due.Sub(start)] = j.n
				mu.Unlock()
				return takes(took)(ctx, j)
			}, nil)
		})
		return got
	}
	all, some, other := numbers(1, 0), numbers(1, sec), numbers(2, 0)
	if len(all) < 150 || len(some) >= len(all) {
		t.Fatalf("%d and %d requests", len(all), len(some))
	}
	seen := map[int]bool{}
	for at, n := range all {
		seen[n] = true
		if m, sent := some[at]; sent && m != n {
			t.Errorf("the request at %v asks for %d, or for %d when others are dropped", at, n, m)
		}
		if _, same := other[at]; same {
			t.Errorf("another seed has the same arrival %v", at)
		}
	}
	if len(seen) != 11 || !seen[15] || !seen[25] {
		t.Errorf("numbers drawn: %v, want all of 15..25", seen)
	}
}

func TestEndOfContext(t *testing.T) {
	for name, c := range map[string]struct {
		takes    time.Duration
		ok, cut  int64
		lastsFor time.Duration
	}{
		"requests that end within the grace are counted": {takes: 800 * ms, ok: 20, lastsFor: 2750 * ms},
		"requests that take longer are cut":              {takes: time.Hour, cut: 20, lastsFor: 3 * sec},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*sec)
				defer cancel()
				start := time.Now()
				conf := Config{Shape: Shape{Mode: Steady, BaseRPS: 10}, Grace: sec}
				rep := drive(ctx, conf, takes(c.takes), nil)
				if rep.OK != c.ok || rep.Cut != c.cut || rep.Failed() != 0 {
					t.Errorf("ok %d, cut %d, failed %d; want %d, %d, 0", rep.OK, rep.Cut, rep.Failed(), c.ok, c.cut)
				}
				if took := time.Since(start); took != c.lastsFor {
					t.Errorf("the run took %v, want %v", took, c.lastsFor)
				}
			})
		})
	}
}

func TestSilenceAtTheEndIsPartOfTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ticks []Tick
		c := Config{Shape: Shape{Mode: Step, BaseRPS: 10, At: 2 * sec, Duration: 5 * sec}}
		rep := drive(t.Context(), c, takes(ms), func(tk Tick) { ticks = append(ticks, tk) })
		if rep.ElapsedS != 5 || rep.Sent != 20 || len(ticks) < 4 {
			t.Errorf("ended after %v s with %d sent and %d ticks", rep.ElapsedS, rep.Sent, len(ticks))
		}
	})
}

func TestNoArrivalsAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		rep := drive(ctx, Config{Shape: Shape{Mode: Steady, BaseRPS: 10}}, takes(0), nil)
		if rep.Sent != 0 || rep.P99Ms != 0 || rep.Failed() != 0 {
			t.Errorf("got %+v", rep)
		}
	})
}

// A server that stands still for two of ten seconds: a closed loop with one
// client sees one slow request among 800, the open loop sees the 20 % of them
// that arrived meanwhile.
func TestStallShowsInThePercentiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		stalled := func(ctx context.Context, j job) result {
			if up := time.Since(start); up >= 4*sec && up < 6*sec {
				wait(6*sec - up)
			}
			return takes(ms)(ctx, j)
		}
		c := Config{Shape: Shape{Mode: Steady, BaseRPS: 100, Duration: 10 * sec}}
		var worst Tick
		rep := drive(t.Context(), c, stalled, func(tk Tick) {
			if tk.MaxMs > worst.MaxMs {
				worst = tk
			}
		})
		if rep.Sent != 1000 || rep.Dropped != 0 || rep.PeakInFlight < 199 {
			t.Errorf("sent %d, dropped %d, at most %d at once", rep.Sent, rep.Dropped, rep.PeakInFlight)
		}
		if rep.P50Ms > 2 || rep.P90Ms < 900 || rep.P90Ms > 1100 || rep.P99Ms < 1800 || rep.MaxMs < 1980 {
			t.Errorf("latency %+v; want p90 of 1 s and p99 of 1.9 s", rep.Latency)
		}
		if worst.P50Ms < 400 {
			t.Errorf("the second in which the stall ended: %+v", worst)
		}
	})
}

func TestSamplesAndManyReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Request: Request{N: Range{0, 100000}}, Shape: Shape{Mode: Steady, BaseRPS: 1000, Duration: 2 * sec}}
		rep := drive(t.Context(), c, func(_ context.Context, j job) result {
			return result{kind: kindReset + kind(j.n%2), replica: time.Duration(j.n).String(), message: "boom"}
		}, nil)
		if len(rep.Errors) != 2*samplesPerKind || rep.Failed() != 2000 {
			t.Errorf("%d samples of %d failures", len(rep.Errors), rep.Failed())
		}
		if len(rep.Replicas) > maxReplicas+1 || rep.Replicas[otherReplica] == 0 {
			t.Errorf("%d replicas kept, %d others", len(rep.Replicas), rep.Replicas[otherReplica])
		}
	})
}
