package state_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/state"
)

var (
	noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	rps  = state.Series{Of: "function.web", Metric: "rps"}
	cpu  = state.Series{Of: "function.web", Metric: "cpu"}
)

func opened(t testing.TB) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func samples(t *testing.T, s *state.Store, q state.Span) []state.Rollup {
	t.Helper()
	all, err := s.Samples(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Readings are summed up by second and by minute, whatever pieces they are written in.
func TestReadingsAreRolledUp(t *testing.T) {
	s := opened(t)
	at := func(d time.Duration) time.Time { return noon.Add(d) }
	for _, part := range [][]state.Reading{
		{{rps, at(200 * time.Millisecond), 10, 0}, {rps, at(900 * time.Millisecond), 30, 0}, {cpu, at(time.Second), 0.5, 3}},
		{{rps, at(61 * time.Second), 8, 0}, {rps, at(2 * time.Second), 20, 0}},
		nil,
	} {
		if err := s.Sample(t.Context(), nil, part, at(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	want := []state.Rollup{
		{Series: rps, At: noon, Step: state.Second, Count: 2, Min: 10, Max: 30, Mean: 20, Last: 30},
		{Series: rps, At: at(2 * time.Second), Step: state.Second, Count: 1, Min: 20, Max: 20, Mean: 20, Last: 20},
		{Series: rps, At: at(61 * time.Second), Step: state.Second, Count: 1, Min: 8, Max: 8, Mean: 8, Last: 8},
	}
	if got := samples(t, s, state.Span{Series: rps, Step: state.Second}); !slices.Equal(got, want) {
		t.Errorf("seconds\n%v\nwant\n%v", got, want)
	}
	want = []state.Rollup{
		{Series: cpu, At: noon, Step: state.Minute, Count: 1, Min: 0.5, Max: 0.5, Mean: 0.5, Last: 0.5, Units: 3},
		{Series: rps, At: noon, Step: state.Minute, Count: 3, Min: 10, Max: 30, Mean: 20, Last: 20},
	}
	if got := samples(t, s, state.Span{Step: state.Minute, Until: at(time.Minute)}); !slices.Equal(got, want) {
		t.Errorf("minutes\n%v\nwant\n%v", got, want)
	}
	if got := samples(t, s, state.Span{Series: state.Series{Metric: "rps"}, Step: state.Second, From: at(2 * time.Second), Until: at(3 * time.Second)}); len(got) != 1 {
		t.Errorf("of one second: %v", got)
	}
}

// Seconds are kept for an hour and minutes for 30 days, less when there are many
// series; those that are measured no more are forgotten.
func TestSamplesAreBounded(t *testing.T) {
	s := opened(t)
	now := noon
	write := func(series ...state.Series) {
		t.Helper()
		var all []state.Reading
		for _, of := range series {
			all = append(all, state.Reading{Series: of, At: now, Value: 1})
		}
		if err := s.Sample(t.Context(), nil, all, now); err != nil {
			t.Fatal(err)
		}
	}
	oldest := func(step, want time.Duration) {
		t.Helper()
		all := samples(t, s, state.Span{Step: step})
		if len(all) == 0 || now.Sub(all[0].At) != want {
			t.Errorf("of steps of %s, the oldest of %d is %s old, not %s", step, len(all), now.Sub(all[0].At), want)
		}
	}
	for range 150 {
		write(rps, cpu)
		now = now.Add(time.Minute)
	}
	write(rps)
	oldest(state.Second, time.Hour)
	oldest(state.Minute, 150*time.Minute)

	many := []state.Series{rps}
	for i := range 500 {
		many = append(many, state.Series{Of: fmt.Sprintf("function.f%d", i), Metric: "rps"})
	}
	for range 20 {
		write(many...)
		now = now.Add(time.Minute)
	}
	write(rps)
	oldest(state.Second, 11*time.Minute) // 360,000 rows of 502 series are 717 seconds

	now = now.Add(31 * 24 * time.Hour)
	write(rps)
	oldest(state.Minute, 0)
	now = now.Add(time.Hour)
	write(cpu)
	if got := samples(t, s, state.Span{Series: cpu, Step: state.Minute}); len(got) != 1 {
		t.Errorf("a series that comes again: %v", got)
	}
}

// What a fenced controller measured is not written.
func TestSamplesNeedTheLease(t *testing.T) {
	s := opened(t)
	first, err := s.Acquire(t.Context(), state.ControllerLock, state.Holder{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Break(t.Context(), state.ControllerLock); err != nil {
		t.Fatal(err)
	}
	if err := s.Sample(t.Context(), first, []state.Reading{{Series: rps, At: noon, Value: 1}}, noon); err == nil {
		t.Error("it was written")
	}
	if got := samples(t, s, state.Span{Step: state.Second}); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// full is a state that holds an hour of n series by the second and a day by the
// minute, at noon.
func full(b *testing.B, n int) (*state.Store, func(at time.Time, seconds int) []state.Reading) {
	s := opened(b)
	readings := func(at time.Time, seconds int) []state.Reading {
		var all []state.Reading
		for i := range seconds {
			for j := range n {
				all = append(all, state.Reading{Series: state.Series{Of: fmt.Sprintf("function.f%d", j), Metric: "rps"}, At: at.Add(time.Duration(i) * time.Second), Value: float64(i*j) / 7})
			}
		}
		return all
	}
	for m := range 24 * 60 {
		at := noon.Add(time.Duration(m-24*60) * time.Minute)
		seconds := 1
		if m >= 23*60 {
			seconds = 60
		}
		if err := s.Sample(b.Context(), nil, readings(at, seconds), at); err != nil {
			b.Fatal(err)
		}
	}
	return s, readings
}

// BenchmarkSample writes what 50 series give in 5 seconds, as a controller does, to
// a state that is full of samples.
func BenchmarkSample(b *testing.B) {
	s, readings := full(b, 50)
	at := noon
	for b.Loop() {
		b.StopTimer()
		batch := readings(at, 5)
		at = at.Add(5 * time.Second)
		b.StartTimer()
		if err := s.Sample(b.Context(), nil, batch, at); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/5, "µs/s-of-50-series")
}

// BenchmarkJournalWhileSampling appends to the journal, by itself and while 50 series
// are written fifty times as often as live.
func BenchmarkJournalWhileSampling(b *testing.B) {
	for _, sampling := range []bool{false, true} {
		b.Run(fmt.Sprintf("sampling=%t", sampling), func(b *testing.B) {
			s, readings := full(b, 50)
			lease, err := s.Acquire(b.Context(), state.ApplyLock, state.Holder{}, nil)
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer stop()
			if sampling {
				wg.Go(func() {
					tick := time.NewTicker(100 * time.Millisecond) // live, it is every 5 s
					defer tick.Stop()
					for at := noon; ; at = at.Add(5 * time.Second) {
						select {
						case <-tick.C:
							s.Sample(ctx, nil, readings(at, 5), at)
						case <-ctx.Done():
							return
						}
					}
				})
			}
			i := 0
			for b.Loop() {
				in := engine.Intent{Run: 1, Step: i, Operation: fmt.Sprint("o", i), Address: engine.Addr(engine.KindFunction, "web").At(i), Gen: 1, Op: engine.OpDelete, Provider: "sim", At: noon}
				if err := s.Journal(lease).Append(b.Context(), engine.Batch{Run: 1, Intents: []engine.Intent{in}}); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
