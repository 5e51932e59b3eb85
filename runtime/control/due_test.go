package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/decide"
)

// slow is a provider whose reports take some time, so that they come between the
// beats of the controller.
type slow struct{ providers.Provider }

func (s slow) Unwrap() providers.Provider { return s.Provider }

func (s slow) Usage(ctx context.Context, objects []engine.Object) ([]providers.Usage, error) {
	select {
	case <-time.After(430 * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.Provider.(metered).Usage(ctx, objects)
}

// What was measured is decided by at once, not up to a second later; and as often
// as the rule says, no more.
func TestRulesAreEvaluatedWhenSomethingWasMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.wrapIn(func(p providers.Provider) providers.Provider { return slow{p} })
		l.apply(fmt.Sprintf(twoTier, 9))
		_, stop := l.serve()
		defer stop()
		after(5 * time.Second) // until evaluations are in step
		settled := time.Now()
		for n := range 5 { // each decision that says something new is recorded
			l.ask(float64(n))
			after(6 * time.Second)
		}
		recorded, err := l.store.Decisions(t.Context(), "web", time.Time{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		var last time.Time
		for _, r := range recorded { // the newest first
			var d decide.Decision
			if err := json.Unmarshal(r.Body, &d); err != nil {
				t.Fatal(err)
			}
			if !last.IsZero() && last.Sub(d.At) < time.Second/2 {
				t.Errorf("evaluated at %s and at %s", d.At, last)
			}
			last = d.At
			if newest := d.Wishes[0].Newest; newest.After(settled) {
				seen++
				if late := d.At.Sub(newest); late > time.Millisecond {
					t.Errorf("at %s it was decided by what was measured %s before", d.At, late)
				}
			}
		}
		if seen < 3 {
			t.Errorf("only %d decisions were recorded", seen)
		}
	})
}
