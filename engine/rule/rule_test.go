package rule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
	"pgregory.net/rapid"
)

// of makes a rule of a block about function.web, with the defaults of the
// language where change leaves them.
func of(t *testing.T, change func(*engine.Scaling)) rule.Rule {
	t.Helper()
	s := engine.DefaultsOf[engine.Scaling]()
	s.Target, s.Min, s.Max = engine.Addr(engine.KindFunction, "web"), 1, 10
	change(&s)
	r, problems := rule.Of("web", s)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Summary, p.Detail)
	}
	return r
}

func TestDefaultsAreThoseOfTheTags(t *testing.T) {
	m := engine.DefaultsOf[engine.Metric]()
	m.Name, m.Target = "rps", 50
	r := of(t, func(s *engine.Scaling) { s.Metrics = []engine.Metric{m} })
	if r.Every != time.Second || r.Mode != "on" || r.ZeroAfter != 5*time.Minute || r.Victim != "newest" {
		t.Errorf("rule: %+v", r)
	}
	if want := (rule.Direction{Tolerance: 0.1, Replicas: 4, Percent: 100, Per: 15 * time.Second}); r.Up != want {
		t.Errorf("up is %+v, want %+v", r.Up, want)
	}
	if want := (rule.Direction{Tolerance: 0.1, Stabilise: rule.Span{Auto: true}, Cooldown: 15 * time.Second, Percent: 50, Per: time.Minute}); r.Down != want {
		t.Errorf("down is %+v, want %+v", r.Down, want)
	}
	if got := r.Metrics[0]; got.Average || got.Window != 30*time.Second || got.Burst.Factor != 2 || got.Missing.Then != "hold" {
		t.Errorf("metric: %+v", got)
	}
	if len(r.Budgets) != 1 || r.Budgets[0].Percent != 10 || !r.Budgets[0].InForce(time.Unix(0, 0)) {
		t.Errorf("budgets: %+v", r.Budgets)
	}
}

func TestSharesOfALimitAreAveragesWithoutABurst(t *testing.T) {
	m := engine.DefaultsOf[engine.Metric]()
	m.Name, m.Utilisation = "cpu", 0.7
	r := of(t, func(s *engine.Scaling) { s.Metrics = []engine.Metric{m} })
	if got := r.Metrics[0]; !got.Average || !got.Share || got.Target != 0.7 || got.Burst.Factor != 0 {
		t.Errorf("metric: %+v", got)
	}
}

func TestSchedules(t *testing.T) {
	office := engine.Schedule{Name: "office", Start: "0 8 * * 1-5", End: "0 19 * * 1-5", Timezone: "Europe/Vienna", Min: 5}
	night := engine.Schedule{Name: "night", Start: "30 1 * * *", Duration: engine.Duration(2 * time.Hour), Timezone: "Europe/Vienna", Max: 2}
	for _, c := range []struct {
		name     string
		schedule engine.Schedule
		now      string
		until    string // "" if it is not in force
	}{
		{"begins on the minute, in its own zone", office, "2026-07-01T06:00:00Z", "2026-07-01T17:00:00Z"},
		{"not a second earlier", office, "2026-07-01T05:59:59Z", ""},
		{"an hour later in winter", office, "2026-01-07T06:30:00Z", ""},
		{"ends on the minute", office, "2026-07-01T17:00:00Z", ""},
		{"rests on Sunday", office, "2026-07-05T10:00:00Z", ""},
		{"lasts for its duration", night, "2026-07-01T01:29:00Z", "2026-07-01T01:30:00Z"},
		{"and no longer", night, "2026-07-01T01:30:00Z", ""},
		{"lasts as long on the day that summer begins", night, "2026-03-29T02:29:00Z", "2026-03-29T02:30:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := of(t, func(s *engine.Scaling) { s.Schedules = []engine.Schedule{c.schedule} })
			now, err := time.Parse(time.RFC3339, c.now)
			if err != nil {
				t.Fatal(err)
			}
			until, on := r.Schedules[0].InForce(now)
			if on != (c.until != "") || on && until.UTC().Format(time.RFC3339) != c.until {
				t.Errorf("in force: %v, until %v; want %q", on, until.UTC(), c.until)
			}
		})
	}
}

func TestFormulas(t *testing.T) {
	metrics := []engine.Metric{{Name: "rps", Target: 50}, {Name: "queue", Target: 20}}
	in := rule.Inputs{Values: map[string]float64{"rps": 120}, Wants: map[string]int{"rps": 3}, Replicas: 2}
	for _, c := range []struct {
		text string
		want float64
		err  string
	}{
		{"max(wants.rps, coalesce(wants.queue, 0))", 3, ""},
		{"rps / 50 + replicas", 4.4, ""},
		{"rps > 100 ? 7 : 1", 7, ""},
		{"wants.queue + 1", 0, "argument must not be null"},
		{"rps / (replicas - 2)", 0, "infinity"},
	} {
		r := of(t, func(s *engine.Scaling) { s.Metrics, s.Formula = metrics, c.text })
		got, err := r.Formula.Eval(in, r.Metrics)
		switch {
		case c.err == "" && (err != nil || got != c.want):
			t.Errorf("%s is %v, %v; want %v", c.text, got, err, c.want)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s is %v, %v; want an error about %q", c.text, got, err, c.err)
		}
	}
}

// No text, however wild, makes a rule panic.
func TestTextsAreReadSafely(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := engine.DefaultsOf[engine.Scaling]()
		s.Target, s.Max = engine.Addr(engine.KindFunction, "web"), 3
		s.Formula = rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z(),.+*/ 0-9?:]{0,20}`)).Draw(t, "formula")
		s.Metrics = []engine.Metric{{Name: rapid.StringN(0, 5, 10).Draw(t, "metric")}}
		s.Schedules = []engine.Schedule{{Start: rapid.OneOf(rapid.String(), rapid.StringMatching(`[0-9*/,? TZ=-]{0,15}`)).Draw(t, "start"),
			End: rapid.String().Draw(t, "end"), Timezone: rapid.String().Draw(t, "zone")}}
		s.Up = &engine.ScalingUp{Stabilise: rapid.String().Draw(t, "stabilise")}
		r, _ := rule.Of("web", s)
		if r.Formula != nil {
			_, _ = r.Formula.Eval(rule.Inputs{}, r.Metrics)
		}
	})
}
