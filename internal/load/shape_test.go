package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const sec = time.Second

func TestRateAndSum(t *testing.T) {
	trace, err := NewTrace([]Point{{At: 10 * sec, RPS: 10}, {At: 20 * sec, RPS: 30}, {At: 20 * sec, RPS: 0}, {At: 30 * sec, RPS: 0}})
	if err != nil {
		t.Fatal(err)
	}
	type want struct {
		at        time.Duration
		rate, sum float64
	}
	for name, c := range map[string]struct {
		shape Shape
		want  []want
	}{
		"steady holds its base and ends":  {Shape{Mode: Steady, BaseRPS: 5, Duration: 10 * sec}, []want{{-sec, 0, 0}, {0, 5, 0}, {9 * sec, 5, 45}, {10 * sec, 0, 50}, {20 * sec, 0, 50}}},
		"steady without a duration":       {Shape{Mode: Steady, BaseRPS: 5}, []want{{time.Hour, 5, 18000}}},
		"low and high hold their base":    {Shape{Mode: High, BaseRPS: 60, PeakRPS: 1}, []want{{time.Minute, 60, 3600}}},
		"a step goes up at its instant":   {Shape{Mode: Step, BaseRPS: 1, PeakRPS: 10, At: 10 * sec}, []want{{9 * sec, 1, 9}, {10 * sec, 10, 10}, {20 * sec, 10, 110}}},
		"a step may go down":              {Shape{Mode: Step, BaseRPS: 10, At: 10 * sec}, []want{{9 * sec, 10, 90}, {10 * sec, 0, 100}, {60 * sec, 0, 100}}},
		"a spike comes back":              {Shape{Mode: Spike, BaseRPS: 1, PeakRPS: 10, At: 10 * sec, Period: 5 * sec}, []want{{9 * sec, 1, 9}, {10 * sec, 10, 10}, {15 * sec, 1, 60}, {20 * sec, 1, 65}}},
		"a sine peaks in mid period":      {Shape{Mode: Sine, BaseRPS: 10, PeakRPS: 30, Period: 20 * sec}, []want{{0, 10, 0}, {5 * sec, 20, 50 + 10*(5-10/math.Pi)}, {10 * sec, 30, 200}, {20 * sec, 10, 400}}},
		"a trace runs in straight lines":  {Shape{Mode: Replay, Trace: trace}, []want{{5 * sec, 10, 50}, {15 * sec, 20, 175}, {20 * sec, 0, 300}, {30 * sec, 0, 300}}},
		"a longer trace keeps its end":    {Shape{Mode: Replay, Trace: mustTrace(t, Point{0, 5}), Duration: 10 * sec}, []want{{9 * sec, 5, 45}, {10 * sec, 0, 50}}},
		"a shorter duration cuts a trace": {Shape{Mode: Replay, Trace: trace, Duration: 15 * sec}, []want{{15 * sec, 0, 175}, {20 * sec, 0, 175}}},
	} {
		if err := c.shape.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, w := range c.want {
			if got := c.shape.Rate(w.at); math.Abs(got-w.rate) > 1e-9 {
				t.Errorf("%s: Rate(%v) = %g, want %g", name, w.at, got, w.rate)
			}
			if got := c.shape.Sum(w.at); math.Abs(got-w.sum) > 1e-6 {
				t.Errorf("%s: Sum(%v) = %g, want %g", name, w.at, got, w.sum)
			}
		}
	}
}

func mustTrace(t *testing.T, points ...Point) Trace {
	t.Helper()
	tr, err := NewTrace(points)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestValidateShape(t *testing.T) {
	for name, c := range map[string]struct {
		shape Shape
		want  string
	}{
		"negative base":        {Shape{BaseRPS: -1}, "the base is -1"},
		"base is not a number": {Shape{BaseRPS: math.NaN()}, "the base is NaN"},
		"endless rate":         {Shape{BaseRPS: math.Inf(1)}, "the base is +Inf"},
		"negative peak":        {Shape{Mode: Step, PeakRPS: -2}, "the peak is -2"},
		"spike without width":  {Shape{Mode: Spike}, "a spike needs a period"},
		"sine without period":  {Shape{Mode: Sine}, "a sine needs a period"},
		"negative duration":    {Shape{Duration: -1}, "must not be negative"},
		"negative start":       {Shape{Mode: Step, At: -1}, "must not be negative"},
		"no such mode":         {Shape{Mode: 99}, "Mode(99) is not known"},
		"empty trace":          {Shape{Mode: Replay}, "the trace is empty"},
		"trace of no length":   {Shape{Mode: Replay, Trace: mustTrace(t, Point{0, 1})}, "ends where it begins"},
	} {
		if err := c.shape.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestModeNames(t *testing.T) {
	for _, name := range Modes() {
		m, err := ParseMode(name)
		if err != nil || m.String() != name {
			t.Errorf("ParseMode(%q) = %v, %v", name, m, err)
		}
		c := Preset(m)
		if m == Replay {
			c.Shape.Trace = mustTrace(t, Point{0, 1}, Point{sec, 1})
		}
		c.Request.URL = "http://localhost/fib/{n}"
		if err := c.Validate(); err != nil {
			t.Errorf("preset %s: %v", name, err)
		}
	}
	if _, err := ParseMode("wild"); err == nil || !strings.Contains(err.Error(), "steady, low, high, step, spike, sine, trace") {
		t.Errorf("an unknown mode gives %v", err)
	}
	var m Mode
	if err := m.UnmarshalText([]byte("sine")); err != nil || m != Sine {
		t.Errorf("UnmarshalText: %v, %v", m, err)
	}
}

// randomShape draws a valid shape of a few thousand requests at most.
func randomShape(r *rand.Rand) Shape {
	span := func(most time.Duration) time.Duration { return 1 + time.Duration(r.Int64N(int64(most))) }
	s := Shape{
		Mode: Mode(r.IntN(len(modeNames))), BaseRPS: r.Float64() * 50, PeakRPS: r.Float64() * 200,
		At: span(20 * sec), Period: span(20 * sec), Duration: span(30 * sec),
	}
	switch r.IntN(4) {
	case 0:
		s.BaseRPS = 0
	case 1:
		s.PeakRPS = 0
	}
	var points []Point
	at := time.Duration(0)
	for range 1 + r.IntN(10) {
		at += time.Duration(r.IntN(3)) * span(4*sec) // now and then a jump
		points = append(points, Point{at, float64(r.IntN(3)) * r.Float64() * 50})
	}
	s.Trace, _ = NewTrace(points)
	return s
}

func TestShapeProperties(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 300 {
		s := randomShape(r)
		fail := func(format string, args ...any) {
			t.Fatalf("seed %d, shape %d %+v: %s", seed, i, s, fmt.Sprintf(format, args...))
		}
		if err := s.Validate(); err != nil {
			fail("%v", err)
		}
		// The rate is never negative, and Sum is its integral.
		const steps = 20000
		dt, area, before := s.Duration.Seconds()/steps, 0.0, 0.0
		for k := range steps {
			rate := s.Rate(time.Duration((float64(k) + 0.5) * dt * 1e9))
			if rate < 0 || math.IsNaN(rate) {
				fail("rate %g", rate)
			}
			area += rate * dt
			sum := s.Sum(time.Duration(float64(k+1) * dt * 1e9))
			if sum < before-1e-9 {
				fail("sum falls from %g to %g", before, sum)
			}
			before = sum
		}
		total := s.Sum(s.Duration)
		if math.Abs(area-total) > 0.5+total/1000 {
			fail("the rate adds up to %g, Sum says %g", area, total)
		}
		// Arrivals are ordered, inside, and never half a request off.
		k, last := 0, time.Duration(0)
		for at := range s.Arrivals(nil) {
			k++
			if at < last || at > s.Duration {
				fail("arrival %d at %v after %v", k, at, last)
			}
			if off := s.Sum(at) - (float64(k) - 0.5); math.Abs(off) > 1e-3 {
				fail("arrival %d at %v is off by %g requests", k, at, off)
			}
			last = at
		}
		if math.Abs(float64(k)-total) > 1 {
			fail("%d arrivals, want %g", k, total)
		}
	}
}

func TestEvenArrivals(t *testing.T) {
	got := slices.Collect(Shape{Mode: Step, BaseRPS: 1, PeakRPS: 4, At: 2 * sec, Duration: 3 * sec}.Arrivals(nil))
	ms := time.Millisecond
	want := []time.Duration{500 * ms, 1500 * ms, 2125 * ms, 2375 * ms, 2625 * ms, 2875 * ms}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestArrivalsWithoutEnd(t *testing.T) {
	for name, s := range map[string]Shape{
		"steady":            {Mode: Steady, BaseRPS: 100},
		"silence, then not": {Mode: Step, PeakRPS: 100, At: time.Hour},
		"sine":              {Mode: Sine, PeakRPS: 100, Period: time.Minute},
	} {
		n := 0
		for at := range s.Arrivals(nil) {
			if n++; math.Abs(s.Sum(at)-float64(n)+0.5) > 1e-3 {
				t.Fatalf("%s: arrival %d at %v", name, n, at)
			}
			if n == 1000 {
				break
			}
		}
		if n != 1000 {
			t.Errorf("%s: only %d arrivals", name, n)
		}
	}
	for range (Shape{Mode: Step, BaseRPS: 0, PeakRPS: 0}).Arrivals(nil) {
		t.Fatal("a shape of no requests has an arrival")
	}
}

func TestPoissonArrivals(t *testing.T) {
	s := Shape{Mode: Sine, BaseRPS: 20, PeakRPS: 80, Period: 10 * sec, Duration: 200 * sec}
	draw := func(seed uint64) []time.Duration {
		return slices.Collect(s.Arrivals(rand.New(rand.NewPCG(seed, 0))))
	}
	a := draw(1)
	if !slices.Equal(a, draw(1)) {
		t.Error("the same seed gives other arrivals")
	}
	if slices.Equal(a, draw(2)) {
		t.Error("another seed gives the same arrivals")
	}
	if !slices.IsSorted(a) || a[len(a)-1] > s.Duration {
		t.Error("arrivals are not in order within the duration")
	}
	// 10,000 wanted: a Poisson count is within 5 standard deviations (500).
	if total := s.Sum(s.Duration); math.Abs(float64(len(a))-total) > 5*math.Sqrt(total) {
		t.Errorf("%d arrivals, want about %g", len(a), total)
	}
	// Counts in periods of equal mean (500) vary as much as their mean.
	counts := make([]float64, 20)
	for _, at := range a {
		counts[int(at/(10*sec))]++
	}
	variance := 0.0
	for _, c := range counts {
		variance += (c - 500) * (c - 500) / float64(len(counts))
	}
	if variance < 100 || variance > 1500 {
		t.Errorf("variance of the counts is %g, want about 500", variance)
	}
}

func BenchmarkArrivals(b *testing.B) {
	trace, err := NewTrace([]Point{{0, 10}, {time.Hour, 20000}, {2 * time.Hour, 10000}})
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range []Shape{
		{Mode: Steady, BaseRPS: 10000},
		{Mode: Sine, BaseRPS: 5000, PeakRPS: 15000, Period: time.Minute},
		{Mode: Replay, Trace: trace},
	} {
		b.Run(s.Mode.String(), func(b *testing.B) {
			n := 0
			for b.Loop() {
				for range s.Arrivals(nil) {
					if n++; n%1000 == 0 {
						break
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/arrival")
		})
	}
}
