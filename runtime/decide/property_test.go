package decide_test

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/runtime/decide"
	"pgregory.net/rapid"
)

func seconds(t *rapid.T, name string, from, to int) engine.Duration {
	return engine.Duration(time.Duration(rapid.IntRange(from, to).Draw(t, name)) * time.Second)
}

// anyBlock draws a scaling block of one or two totals; with all, of steps, too.
func anyBlock(t *rapid.T, all bool) engine.Scaling {
	s := block(metric("rps", 50))
	s.Min = rapid.IntRange(0, 4).Draw(t, "min")
	s.Max = s.Min + rapid.IntRange(1, 20).Draw(t, "more")
	s.Every = seconds(t, "every", 1, 10)
	s.Mode = rapid.SampledFrom([]string{"on", "up_only", "dry_run", "off"}).Draw(t, "mode")
	s.Metrics[0].Burst = &engine.MetricBurst{Window: seconds(t, "short", 1, 10), Hold: seconds(t, "hold", 0, 60), Factor: float64(rapid.IntRange(0, 3).Draw(t, "factor"))}
	if rapid.Bool().Draw(t, "two") {
		s.Metrics = append(s.Metrics, metric("queue", 10))
		s.Metrics[1].Missing = &engine.MetricMissing{After: seconds(t, "after", 0, 60), Then: rapid.SampledFrom([]string{"hold", "max"}).Draw(t, "then"), Replicas: rapid.IntRange(0, 9).Draw(t, "replicas")}
	}
	up, down := engine.DefaultsOf[engine.ScalingUp](), engine.DefaultsOf[engine.ScalingDown]()
	up.Stabilise, down.Stabilise = seconds(t, "up", 0, 30).String(), seconds(t, "down", 0, 120).String()
	up.Cooldown, down.Cooldown = seconds(t, "cool up", 0, 30), seconds(t, "cool down", 0, 60)
	up.Limit = &engine.UpLimit{Replicas: rapid.IntRange(0, 5).Draw(t, "by"), Percent: float64(rapid.IntRange(0, 200).Draw(t, "percent")), Per: seconds(t, "per", 1, 60)}
	s.Up, s.Down = &up, &down
	if rapid.Bool().Draw(t, "forecast") {
		f := engine.DefaultsOf[engine.Forecast]()
		s.Forecast = &f
	}
	if rapid.Bool().Draw(t, "scheduled") {
		low := rapid.IntRange(0, s.Max).Draw(t, "floor")
		s.Schedules = []engine.Schedule{{Name: "x", Start: "*/2 * * * *", Duration: engine.Duration(time.Minute), Timezone: "UTC", Min: low, Max: max(low, s.Min, 1, rapid.IntRange(0, s.Max).Draw(t, "cap"))}}
	}
	if all && rapid.Bool().Draw(t, "stepped") {
		s.Steps = []engine.ScalingStep{{Name: "hot", Metric: "rps", Above: 300, For: seconds(t, "for", 0, 30), Share: 1, Add: 3}, {Name: "cold", Metric: "rps", Below: 100, Share: 0.5, For: seconds(t, "long", 0, 30), Percent: -50}}
	}
	return s
}

// watch drives a rule through random load and gaps. Every decision is shown to
// check, with the metrics that are missing in it.
func watch(t *rapid.T, s engine.Scaling, check func(r rule.Rule, d decide.Decision, missing bool)) {
	r := ruleOf(t, s)
	var h decide.History
	samples := map[string][]decide.Sample{}
	size, now := rapid.IntRange(s.Min, s.Max).Draw(t, "size"), start
	for range rapid.IntRange(1, 60).Draw(t, "turns") {
		now = now.Add(r.Every)
		for _, m := range r.Metrics {
			if rapid.IntRange(0, 9).Draw(t, "gap") > 0 {
				samples[m.Name] = append(samples[m.Name], decide.Sample{At: now, Value: float64(rapid.IntRange(0, 800).Draw(t, m.Name))})
			} else if rapid.Bool().Draw(t, "lost") {
				samples[m.Name] = nil
			}
		}
		starting := rapid.IntRange(0, size).Draw(t, "starting")
		o := decide.Observation{Ready: size - starting, Starting: starting, Samples: samples, Boot: 3 * time.Second}
		var d decide.Decision
		d, h = decide.Decide(r, h, o, now)
		check(r, d, slices.ContainsFunc(d.Wishes, func(w decide.Wish) bool { return w.Missing }))
		if d.Act {
			size = d.To
		}
	}
}

func TestSizesStayWithinTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		watch(t, anyBlock(t, true), func(r rule.Rule, d decide.Decision, _ bool) {
			if d.To < r.Min || d.To > r.Max {
				t.Fatalf("%d is not within %d..%d: %s", d.To, r.Min, r.Max, d.Why)
			}
			if d.Act && (r.Mode == "off" || r.Mode == "dry_run" || r.Mode == "up_only" && d.To < d.From) {
				t.Fatalf("mode %s acts: %s", r.Mode, d.Why)
			}
		})
	})
}

func TestWhileDataIsMissingNothingShrinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		watch(t, anyBlock(t, true), func(r rule.Rule, d decide.Decision, missing bool) {
			if missing && d.To < d.From {
				t.Fatalf("%d->%d: %s", d.From, d.To, d.Why)
			}
		})
	})
}

// What is wanted in a window bounds what is done in it, each way; and nothing
// shrinks before a rule has been watched for a window.
func TestNothingIsUndoneWithinAWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyBlock(t, true)
		s.Schedules = nil
		for i := range s.Metrics {
			s.Metrics[i].Burst = &engine.MetricBurst{}
		}
		var wanted []decide.Wanted
		var first time.Time
		watch(t, s, func(r rule.Rule, d decide.Decision, _ bool) {
			if wanted = append(wanted, decide.Wanted{At: d.At, N: min(d.Want, r.Max)}); first.IsZero() {
				first = d.At
			}
			for _, w := range wanted {
				if age := d.At.Sub(w.At); age <= r.Down.Stabilise.Time && d.To < d.From && d.To < min(w.N, d.From) {
					t.Fatalf("shrinks to %d, though %d were wanted %v ago: %s", d.To, w.N, age, d.Why)
				}
				if age := d.At.Sub(w.At); age <= r.Up.Stabilise.Time && d.To > d.From && d.To > max(w.N, d.From, r.Min) {
					t.Fatalf("grows to %d, though %d were wanted %v ago: %s", d.To, w.N, age, d.Why)
				}
			}
			if d.To < d.From && d.At.Sub(first) < r.Down.Stabilise.Time {
				t.Fatalf("shrinks after %v: %s", d.At.Sub(first), d.Why)
			}
		})
	})
}

// More of a metric never makes a smaller size.
func TestMoreLoadNeverMeansLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyBlock(t, false)
		r, _ := rule.Of("web", s)
		size := rapid.IntRange(0, 20).Draw(t, "size")
		o := decide.Observation{Ready: size, Samples: map[string][]decide.Sample{}}
		more := decide.Observation{Ready: size, Samples: map[string][]decide.Sample{}}
		for _, m := range r.Metrics {
			extra := float64(rapid.IntRange(0, 200).Draw(t, "extra"))
			for i := range rapid.IntRange(1, 8).Draw(t, "samples") {
				x := decide.Sample{At: start.Add(time.Duration(i-8) * time.Second), Value: float64(rapid.IntRange(0, 400).Draw(t, "value"))}
				o.Samples[m.Name] = append(o.Samples[m.Name], x)
				x.Value += extra
				more.Samples[m.Name] = append(more.Samples[m.Name], x)
			}
		}
		a, _ := decide.Decide(r, old(), o, start)
		b, _ := decide.Decide(r, old(), more, start)
		if a.To > b.To {
			t.Fatalf("%d for less, %d for more:\n%s\n%s", a.To, b.To, a.Why, b.Why)
		}
	})
}

// The same input gives the same output, and stays as it is.
func TestDecideIsAFunction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyBlock(t, true)
		r, _ := rule.Of("web", s)
		h, o := old(), decide.Observation{Ready: rapid.IntRange(0, 9).Draw(t, "ready"), Samples: map[string][]decide.Sample{}}
		for i := range 20 {
			now := start.Add(time.Duration(i) * r.Every)
			for _, m := range r.Metrics {
				o.Samples[m.Name] = append(o.Samples[m.Name], decide.Sample{At: now, Value: float64(rapid.IntRange(0, 500).Draw(t, "value"))})
			}
			before := decide.History{Since: h.Since, Active: h.Active, Highs: slices.Clone(h.Highs), Lows: slices.Clone(h.Lows),
				Actions: slices.Clone(h.Actions), Metrics: slices.Clone(h.Metrics), Steps: slices.Clone(h.Steps)}
			a, ha := decide.Decide(r, h, o, now)
			b, hb := decide.Decide(r, h, o, now)
			if !reflect.DeepEqual(a, b) || !reflect.DeepEqual(ha, hb) || !reflect.DeepEqual(h, before) {
				t.Fatalf("not the same:\n%+v\n%+v", a, b)
			}
			// A history that was stored and read again is as good.
			stored, err := json.Marshal(h)
			var read decide.History
			if err == nil {
				err = json.Unmarshal(stored, &read)
			}
			if c, _ := decide.Decide(r, read, o, now); err != nil || !reflect.DeepEqual(a, c) {
				t.Fatalf("after a restart it is not the same (%v):\n%+v\n%+v", err, a, c)
			}
			h = ha
		}
	})
}

// Sources and clocks that lie take nothing out of its bounds.
func TestLiesStayWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyBlock(t, true)
		s.Metrics = append(s.Metrics, average(rapid.SampledFrom([]float64{1e-300, 1, 1e300}).Draw(t, "target")))
		s.Formula = rapid.SampledFrom([]string{"", "rps / load", "pow(rps, load)", "coalesce(load, 1) * 1e9 - replicas", "-rps"}).Draw(t, "formula")
		r := ruleOf(t, s)
		var h decide.History
		for range 10 {
			now := start.Add(time.Duration(rapid.IntRange(-100, 100).Draw(t, "now")) * time.Second)
			o := decide.Observation{Ready: rapid.IntRange(0, 50).Draw(t, "ready"), Starting: rapid.IntRange(0, 50).Draw(t, "starting"), Samples: map[string][]decide.Sample{}}
			for _, m := range r.Metrics {
				for range rapid.IntRange(0, 5).Draw(t, "samples") {
					o.Samples[m.Name] = append(o.Samples[m.Name], decide.Sample{
						At:    now.Add(time.Duration(rapid.IntRange(-60, 60).Draw(t, "at")) * time.Second),
						Value: rapid.OneOf(rapid.Float64(), rapid.Float64Range(0, 1000), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1)})).Draw(t, "value"),
						Units: rapid.IntRange(-1, 60).Draw(t, "units"),
					})
				}
			}
			var d decide.Decision
			if d, h = decide.Decide(r, h, o, now); d.To < r.Min || d.To > r.Max {
				t.Fatalf("%d is not within %d..%d: %s", d.To, r.Min, r.Max, d.Why)
			}
			if _, err := json.Marshal(d); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	r, _ := rule.Of("web", block(metric("rps", 50), metric("queue", 20)))
	o := decide.Observation{Ready: 10, Samples: map[string][]decide.Sample{}}
	for i := range 60 {
		at := start.Add(time.Duration(i) * time.Second)
		o.Samples["rps"] = append(o.Samples["rps"], decide.Sample{At: at, Value: 500})
		o.Samples["queue"] = append(o.Samples["queue"], decide.Sample{At: at, Value: 100})
	}
	h, now := decide.History{}, start.Add(time.Minute)
	b.ReportAllocs()
	for b.Loop() {
		_, h = decide.Decide(r, h, o, now)
	}
}
