package exec

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/flowctl/flowctl/engine"
)

// Runner carries out steps.
type Runner interface {
	// Intend describes the step for the journal; the executor adds operation,
	// run and time.
	Intend(s engine.Step) engine.Intent
	// Run makes one attempt at the step. On an error the result still tells
	// what exists. All attempts at one step share the operation.
	Run(ctx context.Context, s engine.Step, operation string) (engine.Result, error)
}

// Journal makes records durable before Append returns.
type Journal interface {
	Append(ctx context.Context, b engine.Batch) error
}

// Limits bounds what runs at once; 0 or a missing entry means no bound. Those of
// phases and providers hold for all runs that share a Pool together, Total for each:
// what takes long in one run holds up no other.
type Limits struct {
	Total     int
	Phases    map[engine.Phase]int
	Providers map[string]int
	Pool      *Pool // nil for a run by itself
}

// Backoff is the wait between attempts: Base, doubled each time up to Max, of
// which a random half is taken away so that many do not return together.
type Backoff struct {
	Base, Max time.Duration
}

// DefaultBackoff waits about 0.4, 0.8, 1.5 … seconds.
var DefaultBackoff = Backoff{Base: 500 * time.Millisecond, Max: 30 * time.Second}

// wait returns the time before attempt n+1.
func (b Backoff) wait(n int, r *rand.Rand) time.Duration {
	d := b.Max
	if n < 30 && b.Base<<(n-1) < b.Max {
		d = b.Base << (n - 1)
	}
	return d/2 + time.Duration(r.Int64N(int64(d/2)+1))
}

// Report is how a run ended.
type Report struct {
	States      []engine.StepState // by step
	Failed      []StepError        // in the order in which they failed
	Interrupted bool               // it was stopped before all steps had begun
}

// StepError is the failure of one step.
type StepError struct {
	Step engine.Step
	Err  error
}

func (e *StepError) Error() string { return e.Step.Name() + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// PanicError is a panic in a task, which is that task's failure.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("bug: the task panicked: %v\n%s", e.Value, e.Stack)
}
