package decide_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime/decide"
)

func TestFormulaSchedulesModesAndRoom(t *testing.T) {
	with := func(change func(*engine.Scaling)) engine.Scaling {
		m := metric("rps", 50)
		m.Burst = &engine.MetricBurst{}
		s := free(block(m))
		s.Max = 20
		change(&s)
		return s
	}
	lunch := engine.Schedule{Name: "lunch", Start: "0 12 * * *", Duration: engine.Duration(time.Hour), Timezone: "UTC"}
	for _, c := range []struct {
		name string
		s    engine.Scaling
		rps  float64
		size int
		want int
		act  bool
	}{
		{"a formula", with(func(s *engine.Scaling) { s.Formula = "wants.rps + 3" }), 500, 4, 13, true},
		{"a formula within tolerance", with(func(s *engine.Scaling) { s.Formula = "rps / 50" }), 205, 4, 4, false},
		{"a formula that takes the value itself", with(func(s *engine.Scaling) { s.Metrics[0].Target = 0; s.Formula = "rps * max(replicas, 1)" }), 1.5, 4, 6, true},
		{"and from nothing", with(func(s *engine.Scaling) { s.Min, s.Metrics[0].Target = 0, 0; s.Formula = "rps * max(replicas, 1)" }), 3.5, 0, 4, true},
		{"a formula that cannot tell", with(func(s *engine.Scaling) { s.Formula = "rps / (replicas - 4)" }), 0, 4, 4, false},
		{"a floor", with(func(s *engine.Scaling) { lunch.Min, lunch.Max = 8, 0; s.Schedules = []engine.Schedule{lunch} }), 100, 2, 8, true},
		{"a cap", with(func(s *engine.Scaling) { lunch.Min, lunch.Max = 0, 5; s.Schedules = []engine.Schedule{lunch} }), 900, 2, 5, true},
		{"a cap shrinks", with(func(s *engine.Scaling) { lunch.Min, lunch.Max = 0, 5; s.Schedules = []engine.Schedule{lunch} }), 900, 9, 5, true},
		{"a dry run", with(func(s *engine.Scaling) { s.Mode = "dry_run" }), 500, 4, 10, false},
		{"switched off", with(func(s *engine.Scaling) { s.Mode = "off" }), 500, 4, 10, false},
		{"only up goes up", with(func(s *engine.Scaling) { s.Mode = "up_only" }), 500, 4, 10, true},
		{"and not down", with(func(s *engine.Scaling) { s.Mode = "up_only" }), 50, 4, 4, false},
		{"back into its bounds", with(func(s *engine.Scaling) { s.Max = 6 }), 500, 9, 6, true},
		{"up into its bounds", with(func(s *engine.Scaling) { s.Min = 6 }), 50, 1, 6, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := decide.Observation{Ready: c.size, Samples: reading("rps", c.rps)}
			d, _ := decide.Decide(ruleOf(t, c.s), old(), o, start)
			if d.To != c.want || d.Act != c.act {
				t.Errorf("to %d (acts: %v), want %d (%v): %s", d.To, d.Act, c.want, c.act, d.Why)
			}
		})
	}
	d, _ := decide.Decide(ruleOf(t, with(func(*engine.Scaling) {})), old(), decide.Observation{Ready: 2, Room: 7, Samples: reading("rps", 900)}, start)
	if d.To != 7 || d.Limits[len(d.Limits)-1].By != decide.ByRoom {
		t.Errorf("beyond what the machines hold: %s", d.Why)
	}
}

// A rule whose history is lost does not shrink for one window.
func TestAfterALostHistoryNothingShrinks(t *testing.T) {
	m := metric("rps", 50)
	s := free(block(m))
	s.Down.Stabilise = "1m"
	w := newWorld(t, 8, s)
	w.h = decide.History{}
	w.wants("at first", w.rps(0, 50), 8)
	w.wants("within the window", w.rps(59*time.Second, 50), 8)
	w.wants("after it", w.rps(2*time.Second, 50), 1)
}

func TestCooldown(t *testing.T) {
	m := metric("rps", 50)
	m.Burst = &engine.MetricBurst{}
	s := free(block(m))
	s.Up.Cooldown, s.Down.Cooldown = engine.Duration(30*time.Second), engine.Duration(time.Minute)
	w := newWorld(t, 2, s)
	w.wants("grows", w.rps(time.Second, 200), 4)
	w.wants("rests", w.rps(29*time.Second, 400), 4)
	w.wants("grows again", w.rps(time.Second, 400), 8)
	w.wants("does not shrink soon", w.rps(59*time.Second, 50), 8)
	w.wants("shrinks", w.rps(time.Second, 50), 1)
}

// What changes nothing starts no rest, and a rest outlasts whoever keeps it.
func TestCooldownStartsWithAChangeAndSurvivesARestart(t *testing.T) {
	m := metric("rps", 50)
	m.Burst = &engine.MetricBurst{}
	s := free(block(m))
	s.Up.Cooldown, s.Down.Cooldown = engine.Duration(5*time.Minute), engine.Duration(5*time.Minute)
	w := newWorld(t, 2, s)
	w.wants("within tolerance", w.rps(time.Second, 104), 2)
	w.wants("grows at once", w.rps(time.Second, 200), 4)
	stored, err := json.Marshal(w.h)
	if w.h = (decide.History{}); err == nil {
		err = json.Unmarshal(stored, &w.h)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.wants("rests after the restart", w.rps(time.Minute, 400), 4)
	w.wants("and does not shrink either", w.rps(time.Minute, 50), 4)
	w.wants("until the rest is over", w.rps(3*time.Minute, 400), 8)
}

// A forecast sees a steady rise ahead, nothing in noise, and never lowers.
func TestForecast(t *testing.T) {
	s := free(block(metric("rps", 10)))
	s.Metrics[0].Burst = &engine.MetricBurst{}
	f := engine.DefaultsOf[engine.Forecast]()
	f.Lookahead = "30s"
	s.Forecast = &f
	for _, c := range []struct {
		name string
		at   func(i int) float64
		want int
	}{
		{"a rise of one a second", func(i int) float64 { return 100 + float64(i) }, 24}, // 205 in the mean of the window, 30 more ahead
		{"no rise", func(int) float64 { return 100 }, 10},
		{"noise", func(i int) float64 { return 100 + 20*float64(i%2) - 10 }, 10},
		{"a fall", func(i int) float64 { return 300 - float64(i) }, 20},
	} {
		var samples []decide.Sample
		for i := range 120 {
			samples = append(samples, decide.Sample{At: start.Add(time.Duration(i-119) * time.Second), Value: c.at(i)})
		}
		o := decide.Observation{Ready: 1, Samples: map[string][]decide.Sample{"rps": samples}}
		d, _ := decide.Decide(ruleOf(t, s), old(), o, start)
		if d.Want != c.want {
			t.Errorf("%s: wants %d, want %d: %s", c.name, d.Want, c.want, d.Why)
		}
	}
}

// What there was a season ago comes again, and is met before it does.
func TestForecastOfASeason(t *testing.T) {
	s := free(block(metric("rps", 10)))
	s.Metrics[0].Burst = &engine.MetricBurst{}
	f := engine.DefaultsOf[engine.Forecast]()
	s.Metrics[0].Window = engine.Duration(2 * time.Minute) // old samples are rolled up by the minute
	f.Lookahead, f.Season = "2m", engine.Duration(24*time.Hour)
	s.Forecast = &f
	jump := start.Add(-23 * time.Hour)
	var samples []decide.Sample
	for at := start.Add(-24 * time.Hour); at.Before(start.Add(time.Hour)); at = at.Add(time.Minute) {
		v := 50.0
		if !at.Before(jump) && at.Before(jump.Add(30*time.Minute)) {
			v = 200
		}
		samples = append(samples, decide.Sample{At: at, Value: v})
	}
	for _, c := range []struct {
		name  string
		early time.Duration // before the jump comes again
		want  int
	}{
		{"too early to tell", 4 * time.Minute, 5},
		{"ahead of it", 30 * time.Second, 20},
	} {
		now := start.Add(time.Hour - c.early)
		d, _ := decide.Decide(ruleOf(t, s), old(), decide.Observation{Ready: 5, Samples: map[string][]decide.Sample{"rps": samples}}, now)
		if d.Want != c.want {
			t.Errorf("%s: wants %d, want %d: %s", c.name, d.Want, c.want, d.Why)
		}
	}
}

// Machines follow their demand through the same stages.
func TestMachines(t *testing.T) {
	s := engine.DefaultsOf[engine.Scaling]()
	s.Target, s.Min, s.Max = engine.Addr(engine.KindVM, "node"), 1, 8
	w := newWorld(t, 2, s)
	o := decide.Observation{Ready: 2, Demand: 5}
	d, h := decide.Decide(w.r, w.h, o, start)
	if d.To != 5 {
		t.Errorf("to %d: %s", d.To, d.Why)
	}
	d, _ = decide.Decide(w.r, h, decide.Observation{Ready: 5, Demand: 1, Boot: 2 * time.Minute}, start.Add(3*time.Minute))
	if d.To != 5 {
		t.Errorf("shrinks to %d within twice the time of a boot: %s", d.To, d.Why)
	}
}

// What the rule does not have any more is forgotten.
func TestHistoryOfWhatIsGoneIsForgotten(t *testing.T) {
	h := old()
	h.Metrics = []decide.Seen{{Name: "queue", Peak: 900, Until: start.Add(time.Hour)}}
	h.Steps = []decide.Stepped{{Name: "hot", At: start}}
	d, h := decide.Decide(ruleOf(t, block(metric("rps", 50))), h, decide.Observation{Ready: 2, Samples: reading("rps", 100)}, start)
	if d.To != 2 || len(h.Metrics) != 1 || h.Metrics[0].Name != "rps" || len(h.Steps) != 0 {
		t.Errorf("to %d, history: %+v", d.To, h)
	}
}
