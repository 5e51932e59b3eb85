package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	stdruntime "runtime"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
	"github.com/zclconf/go-cty/cty"
)

// idle is a Runner whose steps do nothing.
type idle struct{ value cty.Value }

func (r idle) object(s engine.Step) *engine.Object {
	return &engine.Object{Address: s.Address, Gen: s.Gen, Provider: s.Provider, Value: r.value}
}

func (r idle) Intend(s engine.Step) engine.Intent {
	return engine.Intent{Address: s.Address, Gen: s.Gen, Op: s.Op, Provider: s.Provider, Planned: r.value}
}

func (r idle) Run(_ context.Context, s engine.Step, operation string) (engine.Result, error) {
	o := r.object(s)
	o.Operation = operation
	return engine.Result{Object: o}, nil
}

// forgetful is a Journal that keeps nothing.
type forgetful struct{}

func (forgetful) Append(context.Context, engine.Batch) error { return nil }

func newIdle() idle {
	return idle{engine.Encode(engine.VM{CPUs: 1, Memory: engine.GiB, ID: "node-0", Address: "127.0.0.1"})}
}

// dag makes n steps; needs tells what each of them waits for.
func dag(n int, needs func(i int) []int) []engine.Step {
	steps := make([]engine.Step, n)
	for i := range steps {
		steps[i] = engine.Step{ID: i, Op: engine.OpCreate, Address: engine.Addr(engine.KindVM, "n").At(i), Gen: 1, Provider: "sim", Attempts: 1, Needs: needs(i)}
	}
	return steps
}

func alone(int) []int { return nil }

func inChain(i int) []int {
	if i == 0 {
		return nil
	}
	return []int{i - 1}
}

// inLayers needs two steps of the layer before.
func inLayers(n int) func(i int) []int {
	size := n / layers
	return func(i int) []int {
		if i < size {
			return nil
		}
		before := i - size
		first := before - before%size
		next := first + (before+1)%size
		return []int{min(before, next), max(before, next)}
	}
}

func execute(ctx context.Context, steps []engine.Step, j exec.Journal, run int64) error {
	x := exec.Executor{
		Runner: newIdle(), Journal: j, Limits: exec.Limits{Total: runtime.DefaultParallelism},
		Backoff: exec.DefaultBackoff, Now: time.Now, Rand: rand.New(rand.NewPCG(1, 1)),
	}
	r, err := x.Run(ctx, ctx, run, steps)
	if err == nil && len(r.Failed) > 0 {
		err = &r.Failed[0]
	}
	return err
}

// walk measures the executor alone: steps that do nothing and are not recorded.
func (b *bench) walk(ctx context.Context) error {
	fmt.Printf("\nWalk of a DAG by the executor, nothing recorded, %d at a time\n%-8s %9s %10s %12s %10s\n", runtime.DefaultParallelism, "shape", "steps", "time", "per step", "allocated")
	for _, c := range []struct {
		name  string
		n     int
		needs func(int) []int
	}{{"flat", 100_000, alone}, {"layered", 10_000, inLayers(10_000)}, {"layered", 100_000, inLayers(100_000)}, {"chain", 100_000, inChain}} {
		steps := dag(c.n, c.needs)
		var before, after stdruntime.MemStats
		stdruntime.GC()
		stdruntime.ReadMemStats(&before)
		begun := time.Now()
		if err := execute(ctx, steps, forgetful{}, 1); err != nil {
			return err
		}
		took := time.Since(begun)
		stdruntime.ReadMemStats(&after)
		fmt.Printf("%-8s %9d %8.2f s %9.2f µs %7d MB\n", c.name, c.n, took.Seconds(), float64(took.Microseconds())/float64(c.n), (after.TotalAlloc-before.TotalAlloc)>>20)
	}
	return nil
}

// durable measures tasks that do nothing, each with its intent and its outcome
// durable in the state before the next that needs it begins.
func (b *bench) durable(ctx context.Context) error {
	sync, err := b.fsync()
	if err != nil {
		return err
	}
	fmt.Printf("\nDurable tasks that do nothing; an fsync of 4 KiB takes %.2f ms here (median)\n%-8s %9s %10s %12s %10s\n", ms(sync), "shape", "tasks", "per second", "per task", "x fsync")
	for _, c := range []struct {
		name  string
		needs func(int) []int
	}{{"wide", alone}, {"chain", inChain}} {
		var first time.Duration
		for _, n := range []int{500, 5000} {
			took, err := b.record(ctx, dag(n, c.needs))
			if err != nil {
				return err
			}
			each := took / time.Duration(n)
			fmt.Printf("%-8s %9d %10.0f %9.3f ms %10.2f", c.name, n, float64(n)/took.Seconds(), ms(each), float64(each)/float64(sync))
			if first > 0 {
				fmt.Printf("   %.2f x that at 500", float64(each)/float64(first))
			}
			fmt.Println()
			first = each
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// record runs steps with a state of its own as their journal.
func (b *bench) record(ctx context.Context, steps []engine.Step) (time.Duration, error) {
	dir, err := os.MkdirTemp(b.dir, "state-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	store, err := state.Open(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer store.Close()
	lease, err := store.Acquire(ctx, state.ApplyLock, state.Holder{Since: time.Now()}, func(state.Holder) bool { return false })
	if err != nil {
		return 0, err
	}
	run, err := store.BeginRun(ctx, lease, engine.RunInfo{Command: "bench", Started: time.Now(), Steps: len(steps)})
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	err = execute(ctx, steps, store.Journal(lease), run)
	return time.Since(begun), err
}

// fsync measures what making one page durable takes.
func (b *bench) fsync() (time.Duration, error) {
	f, err := os.Create(filepath.Join(b.dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	page := make([]byte, 4<<10)
	var all []time.Duration
	for range 200 {
		begun := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		all = append(all, time.Since(begun))
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}
