package main

import (
	"context"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/runtime/api"
	"github.com/flowctl/flowctl/state"
)

// livePage is the status of a flow on a screen.
type livePage struct {
	*session
	status view.LiveStatus
}

// Each bar of a line stands for liveStep, and there are liveBars of them.
const (
	liveStep = 5 * time.Second
	liveBars = 36
)

// load implements pager.
func (p *livePage) load(ctx context.Context) (func(), error) {
	st, err := p.session.status(ctx)
	if err != nil {
		return nil, err
	}
	live := view.LiveStatus{FlowStatus: st}
	if st.Controller != nil {
		for _, r := range st.Controller.Rules {
			one, err := p.liveRule(ctx, r)
			if err != nil {
				return nil, err
			}
			live.Rules = append(live.Rules, one)
		}
	}
	return func() { p.status = live }, nil
}

// liveDecisions is how many decisions of a rule are read for the last minutes.
const liveDecisions = 200

func (s *session) liveRule(ctx context.Context, r api.Rule) (view.LiveRule, error) {
	now := s.app.now()
	grid := view.GridUntil(now, liveStep, liveBars)
	one := view.LiveRule{Rule: r}
	decisions, err := s.decisions(ctx, r.Rule, time.Time{}, liveDecisions, true)
	if err != nil {
		return one, err
	}
	one.Sizes = grid.Levels(view.LevelsOf(decisions))
	for i := range decisions {
		if decisions[i].Act {
			one.Last = &decisions[i]
		}
	}
	for _, w := range r.Decision.Wishes {
		samples, err := s.store.Samples(ctx, state.Span{Series: state.Series{Of: r.Target, Metric: w.Name}, Step: state.Second, From: grid.Begin})
		if err != nil {
			return one, err
		}
		if len(samples) > 0 || w.Target > 0 { // steps have neither
			one.Metrics = append(one.Metrics, view.LiveMetric{Wish: w, Values: grid.Means(samples)})
		}
	}
	return one, nil
}

// draw implements pager.
func (p *livePage) draw(_, height int) ([]string, int) {
	return view.Live(p.status, p.app.now(), height, p.app.outStyle()), 1
}

func (p *livePage) press(string) {}
func (p *livePage) keys() string { return "a bar is " + liveStep.String() }

// stream writes the status again and again, a line each, until ctx ends.
func (s *session) stream(ctx context.Context, interval time.Duration) error {
	if interval <= 0 {
		return args.Usagef("-interval=%s must be positive", interval)
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		st, err := s.status(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if s.app.writeLine(view.StatusJSON(st)); s.app.readerGone() {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
