package view

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/plot"
	"github.com/flowctl/flowctl/runtime/elastic"
	"github.com/flowctl/flowctl/runtime/simulate"
)

// Simulation is one load on one or several specs.
type Simulation struct {
	Load   string // what it is, in words
	Length time.Duration
	Specs  []SimulatedSpec
}

// SimulatedSpec is how it went with one spec.
type SimulatedSpec struct {
	Name   string
	Result simulate.Result
}

// JSONFigures are the figures of one group. Their names are those of the table,
// and of -fail-if.
type JSONFigures struct {
	SLOViolation      float64 `json:"slo_violation" unit:"%"`
	UnderTime         float64 `json:"under_time" unit:"%"`
	OverTime          float64 `json:"over_time" unit:"%"`
	UnderShare        float64 `json:"under_share" unit:"%"`
	OverShare         float64 `json:"over_share" unit:"%"`
	UnderUnits        float64 `json:"under_units"`
	OverUnits         float64 `json:"over_units"`
	ViolatedS         float64 `json:"slo_violation_s" unit:"s"`
	CausalUnderTime   float64 `json:"causal_under_time" unit:"%"`
	UnavoidableTime   float64 `json:"unavoidable_time" unit:"%"`
	UnitSeconds       float64 `json:"unit_seconds"`
	OracleUnitSeconds float64 `json:"oracle_unit_seconds"`
	StaticUnitSeconds float64 `json:"static_unit_seconds"`
	CostRatio         float64 `json:"cost_ratio"`
	Changes           int     `json:"changes"`
	Flaps             int     `json:"flaps"`
	Reversals         int     `json:"reversals"`
	Jitter            float64 `json:"jitter" unit:"/min"`
	OrderP50          float64 `json:"order_p50_s" unit:"s"`
	OrderP95          float64 `json:"order_p95_s" unit:"s"`
	ReadyP50          float64 `json:"ready_p50_s" unit:"s"`
	ReadyP95          float64 `json:"ready_p95_s" unit:"s"`
	ReleaseP50        float64 `json:"release_p50_s" unit:"s"`
	ReleaseP95        float64 `json:"release_p95_s" unit:"s"`
}

func figuresJSON(f elastic.Figures) JSONFigures {
	j := JSONFigures{
		SLOViolation: f.SLOViolation, UnderTime: f.UnderTime, OverTime: f.OverTime, UnderShare: f.UnderShare, OverShare: f.OverShare,
		UnderUnits: f.UnderUnits, OverUnits: f.OverUnits, ViolatedS: f.ViolatedS, CausalUnderTime: f.CausalUnder, UnavoidableTime: f.Unavoidable,
		UnitSeconds: f.UnitSeconds, OracleUnitSeconds: f.Oracle, StaticUnitSeconds: f.Static, CostRatio: f.CostRatio,
		Changes: f.Changes, Flaps: f.Flaps, Reversals: f.Reversals, Jitter: f.Jitter,
		OrderP50: f.OrderP50, OrderP95: f.OrderP95, ReadyP50: f.ReadyP50, ReadyP95: f.ReadyP95, ReleaseP50: f.ReleaseP50, ReleaseP95: f.ReleaseP95,
	}
	// More digits than these are noise.
	v := reflect.ValueOf(&j).Elem()
	for i := range v.NumField() {
		if x := v.Field(i); x.Kind() == reflect.Float64 {
			x.SetFloat(math.Round(x.Float()*1e4) / 1e4)
		}
	}
	return j
}

// Figure returns a figure by its name.
func Figure(f elastic.Figures, name string) (value float64, ok bool) {
	v := reflect.ValueOf(figuresJSON(f))
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("json") != name {
			continue
		}
		if v.Field(i).Kind() == reflect.Int {
			return float64(v.Field(i).Int()), true
		}
		return v.Field(i).Float(), true
	}
	return 0, false
}

// JSONSimulation is a simulation in JSON.
type JSONSimulation struct {
	FormatVersion string              `json:"format_version"`
	Load          string              `json:"load"`
	LengthS       float64             `json:"length_s"`
	Specs         []JSONSimulatedSpec `json:"specs"`
	Broken        []string            `json:"broken,omitempty"`
}

// JSONSimulatedSpec is one spec of a simulation.
type JSONSimulatedSpec struct {
	Spec   string               `json:"spec"`
	Groups []JSONSimulatedGroup `json:"groups"`
}

// JSONSimulatedGroup is one group that scaled.
type JSONSimulatedGroup struct {
	Target    string         `json:"target"`
	Capacity  float64        `json:"capacity_rps,omitempty"`
	Figures   JSONFigures    `json:"figures"`
	Decisions []JSONDecision `json:"decisions"`
}

// JSONDecision is one change of a size.
type JSONDecision struct {
	At   time.Time `json:"at"`
	From int       `json:"from"`
	To   int       `json:"to"`
	Why  string    `json:"why"`
}

// SimulationJSON converts a simulation; broken are the limits that do not hold.
func SimulationJSON(s Simulation, broken []string) JSONSimulation {
	j := JSONSimulation{FormatVersion: FormatVersion, Load: s.Load, LengthS: s.Length.Seconds(), Specs: []JSONSimulatedSpec{}, Broken: broken}
	for _, spec := range s.Specs {
		one := JSONSimulatedSpec{Spec: spec.Name, Groups: []JSONSimulatedGroup{}}
		for _, g := range spec.Result.Groups {
			group := JSONSimulatedGroup{Target: g.Target.String(), Capacity: g.Capacity, Figures: figuresJSON(g.Figures), Decisions: []JSONDecision{}}
			for _, d := range g.Decisions {
				group.Decisions = append(group.Decisions, JSONDecision{d.At.UTC(), d.From, d.To, d.Why})
			}
			one.Groups = append(one.Groups, group)
		}
		j.Specs = append(j.Specs, one)
	}
	return j
}

// targets lists the groups of all specs, in the order in which they are met.
func (s Simulation) targets() []engine.Address {
	var all []engine.Address
	seen := map[engine.Address]bool{}
	for _, spec := range s.Specs {
		for _, g := range spec.Result.Groups {
			if !seen[g.Target] {
				seen[g.Target] = true
				all = append(all, g.Target)
			}
		}
	}
	return all
}

// group returns a group of a spec, nil if it has none of that address.
func (s SimulatedSpec) group(a engine.Address) *simulate.Group {
	for i := range s.Result.Groups {
		if s.Result.Groups[i].Target == a {
			return &s.Result.Groups[i]
		}
	}
	return nil
}

// Simulated renders figures, all if none is named, the specs side by side.
func Simulated(s Simulation, figures []string, st Style) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n", s.Load, engine.Duration(s.Length))
	for _, target := range s.targets() {
		b.WriteString("\n")
		var t Table
		head := []string{st.bold(target.String())}
		for _, spec := range s.Specs {
			head = append(head, spec.Name)
		}
		t.Row(head...)
		typ := reflect.TypeFor[JSONFigures]()
		for i := range typ.NumField() {
			name := typ.Field(i).Tag.Get("json")
			if len(figures) > 0 && !slices.Contains(figures, name) {
				continue
			}
			row := []string{"  " + name}
			for _, spec := range s.Specs {
				row = append(row, cell(spec.group(target), name, typ.Field(i).Tag.Get("unit")))
			}
			t.Row(row...)
		}
		b.WriteString(t.String())
	}
	return b.String()
}

func cell(g *simulate.Group, name, unit string) string {
	if g == nil {
		return "-"
	}
	v, _ := Figure(g.Figures, name)
	text := strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64)
	if unit == "" {
		return text
	}
	return text + " " + unit
}

// SimulationChart draws the load, and for each group what was needed and what
// was ready.
func SimulationChart(s Simulation) plot.Chart {
	c := plot.Chart{Title: s.Load, Seconds: s.Length.Seconds()}
	for _, target := range s.targets() {
		p := plot.Panel{Title: target.String()}
		for _, spec := range s.Specs {
			g := spec.group(target)
			if g == nil {
				continue
			}
			if len(c.Panels) == 0 && g.Series.Load != nil {
				c.Panels = append(c.Panels, plot.Panel{Title: "requests/s", Lines: []plot.Line{{Name: "load", Values: g.Series.Load}}})
			}
			if len(p.Lines) == 0 {
				p.Lines = append(p.Lines, plot.Line{Name: "needed", Values: floats(g.Series.Need), Steps: true, Faint: true})
			}
			p.Lines = append(p.Lines, plot.Line{Name: spec.Name, Values: floats(g.Series.Ready), Steps: true})
		}
		c.Panels = append(c.Panels, p)
	}
	return c
}

func floats(all []int) []float64 {
	out := make([]float64, len(all))
	for i, n := range all {
		out[i] = float64(n)
	}
	return out
}
