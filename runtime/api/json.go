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
	Flow    string            `json:"flow"`
	At      time.Time         `json:"at"`
	Waiting string            `json:"waiting,omitempty"`
	Held    string            `json:"held,omitempty"`
	Trouble string            `json:"trouble,omitempty"`
	Failed  string            `json:"failed,omitempty"`
	Again   time.Time         `json:"again,omitzero"`
	Running []Size            `json:"running,omitempty"`
	Rules   []Rule            `json:"rules"`
	Sources map[string]string `json:"sources,omitempty"`
}

// Size is a size that a run is under way to.
type Size struct {
	Target string `json:"target"`
	Size   int    `json:"size"`
}

// Rule is one scaling block.
type Rule struct {
	Rule     string   `json:"rule"`
	Target   string   `json:"target"`
	Min      int      `json:"min"`
	Max      int      `json:"max"`
	Mode     string   `json:"mode"`
	Decision Decision `json:"decision"`
}

// Decision is one evaluation of a scaling block, as JSON.
type Decision struct {
	Rule    string    `json:"rule"`
	Target  string    `json:"target"`
	At      time.Time `json:"at"`
	From    int       `json:"from"`
	Ready   int       `json:"ready"`
	Want    int       `json:"want"`
	To      int       `json:"to"`
	Act     bool      `json:"act"`
	Why     string    `json:"why"`
	Blocked string    `json:"blocked,omitempty"`
	Wishes  []Wish    `json:"wishes"`
	Limits  []Limit   `json:"limits"`
	Run     int64     `json:"run,omitempty"`
}

// Wish is what one metric or step asked for.
type Wish struct {
	Name    string    `json:"name"`
	Value   float64   `json:"value"`
	Ratio   float64   `json:"ratio,omitempty"`
	Ahead   float64   `json:"ahead,omitempty"`
	Newest  time.Time `json:"newest,omitzero"`
	Want    int       `json:"want"`
	Missing bool      `json:"missing"`
	Voted   bool      `json:"voted"`
	Held    bool      `json:"held"`
}

// Limit is a limiter that changed the size.
type Limit struct {
	By    string    `json:"by"`
	What  string    `json:"what,omitempty"`
	From  int       `json:"from"`
	To    int       `json:"to"`
	Until time.Time `json:"until,omitzero"`
	Text  string    `json:"text"`
}

// StatusOf converts a status.
func StatusOf(flow string, s control.Status) Status {
	j := Status{Flow: flow, At: s.At, Waiting: s.Waiting, Held: s.Held, Trouble: s.Trouble, Failed: s.Failed, Again: s.Again, Sources: s.Sources, Rules: []Rule{}}
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
		j.Wishes = append(j.Wishes, Wish{w.Name, w.Value, w.Ratio, w.Ahead, w.Newest, w.Want, w.Missing, w.Voted, w.Held})
	}
	for _, l := range d.Limits {
		j.Limits = append(j.Limits, Limit{string(l.By), l.What, l.From, l.To, l.Until, l.String()})
	}
	return j
}
