package decide_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/runtime/decide"
)

var (
	web   = engine.Addr(engine.KindFunction, "web")
	start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
)

// block is a scaling block of 1 to 1000 replicas with the defaults of the
// language.
func block(metrics ...engine.Metric) engine.Scaling {
	s := engine.DefaultsOf[engine.Scaling]()
	s.Target, s.Min, s.Max, s.Metrics = web, 1, 1000, metrics
	return s
}

func metric(name string, target float64) engine.Metric {
	m := engine.DefaultsOf[engine.Metric]()
	m.Name, m.Target = name, target
	return m
}

// average is a metric of one's own that is no sum.
func average(target float64) engine.Metric {
	m := metric("load", target)
	m.Source, m.Query, m.Value = "exec", "load", "average"
	return m
}

type checker interface {
	Helper()
	Fatalf(string, ...any)
}

func ruleOf(t checker, s engine.Scaling) rule.Rule {
	t.Helper()
	r, problems := rule.Of("web", s)
	for _, p := range problems {
		if !p.Warning {
			t.Fatalf("%s: %s", p.Summary, p.Detail)
		}
	}
	return r
}

// free takes away all that limits how fast a size moves.
func free(s engine.Scaling) engine.Scaling {
	up, down := engine.DefaultsOf[engine.ScalingUp](), engine.DefaultsOf[engine.ScalingDown]()
	up.Limit, down.Limit = &engine.UpLimit{Per: engine.Duration(time.Second)}, &engine.DownLimit{Per: engine.Duration(time.Second)}
	down.Stabilise, down.Cooldown = "0s", 0
	s.Up, s.Down = &up, &down
	return s
}

// old is the history of a rule that has been watched for long.
func old() decide.History { return decide.History{Since: start.Add(-24 * time.Hour), Active: start} }

// reading is one fresh sample of one metric.
func reading(name string, v float64) map[string][]decide.Sample {
	return map[string][]decide.Sample{name: {{At: start, Value: v}}}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		name    string
		metric  engine.Metric
		ready   int
		boot    int
		samples []decide.Sample
		want    int
	}{
		{"within tolerance", average(50), 5, 0, []decide.Sample{{Value: 54}}, 5},
		{"above tolerance", average(50), 5, 0, []decide.Sample{{Value: 56}}, 6},
		{"below tolerance, and no whole replica less", average(50), 5, 0, []decide.Sample{{Value: 44}}, 5},
		{"below tolerance", average(50), 5, 0, []decide.Sample{{Value: 40}}, 4},
		{"the upper edge of tolerance", average(100), 10, 0, []decide.Sample{{Value: 110}}, 10},
		{"the lower edge of tolerance", average(100), 10, 0, []decide.Sample{{Value: 90}}, 10},
		{"a replica that is not measured has nothing when it would grow", average(50), 4, 0, []decide.Sample{{Value: 80, Units: 3}}, 5},
		{"and what it should when it would shrink", average(50), 4, 0, []decide.Sample{{Value: 20, Units: 3}}, 3},
		{"the direction does not flip by that", average(50), 4, 0, []decide.Sample{{Value: 60, Units: 3}}, 4},
		{"replicas that start change nothing when it would shrink", average(50), 4, 2, []decide.Sample{{Value: 20}}, 2},
		{"replicas that start have no load yet", average(50), 2, 3, []decide.Sample{{Value: 100}}, 5},
		{"and more come if they do not suffice", average(50), 2, 1, []decide.Sample{{Value: 100}}, 4},
		{"a total is shared", metric("rps", 50), 2, 0, []decide.Sample{{Value: 480}}, 10},
		{"replicas that start count as capacity", metric("rps", 50), 2, 8, []decide.Sample{{Value: 480}}, 10},
		{"from nothing", metric("queue", 2), 0, 0, []decide.Sample{{Value: 7}}, 4},
		{"a queue that is empty leaves one, which may rest later", metric("queue", 2), 3, 0, []decide.Sample{{Value: 0}}, 1},
		{"rounding alone asks for nothing", metric("rps", 0.1), 30, 0, []decide.Sample{{Value: 0.1 * 3}}, 3},
		{"a burst", metric("rps", 70), 10, 0, []decide.Sample{{Value: 1400}}, 20},
		{"what cannot be true is not measured", metric("rps", 50), 4, 0, []decide.Sample{{Value: math.NaN()}}, 4},
		{"nor what is infinite", metric("rps", 50), 4, 0, []decide.Sample{{Value: math.Inf(1)}}, 4},
		{"nor what is below nothing", metric("rps", 50), 4, 0, []decide.Sample{{Value: -9}}, 4},
		{"what can be true counts", metric("rps", 50), 4, 0, []decide.Sample{{Value: 400}, {Value: math.NaN()}}, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := free(block(c.metric))
			s.Min = 0
			for i := range c.samples {
				c.samples[i].At = start
			}
			o := decide.Observation{Ready: c.ready, Starting: c.boot, Samples: map[string][]decide.Sample{c.metric.Name: c.samples}}
			d, _ := decide.Decide(ruleOf(t, s), old(), o, start)
			if d.To != c.want {
				t.Errorf("to %d, want %d: %s", d.To, c.want, d.Why)
			}
		})
	}
}

// world drives a rule through time: what is decided is there at once.
type world struct {
	t    *testing.T
	r    rule.Rule
	h    decide.History
	size int
	now  time.Time
	d    decide.Decision
}

// at evaluates after some time with one sample of each named metric, and returns
// the size after it. A negative value stands for nothing measured.
func (w *world) at(after time.Duration, values map[string]float64) int {
	w.t.Helper()
	w.now = w.now.Add(after)
	o := decide.Observation{Ready: w.size, Samples: map[string][]decide.Sample{}}
	for name, v := range values {
		if v >= 0 {
			o.Samples[name] = []decide.Sample{{At: w.now, Value: v}}
		}
	}
	w.d, w.h = decide.Decide(w.r, w.h, o, w.now)
	if w.d.Act {
		w.size = w.d.To
	}
	return w.size
}

func (w *world) rps(after time.Duration, v float64) int {
	w.t.Helper()
	return w.at(after, map[string]float64{"rps": v})
}

func newWorld(t *testing.T, size int, s engine.Scaling) *world {
	t.Helper()
	return &world{t: t, r: ruleOf(t, s), h: old(), size: size, now: start}
}

func (w *world) wants(what string, got, want int) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: %d, want %d: %s", what, got, want, w.d.Why)
	}
}

// KEP-853: the window down takes the largest, the window up the smallest wish.
func TestStabilisationTakesTheExtremeOfItsWindow(t *testing.T) {
	s := free(block(metric("rps", 1)))
	s.Metrics[0].Burst = &engine.MetricBurst{}
	s.Down.Stabilise = "9s"
	s.Up.Tolerance, s.Down.Tolerance = 0, 0
	w := newWorld(t, 10, s)
	for _, wish := range []float64{10, 9, 8, 9, 9, 8, 9, 8, 9, 8} {
		w.wants("within the window", w.rps(time.Second, wish), 10)
	}
	if len(w.d.Limits) != 1 || w.d.Limits[0].By != decide.ByStabilise || !w.d.Limits[0].Until.Equal(start.Add(10*time.Second)) {
		t.Errorf("limits: %+v", w.d.Limits)
	}
	w.wants("one later", w.rps(time.Second, 8), 9)

	s = free(block(metric("rps", 1)))
	s.Metrics[0].Burst = &engine.MetricBurst{}
	s.Up.Stabilise, s.Up.Tolerance = "5s", 0
	w = newWorld(t, 2, s)
	for _, wish := range []float64{2, 3, 19, 10, 3, 4} {
		w.wants("the least of the window", w.rps(time.Second, wish), 2)
	}
	w.wants("once that has left it", w.rps(time.Second, 7), 3)
}

// HPA's limits: four or twice the size up, ten percent down.
func TestLimitsPerTime(t *testing.T) {
	s := free(block(metric("rps", 1)))
	s.Metrics[0].Burst = &engine.MetricBurst{}
	s.Up.Limit = nil
	w := newWorld(t, 1, s)
	for _, want := range []int{5, 10, 20, 40} {
		w.wants("grows", w.rps(15*time.Second, 900), want)
		w.wants("and no more in the same time", w.rps(time.Second, 900), want)
		w.now = w.now.Add(-time.Second)
	}
	if !strings.Contains(w.d.Why, "limited to 40 until 12:01:15") {
		t.Errorf("why: %s", w.d.Why)
	}
	s.Down.Limit = &engine.DownLimit{Percent: 10, Per: engine.Duration(time.Minute)}
	w = newWorld(t, 80, s)
	w.wants("shrinks by a tenth", w.rps(time.Minute, 1), 72)
	w.wants("once a minute", w.rps(30*time.Second, 1), 72)
	w.wants("and again", w.rps(30*time.Second, 1), 64)
}

// Knative's limits are rates: up to 1.1 times the size is at least one replica more,
// down to a half is rounded down, and never less.
func TestLimitsThatAreRates(t *testing.T) {
	for _, c := range []struct {
		name     string
		metric   engine.Metric
		up, down float64 // percent
		size     int
		value    float64
		want     int
	}{
		{"up by a tenth of two", average(1), 10, 0, 2, 3, 3},
		{"up by a tenth of twenty", average(1), 10, 0, 20, 3, 22},
		{"down to 1/1.1", metric("rps", 10), 0, 100 - 100/1.1, 100, 1, 90},
		{"down to a half", metric("rps", 10), 0, 50, 10, 1, 5},
		{"down to a half of an odd size", metric("rps", 10), 0, 50, 9, 1, 4},
		{"and no further than it is wanted", metric("rps", 10), 0, 50, 9, 60, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := free(block(c.metric))
			s.Metrics[0].Burst = &engine.MetricBurst{}
			s.Up.Limit.Percent, s.Down.Limit.Percent = c.up, c.down
			d, _ := decide.Decide(ruleOf(t, s), old(), decide.Observation{Ready: c.size, Samples: reading(c.metric.Name, c.value)}, start)
			if d.To != c.want {
				t.Errorf("to %d, want %d: %s", d.To, c.want, d.Why)
			}
		})
	}
}

// Nomad's winner of several checks: up beats none beats down, and of two in one
// direction the larger size wins.
func TestOfSeveralMetricsTheLargestWins(t *testing.T) {
	for _, c := range []struct {
		name     string
		rps, job float64 // 50 and 10 a replica, of which there are 4
		want     int
	}{
		{"up and up", 300, 80, 8},
		{"up and none", 300, 40, 6},
		{"up and down", 300, 10, 6},
		{"none and up", 200, 80, 8},
		{"none and none", 200, 40, 4},
		{"none and down", 200, 10, 4},
		{"down and up", 50, 80, 8},
		{"down and none", 50, 40, 4},
		{"down and down", 50, 20, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 4, free(block(metric("rps", 50), metric("queue", 10))))
			w.wants("of both", w.at(time.Second, map[string]float64{"rps": c.rps, "queue": c.job}), c.want)
		})
	}
}

// Knative's panic: entered at twice the size, held for a minute after the last
// sign, never shrinking, past every limit.
func TestBursts(t *testing.T) {
	s := free(block(metric("rps", 70)))
	s.Up.Limit = &engine.UpLimit{Replicas: 1, Per: engine.Duration(time.Minute)}
	s.Up.Stabilise = "10m"
	w := newWorld(t, 10, s)
	w.wants("not quite twice is no burst", w.rps(time.Second, 1330), 11)
	w = newWorld(t, 10, s)
	w.wants("twice is", w.rps(time.Second, 1400), 20)
	w.wants("another sign", w.rps(30*time.Second, 2800), 40)
	w.wants("it does not shrink", w.rps(59*time.Second, 70), 40)
	w.wants("until it is over", w.rps(2*time.Second, 70), 1)
}

// What a later limiter takes back is not told: a burst passes what stabilises, so
// the bound is all that is left, and is told once.
func TestOnlyWhatCountsIsTold(t *testing.T) {
	s := free(block(metric("rps", 50)))
	s.Max = 8
	s.Up.Stabilise = "10m"
	w := newWorld(t, 2, s)
	w.wants("at rest", w.rps(time.Second, 90), 2)
	w.wants("a burst", w.rps(time.Second, 4000), 8)
	if want := []decide.Limit{{By: decide.ByBounds, From: 80, To: 8}}; !slices.Equal(w.d.Limits, want) {
		t.Errorf("limits %+v, want %+v", w.d.Limits, want)
	}
	if !strings.HasSuffix(w.d.Why, "asks for 80; 8 at most") {
		t.Errorf("why: %s", w.d.Why)
	}
	w.wants("which holds", w.rps(time.Second, 90), 8)
	if !strings.Contains(w.d.Why, "; 8 held up by a burst until ") || strings.Count(w.d.Why, "8 ") != 1 {
		t.Errorf("why: %s", w.d.Why)
	}
}

// An average has a burst if it asks for one.
func TestBurstsOfAverages(t *testing.T) {
	m := average(50)
	for _, c := range []struct {
		burst *engine.MetricBurst
		want  int
	}{
		{nil, 12},
		{&engine.MetricBurst{Window: engine.Duration(3 * time.Second), Factor: 1.5, Hold: engine.Duration(time.Minute)}, 20},
	} {
		m.Burst = c.burst
		s := free(block(m))
		s.Up.Limit = &engine.UpLimit{Replicas: 2, Per: engine.Duration(time.Minute)}
		d, _ := decide.Decide(ruleOf(t, s), old(), decide.Observation{Ready: 10, Samples: reading("load", 100)}, start)
		if d.To != c.want {
			t.Errorf("to %d, want %d: %s", d.To, c.want, d.Why)
		}
	}
}

func TestActivationAndRest(t *testing.T) {
	m := metric("queue", 10)
	m.Activate = 50
	s := free(block(m))
	s.Min = 0
	s.Zero = &engine.ScalingZero{After: engine.Duration(5 * time.Minute)}
	w := newWorld(t, 0, s)
	queue := func(after time.Duration, v float64) int { return w.at(after, map[string]float64{"queue": v}) }
	w.wants("activation is stronger than the target", queue(time.Second, 40), 0)
	w.wants("woken", queue(time.Second, 51), 6)
	w.wants("it goes on as long as it may", queue(2*time.Minute, 0), 1)
	w.wants("what is missing lets nothing rest", queue(4*time.Minute, -1), 1)
	w.wants("rests", queue(time.Second, 0), 0)
	w.wants("what is missing wakes nothing", queue(time.Second, -1), 0)
}

func TestMissingData(t *testing.T) {
	jobs := metric("jobs", 10)
	jobs.Source, jobs.Query = "exec", "jobs"
	for _, c := range []struct {
		name    string
		missing engine.MetricMissing
		rps     float64
		soon    int
		later   int
	}{
		{"holds", engine.MetricMissing{Then: "hold"}, 50, 8, 8},
		{"does not hinder growth", engine.MetricMissing{Then: "hold"}, 600, 12, 12},
		{"goes to a number", engine.MetricMissing{Then: "hold", Replicas: 9}, 50, 8, 9},
		{"never below what there is", engine.MetricMissing{Then: "hold", Replicas: 3}, 50, 8, 8},
		{"goes to the greatest", engine.MetricMissing{Then: "max"}, 50, 8, 20},
		{"leaves it to others", engine.MetricMissing{Then: "ignore"}, 50, 8, 1},
		{"unless there are none", engine.MetricMissing{Then: "ignore"}, -1, 8, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.missing.After = engine.Duration(time.Minute)
			jobs.Missing = &c.missing
			rps := metric("rps", 50)
			rps.Burst = &engine.MetricBurst{}
			s := free(block(rps, jobs))
			s.Max = 20
			w := newWorld(t, 8, s)
			w.wants("measured", w.at(time.Second, map[string]float64{"rps": 400, "jobs": 80}), 8)
			w.wants("soon", w.at(59*time.Second, map[string]float64{"rps": c.rps, "jobs": -1}), c.soon)
			w.wants("later", w.at(2*time.Second, map[string]float64{"rps": c.rps, "jobs": -1}), c.later)
		})
	}
}

// Nomad's threshold with a true time: five of six samples of a minute.
func TestSteps(t *testing.T) {
	load := average(0)
	load.Target = 0
	for _, c := range []struct {
		name   string
		values []float64
		share  float64
		want   int
	}{
		{"most of the time", []float64{81, 85, 79, 90, 95, 99}, 0.8, 6},
		{"not quite", []float64{81, 85, 79, 90, 79, 99}, 0.8, 4},
		{"all of the time", []float64{81, 85, 79, 90, 95, 99}, 1, 4},
		{"not for long enough", []float64{90, 90, 90, 90}, 0.8, 4},
		{"nothing at all", nil, 0.8, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := free(block(load))
			s.Every = engine.Duration(10 * time.Second)
			s.Steps = []engine.ScalingStep{{Name: "hot", Metric: "load", Above: 80, For: engine.Duration(50 * time.Second), Share: c.share, Add: 2}}
			var samples []decide.Sample
			for i, v := range c.values {
				samples = append(samples, decide.Sample{At: start.Add(time.Duration(i-len(c.values)+1) * 10 * time.Second), Value: v})
			}
			o := decide.Observation{Ready: 4, Samples: map[string][]decide.Sample{"load": samples}}
			d, h := decide.Decide(ruleOf(t, s), old(), o, start)
			if d.To != c.want {
				t.Errorf("to %d, want %d: %s", d.To, c.want, d.Why)
			}
			if d, _ := decide.Decide(ruleOf(t, s), h, o, start); d.Act && c.want > 4 {
				t.Errorf("it acts twice in its time: %s", d.Why)
			}
		})
	}
}

func Example() {
	s := block(metric("rps", 50))
	s.Max = 8
	r, _ := rule.Of("web", s)
	o := decide.Observation{Ready: 2, Samples: reading("rps", 480)}
	d, _ := decide.Decide(r, decide.History{}, o, start)
	fmt.Printf("%d->%d: %s\n", d.From, d.To, d.Why)
	// Output: 2->8: rps is 480, 480% of target: asks for 10; 8 at most
}
