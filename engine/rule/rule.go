package rule

import (
	"fmt"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// Rule owns the size of one function or one group of machines. It is a value:
// nothing changes it after Of has made it.
type Rule struct {
	Name      string
	Target    engine.Address
	Min, Max  int
	Headroom  int
	Every     time.Duration
	Mode      string // "on", "up_only", "dry_run" or "off"
	Metrics   []Metric
	Steps     []engine.ScalingStep
	Formula   *Formula // nil without
	Schedules []Schedule
	Up, Down  Direction
	Ahead     *Ahead        // nil without a forecast
	ZeroAfter time.Duration // how long nothing must be asked before 0, with Min = 0
	Victim    string        // "newest", "oldest", "idle" or "least_busy"
	Protect   bool          // busy replicas are left alone
	Budgets   []Budget      // at least one
}

// Metric is one metric of a rule.
type Metric struct {
	Name      string
	Target    float64 // of one replica; 0 if only steps or the formula use it
	Average   bool    // else a total that the replicas share
	Share     bool    // measured as a share of a limit, from 0 to 1
	Window    time.Duration
	Offset    time.Duration
	Aggregate string // "avg", "max", "p95" or "last"
	Activate  float64
	Burst     engine.MetricBurst // Factor is 0 where there is none
	Missing   engine.MetricMissing
}

// Direction says how fast a size may move one way.
type Direction struct {
	Tolerance float64
	Stabilise Span
	Cooldown  time.Duration
	Replicas  int     // by number in Per; 0 is no bound of its own
	Percent   float64 // by percent in Per; the larger of both holds
	Per       time.Duration
}

// Limited reports whether the direction has a limit at all.
func (d Direction) Limited() bool { return d.Replicas > 0 || d.Percent > 0 }

// Span is a time that may depend on how long replicas take to start and drain.
type Span struct {
	Auto bool
	Time time.Duration // without Auto
}

// Ahead is how far a forecast looks, and on what it rests.
type Ahead struct {
	Lookahead Span
	Over      time.Duration
	Season    time.Duration // 0 without
}

// Problem is something senseless in a scaling block.
type Problem struct {
	Block     string // the nested block's type, "" for the scaling block itself
	Index     int    // which of these blocks
	Attribute string // "" for the block as a whole
	Warning   bool
	Summary   string
	Detail    string
}

// builder collects problems.
type builder struct {
	from     engine.Scaling
	problems []Problem
}

func (b *builder) problem(block string, i int, attribute, summary, format string, args ...any) {
	b.problems = append(b.problems, Problem{Block: block, Index: i, Attribute: attribute, Summary: summary, Detail: fmt.Sprintf(format, args...)})
}

func (b *builder) idle(block string, i int, attribute, format string, args ...any) {
	b.problem(block, i, attribute, "Setting without effect", format, args...)
	b.problems[len(b.problems)-1].Warning = true
}

// averages are the built-in metrics that are no sums.
var averages = []string{"latency", "error_rate", "cpu", "memory"}

// Of makes a rule of a scaling block and says what is wrong with it. A rule with
// problems that are no warnings must not be used.
func Of(name string, s engine.Scaling) (Rule, []Problem) {
	b := &builder{from: s}
	r := Rule{
		Name: name, Target: s.Target, Min: s.Min, Max: s.Max, Headroom: s.Headroom,
		Every: s.Every.Std(), Mode: s.Mode, Steps: slices.Clone(s.Steps),
		ZeroAfter: given(s.Zero).After.Std(),
	}
	for _, m := range s.Metrics {
		r.Metrics = append(r.Metrics, metricOf(m))
	}
	r.Up, r.Down = b.up(), b.down()
	down := given(s.Down)
	r.Victim, r.Protect = down.Victim, down.Protect == "busy"
	if f := s.Forecast; f != nil {
		r.Ahead = &Ahead{Lookahead: b.span("forecast", "lookahead", f.Lookahead), Over: f.Over.Std(), Season: f.Season.Std()}
	}
	if s.Target.Kind == engine.KindFunction {
		b.steps()
		r.Formula = b.formula()
		b.aims()
	} else {
		b.machines()
	}
	r.Schedules = b.schedules()
	r.Budgets = b.budgets()
	return r, b.problems
}

// Known reports whether a scaling block's value says all that a rule is made of.
// What a source is asked may be known later.
func Known(v cty.Value) bool {
	v, _ = v.UnmarkDeep()
	known := true
	_ = cty.Walk(v, func(path cty.Path, v cty.Value) (bool, error) { // it returns no errors but ours
		if len(path) > 0 {
			if a, ok := path[len(path)-1].(cty.GetAttrStep); ok && a.Name == "query" {
				return false, nil
			}
		}
		known = known && v.IsKnown()
		return v.IsKnown(), nil
	})
	return known
}

// given is a nested block, or what it is without one.
func given[T any](block *T) T {
	if block == nil {
		return engine.DefaultsOf[T]()
	}
	return *block
}

func metricOf(m engine.Metric) Metric {
	r := Metric{
		Name: m.Name, Target: m.Target, Window: m.Window.Std(), Offset: m.Offset.Std(), Aggregate: m.Aggregate, Activate: m.Activate,
		Average: m.Value == "average" || m.Value == "" && slices.Contains(averages, m.Name) && (m.Source == "" || m.Source == "machine"),
		Burst:   given(m.Burst), Missing: given(m.Missing),
	}
	if r.Share = (m.Name == "cpu" || m.Name == "memory") && m.Target == 0; r.Share {
		r.Target = m.Utilisation
	}
	if r.Average && m.Burst == nil {
		r.Burst.Factor = 0
	}
	return r
}

func (b *builder) up() Direction {
	u := given(b.from.Up)
	l := given(u.Limit)
	return Direction{u.Tolerance, b.span("up", "stabilise", u.Stabilise), u.Cooldown.Std(), l.Replicas, l.Percent, l.Per.Std()}
}

func (b *builder) down() Direction {
	d := given(b.from.Down)
	l := given(d.Limit)
	return Direction{d.Tolerance, b.span("down", "stabilise", d.Stabilise), d.Cooldown.Std(), l.Replicas, l.Percent, l.Per.Std()}
}

// span reads a duration or "auto".
func (b *builder) span(block, attribute, text string) Span {
	if text == "auto" {
		return Span{Auto: true}
	}
	d, err := engine.ParseDuration(text)
	if err != nil {
		b.problem(block, 0, attribute, "Invalid value", "%q: %v, or \"auto\".", attribute, err)
	}
	return Span{Time: d.Std()}
}
