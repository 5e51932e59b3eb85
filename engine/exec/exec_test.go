package exec_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"pgregory.net/rapid"
)

// step makes step id, which needs others; its address tells its number.
func step(id int, needs ...int) engine.Step {
	return engine.Step{ID: id, Op: engine.OpCreate, Address: engine.Addr(engine.KindVM, "n").At(id), Provider: "sim", Needs: needs, Attempts: 1}
}

func number(s engine.Step) int { n, _ := s.Address.Index(); return n }

// runner runs a function for each step.
type runner func(ctx context.Context, s engine.Step) error

func (r runner) Intend(s engine.Step) engine.Intent { return engine.Intent{Address: s.Address} }
func (r runner) Run(ctx context.Context, s engine.Step, _ string) (engine.Result, error) {
	err := r(ctx, s)
	return engine.Result{Object: &engine.Object{Address: s.Address}}, err
}

// journal remembers what it was given, and fails from write number broken on.
type journal struct {
	mu      sync.Mutex
	batches []engine.Batch
	broken  int // 0 for never
}

func (j *journal) Append(_ context.Context, b engine.Batch) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken > 0 && len(j.batches)+1 >= j.broken {
		return errors.New("disk full")
	}
	b.Intents, b.Outcomes, b.Tasks = slices.Clone(b.Intents), slices.Clone(b.Outcomes), slices.Clone(b.Tasks)
	j.batches = append(j.batches, b)
	return nil
}

// has reports whether the journal holds the intent or the outcome of a step.
func (j *journal) has(s engine.Step, outcome bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.batches, func(b engine.Batch) bool {
		if outcome {
			return slices.ContainsFunc(b.Outcomes, func(o engine.Outcome) bool { return o.Address == s.Address })
		}
		return slices.ContainsFunc(b.Intents, func(i engine.Intent) bool { return i.Address == s.Address })
	})
}

var errPassing = errors.New("try again")

func executor(j *journal, r runner) *exec.Executor {
	return &exec.Executor{
		Runner: r, Journal: j, Limits: exec.Limits{Total: 10}, Backoff: exec.DefaultBackoff,
		Retryable: func(err error) bool { return errors.Is(err, errPassing) },
		Now:       time.Now, Rand: rand.New(rand.NewPCG(1, 2)),
	}
}

func states(r exec.Report) string {
	var parts []string
	for _, s := range r.States {
		parts = append(parts, s.String())
	}
	return strings.Join(parts, " ")
}

func TestParallelismIsBoundedAndUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		x := executor(j, func(context.Context, engine.Step) error { time.Sleep(time.Minute); return nil })
		x.Limits.Total = 2
		begun := time.Now()
		r, err := x.Run(t.Context(), t.Context(), 1, []engine.Step{step(0), step(1), step(2), step(3), step(4)})
		if took := time.Since(begun); err != nil || took != 3*time.Minute {
			t.Errorf("five minutes of work, two at a time, took %s (%v), want 3m", took, err)
		}
		if states(r) != "done done done done done" {
			t.Error(states(r))
		}
	})
}

func TestLimitsPerPhaseAndProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var steps []engine.Step
		for i := range 8 {
			s := step(i)
			if i%2 == 1 {
				s.Phase, s.Provider = engine.Deploy, "docker"
			}
			steps = append(steps, s)
		}
		x := executor(&journal{}, func(context.Context, engine.Step) error { time.Sleep(time.Minute); return nil })
		x.Limits.Phases = map[engine.Phase]int{engine.Deploy: 1}
		x.Limits.Providers = map[string]int{"sim": 4}
		begun := time.Now()
		if _, err := x.Run(t.Context(), t.Context(), 1, steps); err != nil || time.Since(begun) != 4*time.Minute {
			t.Errorf("took %s (%v), want 4m: one deploy step at a time", time.Since(begun), err)
		}
	})
}

func TestAFailedStepTakesDownWhatNeedsItOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := executor(&journal{}, func(_ context.Context, s engine.Step) error {
			if number(s) == 1 {
				return errors.New("no")
			}
			return nil
		})
		r, err := x.Run(t.Context(), t.Context(), 1, []engine.Step{step(0), step(1), step(2, 1), step(3, 0), step(4, 2, 3)})
		if err != nil || states(r) != "done failed upstream_failed done upstream_failed" {
			t.Errorf("%s (%v)", states(r), err)
		}
		if len(r.Failed) != 1 || r.Failed[0].Error() != "create vm.n[1]: no" {
			t.Errorf("failed: %v", r.Failed)
		}
	})
}

func TestAttemptsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		var at []time.Duration
		begun := time.Now()
		x := executor(j, func(context.Context, engine.Step) error {
			at = append(at, time.Since(begun))
			if len(at) < 4 {
				return errPassing
			}
			return nil
		})
		s := step(0)
		s.Attempts = 5
		r, err := x.Run(t.Context(), t.Context(), 1, []engine.Step{s})
		if err != nil || states(r) != "done" || len(at) != 4 {
			t.Fatalf("%s after %d attempts (%v)", states(r), len(at), err)
		}
		for i, base := range []time.Duration{500, 1000, 2000} {
			wait := at[i+1] - at[i]
			if most := base * time.Millisecond; wait < most/2 || wait > most {
				t.Errorf("wait %d = %s, want %s..%s", i+1, wait, most/2, most)
			}
		}
		intents, tasks := 0, 0
		for _, b := range j.batches {
			intents += len(b.Intents)
			tasks += len(b.Tasks)
		}
		if intents != 1 || tasks != 4 {
			t.Errorf("%d intents and %d attempts recorded, want 1 and 4", intents, tasks)
		}
	})
}

func TestAStepThatCannotSucceedIsTriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		x := executor(&journal{}, func(context.Context, engine.Step) error { n++; return errors.New("denied") })
		s := step(0)
		s.Attempts = 5
		if _, err := x.Run(t.Context(), t.Context(), 1, []engine.Step{s}); err != nil || n != 1 {
			t.Errorf("%d attempts (%v), want 1", n, err)
		}
	})
}

func TestTimeoutsAndPanicsAreTheStepsErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := executor(&journal{}, func(ctx context.Context, s engine.Step) error {
			if number(s) == 0 {
				<-ctx.Done()
				return ctx.Err()
			}
			panic("oh")
		})
		slow := step(0)
		slow.Timeout = 90 * time.Second
		r, err := x.Run(t.Context(), t.Context(), 1, []engine.Step{slow, step(1)})
		if err != nil || len(r.Failed) != 2 {
			t.Fatalf("%s (%v)", states(r), err)
		}
		var p *exec.PanicError
		if !errors.As(&r.Failed[0], &p) || !strings.Contains(r.Failed[0].Error(), "the task panicked: oh") {
			t.Errorf("panic: %v", &r.Failed[0])
		}
		if got := r.Failed[1].Error(); !strings.Contains(got, "took longer than 1m30s") {
			t.Errorf("timeout: %s", got)
		}
	})
}

func TestStopBeginsNothingNewAndLetsTheRestFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		x := executor(j, func(ctx context.Context, s engine.Step) error {
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		x.Limits.Total = 2
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, stop)
		begun := time.Now()
		r, err := x.Run(ctx, t.Context(), 1, []engine.Step{step(0), step(1), step(2)})
		if err != nil || states(r) != "done done cancelled" || !r.Interrupted || time.Since(begun) != time.Minute {
			t.Errorf("%s after %s, interrupted %v (%v)", states(r), time.Since(begun), r.Interrupted, err)
		}
		if j.has(step(2), false) || !j.has(step(1), true) {
			t.Error("the journal has an intent too many or an outcome too few")
		}
	})
}

func TestHardStopCancelsWhatRunsAndRecordsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		x := executor(j, func(ctx context.Context, s engine.Step) error { <-ctx.Done(); return ctx.Err() })
		ctx, stop := context.WithCancel(t.Context())
		hard, kill := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, stop)
		time.AfterFunc(20*time.Second, kill)
		r, err := x.Run(ctx, hard, 1, []engine.Step{step(0), step(1, 0)})
		if err != nil || states(r) != "failed cancelled" {
			t.Errorf("%s (%v)", states(r), err)
		}
		if !j.has(step(0), true) {
			t.Error("the outcome of the cancelled step is not recorded")
		}
	})
}

func TestStopWhileWaitingForAnotherAttemptKeepsTheLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		x := executor(j, func(context.Context, engine.Step) error { return errPassing })
		x.Backoff = exec.Backoff{Base: time.Hour, Max: time.Hour}
		s := step(0)
		s.Attempts = 9
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		r, err := x.Run(ctx, t.Context(), 1, []engine.Step{s, step(1, 0)})
		if err != nil || len(r.Failed) != 1 || !errors.Is(&r.Failed[0], errPassing) || !r.Interrupted {
			t.Errorf("%s, %v (%v)", states(r), r.Failed, err)
		}
		if !j.has(s, true) {
			t.Error("its outcome is not recorded")
		}
	})
}

func TestWithoutAJournalNothingBegins(t *testing.T) {
	for broken := 1; broken <= 4; broken++ {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{broken: broken}
			var mu sync.Mutex
			var ran []engine.Step
			x := executor(j, func(_ context.Context, s engine.Step) error {
				mu.Lock()
				defer mu.Unlock()
				ran = append(ran, s)
				return nil
			})
			_, err := x.Run(t.Context(), t.Context(), 1, []engine.Step{step(0), step(1, 0), step(2, 1)})
			if err == nil || !strings.Contains(err.Error(), "disk full") {
				t.Fatalf("err = %v", err)
			}
			for _, s := range ran {
				if !j.has(s, false) {
					t.Errorf("%s ran without a durable intent", s.Name())
				}
			}
		})
	}
}

// A step whose wait is over but for which there was no room is picked together
// with the write that fails: nothing is left then that could wake the run.
func TestAJournalLostBetweenTwoAttemptsEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := executor(&journal{broken: 3}, func(_ context.Context, s engine.Step) error {
			if number(s) == 0 {
				return errPassing
			}
			time.Sleep(time.Hour)
			return nil
		})
		x.Limits.Total, x.Backoff = 1, exec.Backoff{Base: time.Second, Max: time.Second}
		again := step(0)
		again.Attempts = 2
		r, err := x.Run(t.Context(), t.Context(), 1, []engine.Step{again, step(1)})
		if err == nil || !strings.Contains(err.Error(), "disk full") || states(r) != "failed done" {
			t.Errorf("%s (%v)", states(r), err)
		}
	})
}

func TestAChainWritesOncePerStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		var steps []engine.Step
		for i := range 100 {
			if i == 0 {
				steps = append(steps, step(0))
				continue
			}
			steps = append(steps, step(i, i-1))
		}
		if _, err := executor(j, func(context.Context, engine.Step) error { return nil }).Run(t.Context(), t.Context(), 1, steps); err != nil {
			t.Fatal(err)
		}
		if n := len(j.batches); n != 101 {
			t.Errorf("%d writes for a chain of 100, want 101: a result goes with the next intent", n)
		}
	})
}

// draw makes a random graph of up to 25 steps, some of them gates.
func draw(t *rapid.T) []engine.Step {
	n := rapid.IntRange(1, 25).Draw(t, "n")
	steps := make([]engine.Step, n)
	for i := range steps {
		steps[i] = step(i)
		if i > 0 {
			steps[i].Needs = slices.Sorted(slices.Values(rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 0, min(i, 3), rapid.ID[int]).Draw(t, fmt.Sprint("needs ", i))))
		}
		steps[i].Phase = engine.Phase(rapid.IntRange(0, 3).Draw(t, "phase"))
		if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
			steps[i].Op, steps[i].Provider = engine.OpGate, ""
		}
	}
	return steps
}

// The test decides who finishes next and how. Whatever the interleaving: no step
// before its needs, each once, and upstream_failed if and only if an ancestor
// failed.
func TestFrontierProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := draw(t)
		f := exec.NewFrontier(steps)
		all := func(engine.Phase, string) bool { return true }
		var running []int
		taken, doomed := map[int]bool{}, map[int]bool{}
		for f.Left() > 0 {
			if id, ok := f.Next(all); ok && (len(running) == 0 || rapid.Bool().Draw(t, "start")) {
				if taken[id] {
					t.Fatalf("step %d began twice", id)
				}
				taken[id] = true
				for _, n := range steps[id].Needs {
					if f.State(n) != engine.Done {
						t.Fatalf("step %d began before step %d was done", id, n)
					}
				}
				running = append(running, id)
				continue
			} else if ok {
				f.Again(id)
			}
			if len(running) == 0 {
				t.Fatalf("%d steps are left and none is ready", f.Left())
			}
			i := rapid.IntRange(0, len(running)-1).Draw(t, "who")
			id := running[i]
			running = slices.Delete(running, i, i+1)
			if rapid.IntRange(0, 4).Draw(t, "fails") > 0 {
				f.Done(id)
				continue
			}
			f.Fail(id)
			doomed[id] = true
		}
		for i, s := range steps {
			if slices.ContainsFunc(s.Needs, func(n int) bool { return doomed[n] }) {
				doomed[i] = true
				if f.State(i) != engine.UpstreamFailed {
					t.Fatalf("step %d is %s, but needs one that failed", i, f.State(i))
				}
			} else if f.State(i) == engine.UpstreamFailed {
				t.Fatalf("step %d is upstream_failed for no reason", i)
			}
		}
	})
}

// The run is killed at every write of its journal; what ran is then always
// covered by an intent, and what needs a result began after that was written.
func TestRunProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := draw(rt)
		fails := rapid.SliceOfN(rapid.IntRange(0, 3), len(steps), len(steps)).Draw(rt, "fails")
		broken := rapid.IntRange(0, 30).Draw(rt, "broken")
		total := rapid.IntRange(1, 4).Draw(rt, "parallelism")
		synctest.Test(t, func(t *testing.T) {
			j := &journal{broken: broken}
			var mu sync.Mutex
			running, most := 0, 0
			x := executor(j, func(_ context.Context, s engine.Step) error {
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				if !j.has(s, false) {
					t.Errorf("%s runs without a durable intent", s.Name())
				}
				for _, n := range steps[number(s)].Needs {
					if steps[n].Op != engine.OpGate && !j.has(steps[n], true) {
						t.Errorf("%s runs before the outcome of %s is durable", s.Name(), steps[n].Name())
					}
				}
				time.Sleep(time.Duration(1+number(s)%3) * time.Second)
				mu.Lock()
				running--
				mu.Unlock()
				if fails[number(s)] == 0 {
					return errors.New("no")
				}
				return nil
			})
			x.Limits.Total = total
			r, err := x.Run(t.Context(), t.Context(), 1, steps)
			if most > total {
				t.Errorf("%d steps at once, allowed are %d", most, total)
			}
			for i, s := range r.States {
				if s == engine.Pending || s == engine.Running || s == engine.Retrying {
					t.Errorf("step %d is left %s", i, s)
				}
				if err == nil && s == engine.Cancelled {
					t.Errorf("step %d is cancelled without reason", i)
				}
			}
		})
	})
}

func BenchmarkFrontier(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			steps := make([]engine.Step, n)
			for i := range steps {
				steps[i] = step(i)
				if i >= 10 {
					steps[i].Needs = []int{i - 10, i - 7}
				}
			}
			all := func(engine.Phase, string) bool { return true }
			b.ReportAllocs()
			for b.Loop() {
				f := exec.NewFrontier(steps)
				for f.Left() > 0 {
					id, _ := f.Next(all)
					f.Done(id)
				}
			}
		})
	}
}

func TestNotesAreToldWhileAStepRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := executor(&journal{}, func(ctx context.Context, s engine.Step) error {
			if number(s) == 0 {
				engine.Note(ctx, "half")
				time.Sleep(time.Minute)
				engine.Note(ctx, "whole")
			}
			return nil
		})
		var told []string
		begun := time.Now()
		x.Observe = func(e engine.Event) {
			if e.Note != "" {
				told = append(told, fmt.Sprintf("%s %s: %s after %s", e.Step.Name(), e.State, e.Note, e.At.Sub(begun)))
			}
		}
		if _, err := x.Run(t.Context(), t.Context(), 1, []engine.Step{step(0), step(1)}); err != nil {
			t.Fatal(err)
		}
		want := []string{"create vm.n[0] running: half after 0s", "create vm.n[0] running: whole after 1m0s"}
		if !slices.Equal(told, want) {
			t.Errorf("told:\n%q\nwant:\n%q", told, want)
		}
		engine.Note(t.Context(), "nobody looks on")
	})
}
