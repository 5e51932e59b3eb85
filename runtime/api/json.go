package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime/control"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/state"
)

// Status is what a controller does, as JSON.
type Status struct {
	Flow    string            `json:"flow" doc:"the name of the flow"`
	At      time.Time         `json:"at" doc:"when this was so"`
	Waiting string            `json:"waiting,omitempty" doc:"another controller leads: which"`
	Held    string            `json:"held,omitempty" doc:"why nothing is done: the flow is not what its last whole spec says"`
	Trouble string            `json:"trouble,omitempty" doc:"why the flow cannot be looked at"`
	Failed  string            `json:"failed,omitempty" doc:"why what was decided could not be done, until it can"`
	Again   time.Time         `json:"again,omitzero" doc:"when that is tried again"`
	Running []Size            `json:"running,omitempty" doc:"sizes that a run is under way to"`
	Notes   []string          `json:"notes,omitempty" doc:"what is out of the ordinary: runs that wait for each other, machines that are given up"`
	Rules   []Rule            `json:"rules" doc:"the scaling blocks"`
	Sources map[string]string `json:"sources,omitempty" doc:"sources of metrics that give nothing: why"`
}

// Size is a size that a run is under way to.
type Size struct {
	Target string `json:"target" doc:"the address of the group"`
	Size   int    `json:"size" doc:"how many there are to be"`
}

// Rule is one scaling block.
type Rule struct {
	Rule     string   `json:"rule" doc:"the name of the scaling block"`
	Target   string   `json:"target" doc:"the address whose size it owns"`
	Min      int      `json:"min" doc:"the least size"`
	Max      int      `json:"max" doc:"the greatest size"`
	Mode     string   `json:"mode" doc:"on, up_only, dry_run or off"`
	Decision Decision `json:"decision" doc:"the last evaluation"`
}

// Decision is one evaluation of a scaling block, as JSON.
type Decision struct {
	Rule    string    `json:"rule" doc:"the name of the scaling block"`
	Target  string    `json:"target" doc:"the address whose size it owns"`
	At      time.Time `json:"at" doc:"when it was evaluated"`
	From    int       `json:"from" doc:"the size that there was, with what was about to come"`
	Ready   int       `json:"ready" doc:"how many of it worked"`
	Want    int       `json:"want" doc:"what was asked for, before limiters"`
	To      int       `json:"to" doc:"what came of it"`
	Act     bool      `json:"act" doc:"whether the size was changed to that"`
	Why     string    `json:"why" doc:"the reason in one line"`
	Blocked string    `json:"blocked,omitempty" doc:"why nothing may shrink"`
	Wishes  []Wish    `json:"wishes" doc:"what each metric and step asks for"`
	Limits  []Limit   `json:"limits" doc:"what changed the number, in this order"`
	Run     int64     `json:"run,omitempty" doc:"the run that carried it out"`
}

// Wish is what one metric or step asked for.
type Wish struct {
	Name    string    `json:"name" doc:"of the metric or step"`
	Value   float64   `json:"value" doc:"what was measured"`
	Samples int       `json:"samples,omitempty" doc:"of how many samples that is made"`
	Target  float64   `json:"target,omitempty" doc:"what it should be"`
	Each    bool      `json:"each,omitempty" doc:"the target is that of one replica, not of the average"`
	Burst   float64   `json:"burst,omitempty" doc:"the value of the last seconds"`
	Ratio   float64   `json:"ratio,omitempty" doc:"of the value to the target, at this size"`
	Ahead   float64   `json:"ahead,omitempty" doc:"the value that is expected"`
	Newest  time.Time `json:"newest,omitzero" doc:"the newest sample"`
	Want    int       `json:"want" doc:"the size that it asks for"`
	Missing bool      `json:"missing" doc:"it cannot be measured"`
	Voted   bool      `json:"voted" doc:"it takes part"`
	Held    bool      `json:"held" doc:"it is within tolerance"`
}

// Limit is a limiter that changed the size.
type Limit struct {
	By    string    `json:"by" doc:"the limiter: missing, zero, schedule, bounds, stabilise, history, burst, cooldown, limit, room or mode"`
	What  string    `json:"what,omitempty" doc:"the metric or schedule, where there are several"`
	From  int       `json:"from" doc:"the number before"`
	To    int       `json:"to" doc:"the number after"`
	Until time.Time `json:"until,omitzero" doc:"when it may let go"`
	Text  string    `json:"text" doc:"the same in words"`
}

// Sample is what was measured in a stretch of time, as JSON.
type Sample struct {
	Of     string    `json:"of" doc:"the address of the function"`
	Metric string    `json:"metric" doc:"what was measured of it"`
	At     time.Time `json:"at" doc:"when the time begins that it stands for"`
	StepS  float64   `json:"step_s" doc:"how long that is, in seconds"`
	Count  int       `json:"count" doc:"how often it was measured"`
	Min    float64   `json:"min" doc:"the least value"`
	Max    float64   `json:"max" doc:"the greatest value"`
	Mean   float64   `json:"mean" doc:"the mean"`
	Last   float64   `json:"last" doc:"the last value"`
	Units  int       `json:"units,omitempty" doc:"over how many replicas the last is an average"`
}

// StatusOf converts a status.
func StatusOf(flow string, s control.Status) Status {
	j := Status{Flow: flow, At: s.At, Waiting: s.Waiting, Held: s.Held, Trouble: s.Trouble, Failed: s.Failed, Again: s.Again, Sources: s.Sources, Notes: s.Notes(), Rules: []Rule{}}
	for _, a := range slices.SortedFunc(maps.Keys(s.Running), engine.Address.Compare) {
		j.Running = append(j.Running, Size{a.String(), s.Running[a]})
	}
	for _, r := range s.Rules {
		j.Rules = append(j.Rules, Rule{r.Rule, r.Target.String(), r.Min, r.Max, r.Mode, decision(r.Decision, 0)})
	}
	return j
}

// DecisionOf reads a decision that was recorded.
func DecisionOf(d state.Decision) (Decision, error) {
	var x decide.Decision
	if err := json.Unmarshal(d.Body, &x); err != nil {
		return Decision{}, fmt.Errorf("the decision of %s at %s cannot be read: %w", d.Rule, d.At.Format(time.RFC3339), err)
	}
	return decision(x, d.Run), nil
}

func decision(d decide.Decision, run int64) Decision {
	j := Decision{
		Rule: d.Rule, Target: d.Target.String(), At: d.At.UTC(), From: d.From, Ready: d.Ready, Want: d.Want, To: d.To,
		Act: d.Act, Why: d.Why, Blocked: d.Blocked, Run: run, Wishes: []Wish{}, Limits: []Limit{},
	}
	for _, w := range d.Wishes {
		j.Wishes = append(j.Wishes, Wish{w.Name, w.Value, w.Samples, w.Target, w.Each, w.Burst, w.Ratio, w.Ahead, w.Newest, w.Want, w.Missing, w.Voted, w.Held})
	}
	for _, l := range d.Limits {
		j.Limits = append(j.Limits, Limit{string(l.By), l.What, l.From, l.To, l.Until, l.String()})
	}
	return j
}
