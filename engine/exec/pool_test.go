package exec_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
)

// Runs that share a pool keep the limits of providers together; one that finds no
// place waits for the other's, and ends when it is stopped.
func TestRunsShareTheLimitsOfProviders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		r := runner(func(context.Context, engine.Step) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			<-time.After(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		})
		limits := exec.Limits{Total: 10, Providers: map[string]int{"sim": 2}, Pool: exec.NewPool()}
		steps := []engine.Step{step(0), step(1), step(2)}
		begin := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				x := executor(&journal{}, r)
				x.Limits = limits
				if report, err := x.Run(t.Context(), t.Context(), 1, steps); err != nil || states(report) != "done done done" {
					t.Errorf("it ended with %s, %v", states(report), err)
				}
			})
		}
		stopped, stop := context.WithCancel(t.Context())
		wg.Go(func() {
			x := executor(&journal{}, r)
			x.Limits = limits
			<-time.After(100 * time.Millisecond)
			if report, err := x.Run(stopped, t.Context(), 1, steps); err != nil || !report.Interrupted {
				t.Errorf("stopped while it waits for a place, it ended with %s, %v", states(report), err)
			}
		})
		<-time.After(200 * time.Millisecond)
		stop()
		wg.Wait()
		if took := time.Since(begin); most != 2 || took != 5*time.Second {
			t.Errorf("%d at once for %s, want 2 for 5 s", most, took)
		}
	})
}
