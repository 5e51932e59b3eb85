package exec_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowctl/flowctl/engine"
)

// judgement is a step that only waits.
func judgement(id int, needs ...int) engine.Step {
	s := step(id, needs...)
	s.Op, s.Provider = engine.OpJudge, ""
	return s
}

// waiting lets judgements wait for an hour and all others work for a minute.
func waiting(ctx context.Context, s engine.Step) error {
	d := time.Minute
	if s.Op == engine.OpJudge {
		d = time.Hour
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func TestWhatOnlyWaitsTakesNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := executor(&journal{}, waiting)
		x.Limits.Total, x.Limits.Phases = 1, map[engine.Phase]int{engine.Provision: 1}
		begun := time.Now()
		r, err := x.Run(t.Context(), t.Context(), 1, []engine.Step{judgement(0), judgement(1), step(2), step(3), step(4, 0, 1)})
		if took := time.Since(begun); err != nil || took != time.Hour+time.Minute {
			t.Errorf("it took %s (%v), want 1h1m: everything else goes on while two wait", took, err)
		}
		if states(r) != "done done done done done" {
			t.Error(states(r))
		}
	})
}

func TestAWaitEndsAtOnceWhenTheRunIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		x := executor(&journal{}, waiting)
		time.AfterFunc(10*time.Minute, stop)
		begun := time.Now()
		r, err := x.Run(ctx, t.Context(), 1, []engine.Step{step(0), judgement(1, 0), step(2, 1)})
		if took := time.Since(begun); err != nil || took != 10*time.Minute || !r.Interrupted || len(r.Failed) > 0 {
			t.Errorf("it took %s: %+v, %v", took, r, err)
		}
		if states(r) != "done cancelled cancelled" {
			t.Error(states(r))
		}
	})
}
