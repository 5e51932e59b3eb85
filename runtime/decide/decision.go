package decide

import (
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
)

// Sample is one reading of a metric.
type Sample struct {
	At    time.Time `json:"at"`
	Value float64   `json:"value"`           // the total, or the average over Units
	Units int       `json:"units,omitempty"` // of an average: how many replicas were measured; 0 means all that are ready
}

// Observation is what is known at one instant.
type Observation struct {
	Ready    int                 // replicas or machines that work
	Starting int                 // ordered, and not ready yet
	Samples  map[string][]Sample // by metric, in the order of time
	Demand   int                 // of machines: how many placement needs
	Boot     time.Duration       // how long one takes to start: the 90th percentile of what was measured
	Drain    time.Duration       // how long one takes to leave
	Room     int                 // the most that fit on the machines at their largest; 0 if that is not known
}

// Size is what there is, and what there will be without another decision.
func (o Observation) Size() int { return o.Ready + o.Starting }

// Decision is one evaluation of one rule: every input, and every limiter that
// changed the result.
type Decision struct {
	Rule    string         `json:"rule"`
	Target  engine.Address `json:"target"`
	At      time.Time      `json:"at"`
	From    int            `json:"from"` // the size that there was
	Ready   int            `json:"ready"`
	Demand  int            `json:"demand,omitempty"` // of machines
	Room    int            `json:"room,omitempty"`
	BootS   float64        `json:"boot_s,omitempty"` // seconds
	DrainS  float64        `json:"drain_s,omitempty"`
	Want    int            `json:"want"` // what was asked for, before limiters
	To      int            `json:"to"`   // within the rule's bounds
	Act     bool           `json:"act"`
	Wishes  []Wish         `json:"wishes"`
	Limits  []Limit        `json:"limits"`
	Blocked string         `json:"blocked,omitempty"` // why nothing may shrink; "" if it may
	Why     string         `json:"why"`               // for the operator
}

// Wish is what one metric, step or formula asks for.
type Wish struct {
	Name    string    `json:"name"`
	Value   float64   `json:"value"`
	Samples int       `json:"samples,omitempty"` // of which the value is made
	Target  float64   `json:"target,omitempty"`
	Each    bool      `json:"each,omitempty"`  // the target is that of one replica; else of the average
	Burst   float64   `json:"burst,omitempty"` // the value of the short window
	Ratio   float64   `json:"ratio,omitempty"` // of the value to its target at this size; 0 if it has none
	Ahead   float64   `json:"ahead,omitempty"` // the value that is forecast; 0 without
	Newest  time.Time `json:"newest,omitzero"`
	Want    int       `json:"want"`
	Missing bool      `json:"missing,omitempty"`
	Voted   bool      `json:"voted"`          // it takes part: it has a target, or the step acts
	Held    bool      `json:"held,omitempty"` // within tolerance
}

// Only is a decision that acts, and what is remembered of it, when what carries it out
// can go no further than a size: then it is one about that, and none if that is the
// size that there is.
func (d Decision) Only(h History, to int, why string) (Decision, History) {
	d.Limits = append(slices.Clone(d.Limits), Limit{ByBudget, why, d.To, to, time.Time{}})
	last := len(h.Actions) - 1
	if d.To = to; to == d.From {
		d.Act, d.Blocked = false, why
		h.Actions = h.Actions[:last:last]
		return d, h
	}
	h.Actions = slices.Clone(h.Actions)
	h.Actions[last].To = to
	return d, h
}

// Limiter names what may change a size on its way through the stages.
type Limiter string

// The limiters, in the order in which they act; bounds act again before room. The
// budget of machines acts when they are picked.
const (
	ByMissing   Limiter = "missing"
	ByZero      Limiter = "zero"
	BySchedule  Limiter = "schedule"
	ByBounds    Limiter = "bounds"
	ByStabilise Limiter = "stabilise"
	ByHistory   Limiter = "history"
	ByBurst     Limiter = "burst"
	ByCooldown  Limiter = "cooldown"
	ByRate      Limiter = "limit"
	ByRoom      Limiter = "room"
	ByMode      Limiter = "mode"
	ByBudget    Limiter = "budget"
)

// Limit is a limiter that changed the number.
type Limit struct {
	By    Limiter   `json:"by"`
	What  string    `json:"what,omitempty"` // the schedule or metric, where there are several
	From  int       `json:"from"`
	To    int       `json:"to"`
	Until time.Time `json:"until,omitzero"` // when it may let go; zero if that cannot be told
}

// History is what Decide remembers from one evaluation to the next. It is a
// value: Decide returns a new one, and leaves the old one as it was. The zero
// value is that of a rule that was never evaluated.
type History struct {
	Since   time.Time `json:"since"`             // of the first evaluation
	Active  time.Time `json:"active"`            // when something was last asked of it
	Highs   []Wanted  `json:"highs,omitempty"`   // falling: the largest wishes of each stretch up to now
	Lows    []Wanted  `json:"lows,omitempty"`    // rising: the smallest
	Actions []Action  `json:"actions,omitempty"` // the newest last
	Metrics []Seen    `json:"metrics,omitempty"`
	Steps   []Stepped `json:"steps,omitempty"`
}

// Wanted is what was wanted at one instant.
type Wanted struct {
	At time.Time `json:"at"`
	N  int       `json:"n"`
}

// Action is a change of size.
type Action struct {
	At   time.Time `json:"at"`
	From int       `json:"from"`
	To   int       `json:"to"`
}

// Seen is what is remembered of a metric.
type Seen struct {
	Name  string    `json:"name"`
	Last  time.Time `json:"last"`           // when it was last measured
	Until time.Time `json:"until,omitzero"` // the end of a burst
	Peak  int       `json:"peak,omitempty"` // the most that was asked for in it
}

// Stepped is when a step acted last.
type Stepped struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// Resumed is the history after a time in which nobody watched: nothing shrinks
// within a window from now on, and what lies after now, of a clock that went back,
// is forgotten.
func (h History) Resumed(now time.Time) History {
	h.Since, h.Active = now, now
	later := func(t time.Time) bool { return t.After(now) }
	h.Highs = slices.DeleteFunc(slices.Clone(h.Highs), func(w Wanted) bool { return later(w.At) })
	h.Lows = slices.DeleteFunc(slices.Clone(h.Lows), func(w Wanted) bool { return later(w.At) })
	h.Actions = slices.DeleteFunc(slices.Clone(h.Actions), func(a Action) bool { return later(a.At) })
	return h
}
