package state_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/state"
	"github.com/zclconf/go-cty/cty"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func open(t *testing.T, dir string) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func lease(t *testing.T, s *state.Store) *state.Lease {
	t.Helper()
	l, err := s.Acquire(t.Context(), state.ApplyLock, state.Holder{User: "ann", PID: 1, Since: at}, func(state.Holder) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func vm(n int) engine.Object {
	return engine.Object{
		Address: engine.Addr(engine.KindVM, "node").At(n), Gen: 1, Provider: "sim", Operation: "r1-s0",
		Value:     engine.Encode(engine.VM{CPUs: 2, Memory: engine.GiB, ID: fmt.Sprint("node-", n), Labels: map[string]string{"a": "b"}}),
		Sensitive: []string{"labels.a"}, Private: []byte{0, 1}, Needs: []engine.Address{engine.Addr(engine.KindNetwork, "x")},
		Lifecycle: engine.Unverified,
	}
}

func intent(run int64, step int, o engine.Object, op engine.Op) engine.Intent {
	return engine.Intent{
		Operation: fmt.Sprintf("r%d-s%d", run, step), Run: run, Step: step, Address: o.Address, Gen: o.Gen, Op: op,
		Provider: o.Provider, Needs: o.Needs, Planned: engine.With(o.Value, map[string]cty.Value{"id": cty.UnknownVal(cty.String)}), At: at,
	}
}

func outcome(in engine.Intent, o *engine.Object, err string) engine.Outcome {
	return engine.Outcome{Operation: in.Operation, Address: in.Address, Gen: in.Gen, Op: in.Op, Object: o, Err: err, Attempts: 1, Started: at, Ended: at.Add(time.Second)}
}

func same(t *testing.T, got, want engine.Object) {
	t.Helper()
	if !got.Value.RawEquals(want.Value) {
		t.Errorf("%s: value\n%#v\nwant\n%#v", want.Address, got.Value, want.Value)
	}
	got.Value, want.Value = cty.NilVal, cty.NilVal
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("object\n%+v\nwant\n%+v", got, want)
	}
}

func TestWhatIsAppendedIsThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	l := lease(t, s)
	run, err := s.BeginRun(t.Context(), l, engine.RunInfo{Command: "apply", Started: at, Steps: 3, Summary: engine.Summary{Add: 3}})
	if err != nil {
		t.Fatal(err)
	}
	j := s.Journal(l)
	a, b, c := intent(run, 0, vm(0), engine.OpCreate), intent(run, 1, vm(1), engine.OpCreate), intent(run, 2, vm(10), engine.OpCreate)
	o := vm(0)
	for _, batch := range []engine.Batch{
		{Run: run, Intents: []engine.Intent{a, b}},
		{Run: run, Outcomes: []engine.Outcome{outcome(a, &o, "")}, Intents: []engine.Intent{c}},
		{Run: run, Outcomes: []engine.Outcome{outcome(b, nil, "no such luck")}, Tasks: []engine.TaskRecord{
			{Step: engine.Step{ID: 1}, State: engine.Retrying, Attempt: 1, Started: at, Ended: at, Err: "first"},
			{Step: engine.Step{ID: 1}, State: engine.Failed, Attempt: 2, Started: at, Ended: at, Err: "no such luck"},
			{Step: engine.Step{ID: 3, Address: vm(7).Address, Gen: 1}, State: engine.UpstreamFailed},
		}},
	} {
		if err := j.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Conclude(t.Context(), l, state.Concluded{
		Outputs:   map[string]engine.OutputValue{"url": {Value: cty.StringVal("x"), Description: "d"}, "list": {Value: cty.TupleVal([]cty.Value{cty.True}), Sensitive: true}},
		Providers: []engine.Setting{{Name: "sim", Config: cty.ObjectVal(map[string]cty.Value{"latency": cty.StringVal("1s")})}},
		SpecPath:  "two-tier.hcl",
	}); err != nil {
		t.Fatal(err)
	}
	s.Close()

	s = open(t, dir)
	snap, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(snap.Objects) != 1 || snap.Serial != 1 || snap.Lineage == "" {
		t.Fatalf("snapshot: %d objects, serial %d, lineage %q", len(snap.Objects), snap.Serial, snap.Lineage)
	}
	same(t, snap.Objects[0], vm(0))
	if len(snap.Open) != 1 || snap.Open[0].Operation != c.Operation || snap.Open[0].Address != c.Address || !snap.Open[0].At.Equal(at) {
		t.Errorf("open operations: %+v, want only %s", snap.Open, c.Operation)
	}
	if got := engine.MustDecode[engine.VM](snap.Open[0].Planned); got.CPUs != 2 || got.ID != "" {
		t.Errorf("planned: %+v", got)
	}
	if u := snap.Outputs["url"]; !u.Value.RawEquals(cty.StringVal("x")) || u.Description != "d" || !snap.Outputs["list"].Sensitive {
		t.Errorf("outputs: %+v", snap.Outputs)
	}
	if len(snap.Providers) != 1 || snap.Providers[0].Config.GetAttr("latency").AsString() != "1s" || snap.SpecPath != "two-tier.hcl" {
		t.Errorf("settings: %+v of %s", snap.Providers, snap.SpecPath)
	}
	tasks, err := s.Tasks(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, task := range tasks {
		states = append(states, fmt.Sprintf("%s:%d", task.State, len(task.Attempts)))
	}
	if got := strings.Join(states, " "); got != "done:1 failed:2 running:1 upstream_failed:0" {
		t.Errorf("tasks: %s", got)
	}
}

func TestADeletedObjectIsForgottenAndAFailedOneKept(t *testing.T) {
	s := open(t, t.TempDir())
	l := lease(t, s)
	if err := s.Adjust(t.Context(), l, state.Adjust{Put: []engine.Object{vm(0), vm(1)}}); err != nil {
		t.Fatal(err)
	}
	j := s.Journal(l)
	a, b := intent(1, 0, vm(0), engine.OpDelete), intent(1, 1, vm(1), engine.OpDelete)
	if err := j.Append(t.Context(), engine.Batch{Run: 1, Intents: []engine.Intent{a, b}}); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), engine.Batch{Run: 1, Outcomes: []engine.Outcome{outcome(a, nil, ""), outcome(b, nil, "busy")}}); err != nil {
		t.Fatal(err)
	}
	snap, err := s.Snapshot(t.Context())
	if err != nil || len(snap.Objects) != 1 || snap.Objects[0].Address != vm(1).Address {
		t.Errorf("left: %+v (%v), want vm.node[1], whose deletion failed", snap.Objects, err)
	}
}

func TestOutcomeWithoutIntentIsRefusedWhole(t *testing.T) {
	s := open(t, t.TempDir())
	l := lease(t, s)
	o := vm(0)
	in := intent(1, 0, o, engine.OpCreate)
	if err := s.Journal(l).Append(t.Context(), engine.Batch{Run: 1, Outcomes: []engine.Outcome{outcome(in, &o, "")}}); err == nil {
		t.Error("an outcome without an intent was taken")
	}
	if snap, _ := s.Snapshot(t.Context()); len(snap.Objects) != 0 || snap.Serial != 0 {
		t.Errorf("it left %+v", snap)
	}
}

func TestWritesThatWaitTogetherAllHold(t *testing.T) {
	s := open(t, t.TempDir())
	l := lease(t, s)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 20 {
				if err := s.Put(t.Context(), l, vm(w*100+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	snap, err := s.Snapshot(t.Context())
	if err != nil || len(snap.Objects) != 320 {
		t.Fatalf("%d objects (%v), want 320", len(snap.Objects), err)
	}
	if !slices.IsSortedFunc(snap.Objects, func(a, b engine.Object) int { return a.Key().Compare(b.Key()) }) {
		t.Error("objects are not sorted")
	}
	if snap.Serial < 2 || snap.Serial > 320 {
		t.Errorf("serial %d", snap.Serial)
	}
}

func TestABadRequestFailsAlone(t *testing.T) {
	s := open(t, t.TempDir())
	l := lease(t, s)
	var wg sync.WaitGroup
	var bad error
	for i := range 8 {
		wg.Go(func() {
			if i == 3 {
				bad = s.Drop(t.Context(), l, engine.Key{Address: vm(99).Address, Gen: 1})
				return
			}
			if err := s.Put(t.Context(), l, vm(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if !errors.Is(bad, os.ErrNotExist) {
		t.Errorf("dropping what is not there: %v", bad)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	s, other := open(t, dir), open(t, dir)
	ann := state.Holder{User: "ann", Host: "box", PID: 42, Command: "flowctl apply", Since: at}
	alive := func(state.Holder) bool { return true }
	dead := func(state.Holder) bool { return false }
	first, err := s.Acquire(t.Context(), state.ApplyLock, ann, alive)
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Acquire(t.Context(), state.ApplyLock, state.Holder{User: "bob"}, alive)
	var locked *state.LockedError
	if !errors.As(err, &locked) || locked.Holder != ann || !strings.Contains(err.Error(), "flowctl apply by process 42 of ann on box since ") {
		t.Fatalf("second: %v", err)
	}
	second, err := other.Acquire(t.Context(), state.ApplyLock, state.Holder{User: "bob", Since: at}, dead)
	if err != nil || second.Stale == nil || second.Stale.PID != 42 {
		t.Fatalf("lock of a dead process: %+v, %v", second, err)
	}
	if err := s.Put(t.Context(), first, vm(0)); !errors.Is(err, state.ErrFenced) {
		t.Errorf("the one that lost the lock can still write: %v", err)
	}
	if err := first.Release(t.Context()); err != nil {
		t.Errorf("giving back a lost lock: %v", err)
	}
	if h, _ := s.Holder(t.Context(), state.ApplyLock); h == nil || h.User != "bob" {
		t.Errorf("holder %+v, want bob: another's release must not free it", h)
	}
	if err := other.Put(t.Context(), second, vm(0)); err != nil {
		t.Error(err)
	}
	if err := second.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h, _ := s.Holder(t.Context(), state.ApplyLock); h != nil {
		t.Errorf("holder %+v after release", h)
	}
	third, err := s.Acquire(t.Context(), state.ApplyLock, ann, alive)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Break(t.Context(), state.ApplyLock); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), third, vm(1)); !errors.Is(err, state.ErrFenced) {
		t.Errorf("write after the lock was broken: %v", err)
	}
}

func TestRunsLeftRunningBecomeInterrupted(t *testing.T) {
	s := open(t, t.TempDir())
	l := lease(t, s)
	begin := func() {
		t.Helper()
		if _, err := s.BeginRun(t.Context(), l, engine.RunInfo{Command: "apply", Started: at}); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	l.Release(t.Context())
	l = lease(t, s)
	begin()
	begin() // under one lease, runs may overlap
	if run, err := s.Run(t.Context(), 2); err != nil || run.Status != engine.RunRunning {
		t.Errorf("the first of two at once: %+v (%v)", run, err)
	}
	if err := s.EndRun(t.Context(), l, engine.RunInfo{ID: 2, Status: engine.RunFailed, Ended: at.Add(time.Minute), Failures: 3}); err != nil {
		t.Fatal(err)
	}
	runs, err := s.Runs(t.Context(), 0)
	if err != nil || len(runs) != 3 || runs[1].ID != 2 || runs[1].Status != engine.RunFailed || runs[1].Failures != 3 || runs[2].Status != engine.RunInterrupted {
		t.Errorf("runs: %+v (%v)", runs, err)
	}
	if _, err := s.Run(t.Context(), 9); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unknown run: %v", err)
	}
}

// Whatever is wrong with the file: a clear error, and not a byte of it changed.
func TestFilesThatAreNoStateAreLeftAlone(t *testing.T) {
	good := t.TempDir()
	s, err := state.Open(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	l := lease(t, s)
	for i := range 50 {
		if err := s.Put(t.Context(), l, vm(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(good, state.File))
	if err != nil {
		t.Fatal(err)
	}
	header := func(offset int, bytes ...byte) []byte {
		b := slices.Clone(whole)
		copy(b[offset:], bytes)
		return b
	}
	rotten := slices.Clone(whole)
	for i := 4096; i < len(rotten); i += 7 {
		rotten[i] ^= 0x5a
	}
	for _, c := range []struct {
		name    string
		content []byte
		want    error
	}{
		{"text", []byte("this is my shopping list\n"), state.ErrDamaged},
		{"one byte", []byte("x"), state.ErrDamaged},
		{"newer", header(60, 0, 0, 0, 99), state.ErrNewer},
		{"another program's", header(68, 1, 2, 3, 4), state.ErrDamaged},
		{"rotten", rotten, state.ErrDamaged},
		{"cut short", whole[:len(whole)/2], state.ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, state.File)
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := state.Open(t.Context(), dir)
			if err == nil {
				_, err = s.Snapshot(t.Context())
				s.Close()
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("err = %v, want one that wraps %q and names the file", err, c.want)
			}
			if after, _ := os.ReadFile(path); !slices.Equal(after, c.content) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	s := open(t, dir)
	lease(t, s)
	for _, p := range []string{state.File, state.File + "-wal"} {
		if info, err := os.Stat(filepath.Join(dir, p)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600: values may be secret", p, info.Mode(), err)
		}
	}
}

func TestRemoveLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	lease(t, s)
	s.Close()
	if err := state.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := state.OpenExisting(t.Context(), dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("OpenExisting = %v", err)
	}
}

func BenchmarkAppendChain(b *testing.B) {
	s, err := state.Open(context.Background(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	l, err := s.Acquire(context.Background(), state.ApplyLock, state.Holder{}, func(state.Holder) bool { return false })
	if err != nil {
		b.Fatal(err)
	}
	j, o := s.Journal(l), vm(0)
	step := 0
	last := intent(1, step, o, engine.OpCreate)
	if err := j.Append(context.Background(), engine.Batch{Run: 1, Intents: []engine.Intent{last}}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		step++
		o = vm(step)
		next := intent(1, step, o, engine.OpCreate)
		if err := j.Append(context.Background(), engine.Batch{Run: 1, Outcomes: []engine.Outcome{outcome(last, &o, "")}, Intents: []engine.Intent{next}}); err != nil {
			b.Fatal(err)
		}
		last = next
	}
}

func TestAClosedStateRefusesWrites(t *testing.T) {
	s := open(t, t.TempDir())
	l := lease(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), l, vm(0)); err == nil {
		t.Error("a write after Close succeeded")
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

// Where a state was made stays what it was when its folder moves.
func TestAStateKnowsWhereItWasMade(t *testing.T) {
	was := filepath.Join(t.TempDir(), "was")
	s := open(t, was)
	made := s.Origin()
	if host, err := os.Hostname(); err != nil || made.Dir != was || made.Host != host {
		t.Errorf("it was made at %+v (%v)", made, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	is := filepath.Join(t.TempDir(), "is")
	if err := os.Rename(was, is); err != nil {
		t.Fatal(err)
	}
	if got := open(t, is).Origin(); got != made {
		t.Errorf("moved, it was made at %+v, not %+v", got, made)
	}
}
