package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/state"
)

// Status is what the controller does at one instant.
type Status struct {
	At      time.Time
	Waiting string // for another controller: who has the flow
	Held    string // why nothing is done, since the flow is not what its last whole spec says; "" if something is
	Trouble string // why the flow cannot be looked at; "" if it can
	Failed  string // why what was decided could not be done, until it can
	Again   time.Time
	Running map[engine.Address]int    // sizes that runs are under way to; nil without a run
	Waits   map[engine.Address]string // what orders wait for
	Closed  map[engine.Address]string // machines that get no further replica, since they do not work: why
	Halted  []string                  // groups of which so much does not work that nothing is done about it: why
	Rules   []RuleStatus
	Sources map[string]string // those that give nothing: why
	Work    Work
}

// Work is what evaluating rules has cost since the controller began.
type Work struct {
	Evaluations int           // of single rules
	Took        time.Duration // for all of them, with looking at the state before and recording after
}

// Notes are what is out of the ordinary, for an operator: groups of which too much is
// broken, machines that get no further replica, and what orders wait for.
func (s Status) Notes() []string {
	notes := slices.Clone(s.Halted)
	for _, a := range slices.SortedFunc(maps.Keys(s.Closed), engine.Address.Compare) {
		notes = append(notes, fmt.Sprintf("%s gets no further replica: %s", a, s.Closed[a]))
	}
	for _, a := range slices.SortedFunc(maps.Keys(s.Waits), engine.Address.Compare) {
		notes = append(notes, fmt.Sprintf("%s: %s", a, s.Waits[a]))
	}
	return notes
}

// RuleStatus is one rule.
type RuleStatus struct {
	Rule     string
	Target   engine.Address
	Min, Max int
	Mode     string
	Decision decide.Decision // the last one
}

// Status is what the controller did last. It may be called while Run runs.
func (c *Controller) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.Work = c.work
	return s
}

// note adds evaluations to the work.
func (c *Controller) note(evaluations int, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.work = Work{c.work.Evaluations + evaluations, c.work.Took + took}
}

func (c *Controller) publish(edit func(*Status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.At = c.Now()
	edit(&c.status)
}

// show publishes what Run's goroutine knows.
func (c *Controller) show(now time.Time) {
	s := Status{At: now, Held: c.held, Sources: c.Collector.Trouble()}
	if now.Before(c.blind.until) {
		s.Failed, s.Again = c.blind.why, c.blind.until
	}
	for _, a := range slices.SortedFunc(maps.Keys(c.late), engine.Address.Compare) {
		if f := c.late[a]; now.Before(f.until) {
			s.Failed, s.Again = fmt.Sprintf("%s: %s", a, f.why), f.until
		}
	}
	for _, name := range c.unknown {
		s.Sources[name] = "it refers to what is not known yet"
	}
	for _, r := range c.runs {
		if s.Running == nil {
			s.Running = map[engine.Address]int{}
		}
		maps.Copy(s.Running, r.orders)
	}
	s.Waits = map[engine.Address]string{}
	for a := range c.orders {
		if t := c.tried[a]; t.why != "" {
			s.Waits[a] = t.why
		}
	}
	s.Closed, s.Halted = maps.Clone(c.health().closed), c.health().told()
	s.Rules = make([]RuleStatus, 0, len(c.rules))
	for _, r := range c.rules {
		s.Rules = append(s.Rules, RuleStatus{r.rule.Name, r.rule.Target, r.rule.Min, r.rule.Max, r.rule.Mode, r.last})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = s
}

// How long decisions are kept, and how long the same one goes on before it is
// recorded once more.
const (
	keep    = 7 * 24 * time.Hour
	restate = time.Minute
)

// record keeps the decisions that say something new.
func (c *Controller) record(ctx context.Context, made []*ruled, now time.Time) error {
	defer func() { c.note(len(made), c.Now().Sub(now)) }()
	d := state.Deliberated{Forget: now.Add(-keep), Memory: map[string][]byte{}}
	for _, r := range made {
		if !news(r.saved, r.last) {
			continue
		}
		r.saved = r.last
		past, err := json.Marshal(r.past)
		if err != nil {
			return err
		}
		d.Memory[r.rule.Name] = past
		one, err := stored(r.last, 0)
		if err != nil {
			return err
		}
		d.Decisions = append(d.Decisions, one)
	}
	if len(d.Decisions) == 0 {
		return nil
	}
	return c.Store.Deliberate(ctx, c.lease, d)
}

func stored(d decide.Decision, run int64) (state.Decision, error) {
	body, err := json.Marshal(d)
	return state.Decision{Rule: d.Rule, At: d.At, Run: run, Body: body}, err
}

// news reports whether a decision says something that the last one did not.
func news(was, is decide.Decision) bool {
	return is.Act || was.From != is.From || was.Want != is.Want || was.To != is.To || was.Blocked != is.Blocked ||
		is.At.Sub(was.At) >= restate ||
		!slices.EqualFunc(was.Limits, is.Limits, func(a, b decide.Limit) bool { return a.By == b.By && a.To == b.To })
}

// attribute notes in the decisions which run carried them out.
func (c *Controller) attribute(ctx context.Context, r *run, id int64, now time.Time) {
	d := state.Deliberated{Forget: now.Add(-keep)}
	for _, x := range c.rules {
		if n, ok := r.orders[x.rule.Target]; !ok || x.acted.To != n || !x.acted.Act {
			continue
		}
		one, err := stored(x.acted, id)
		if err == nil {
			d.Decisions = append(d.Decisions, one)
		}
	}
	if len(d.Decisions) == 0 {
		return
	}
	if err := c.Store.Deliberate(ctx, c.lease, d); err != nil {
		c.Log.Warn("the run of a decision could not be recorded", "err", err)
	}
}
