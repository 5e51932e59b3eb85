package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
)

// album gives the machines of a simulated world snapshots, as names. Those of several
// machines come in any order.
type album struct {
	providers.Provider
	did *notes
}

type notes struct {
	mu  sync.Mutex
	all []string
}

func (a album) Unwrap() providers.Provider     { return a.Provider }
func (a album) Snapshotted(k engine.Kind) bool { return k == engine.KindVM }
func (a album) note(format string, args ...any) {
	a.did.mu.Lock()
	defer a.did.mu.Unlock()
	a.did.all = append(a.did.all, fmt.Sprintf(format, args...))
}
func (a album) Snapshots(context.Context, engine.Object) ([]providers.Snapshot, error) {
	return nil, nil
}

func (a album) TakeSnapshot(_ context.Context, o engine.Object, name string) error {
	a.note("take %s of %s", name, o.Address)
	return nil
}

func (a album) RestoreSnapshot(_ context.Context, o engine.Object, name string) error {
	if name == "never" {
		return providers.Permanent(errors.New("it has no snapshot never"))
	}
	a.note("restore %s of %s", name, o.Address)
	return nil
}

func (a album) DeleteSnapshot(_ context.Context, o engine.Object, name string) error {
	a.note("delete %s of %s", name, o.Address)
	return nil
}

// snapshot carries out an order about a snapshot of a machine.
func (l *lab) snapshot(a engine.Action, name string, targets ...engine.Address) error {
	l.t.Helper()
	ctx := context.Background()
	lease := l.lock()
	p, diags, err := l.flow.Order(ctx, runtime.OrderRequest{Action: a, Targets: targets, Snapshot: name})
	if err := errors.Join(err, diags.Err()); err != nil {
		return errors.Join(err, lease.Release(ctx))
	}
	out, err := l.flow.Apply(ctx, ctx, lease, p, runtime.Options{Command: a.String(), Limits: exec.Limits{Total: 4}})
	for i := range out.Report.Failed {
		err = errors.Join(err, &out.Report.Failed[i])
	}
	return errors.Join(err, lease.Release(ctx))
}

func TestSnapshotsAreOrders(t *testing.T) {
	l := newLab(t)
	var did notes
	l.wrap = func(p providers.Provider) providers.Provider { return album{p, &did} }
	d := load(t, twoTier)
	l.apply(d)
	n := len(l.world.Events())

	for _, a := range []engine.Action{engine.Capture, engine.Discard} {
		if err := l.snapshot(a, "one", node); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.snapshot(engine.Revert, "one", node.At(0)); err == nil || !strings.Contains(err.Error(), "Suspend it first, with 'flowctl suspend vm.node[0]'") {
		t.Errorf("restore a machine that works: %v", err)
	}
	if got := l.did(n) + l.lifecycles(); got != "" {
		t.Errorf("what runs on them is not left alone: %s", got)
	}

	// What went back stays suspended until it is resumed; so does what did not.
	l.mustOrder(engine.Suspend, d, node.At(0))
	suspended := l.lifecycles()
	if err := l.snapshot(engine.Revert, "never", node.At(0)); err == nil || !strings.Contains(err.Error(), "it has no snapshot never") {
		t.Errorf("restore what is not there: %v", err)
	}
	if err := l.snapshot(engine.Revert, "one", node.At(0)); err != nil {
		t.Fatal(err)
	}
	if got := l.lifecycles(); got != suspended || !strings.Contains(got, "vm.node[0] suspended") {
		t.Errorf("restored, there are %s; before %s", got, suspended)
	}
	l.apply(d)
	l.mustOrder(engine.Resume, d, node.At(0))
	l.settled(d)
	want := "delete one of vm.node[0], delete one of vm.node[1], restore one of vm.node[0], take one of vm.node[0], take one of vm.node[1]"
	slices.Sort(did.all)
	if got := strings.Join(did.all, ", "); got != want {
		t.Errorf("it did %s, want %s", got, want)
	}

	l.wrap = nil
	if err := l.snapshot(engine.Capture, "one", node); err == nil || !strings.Contains(err.Error(), "its provider sim has no snapshots") {
		t.Errorf("a provider without: %v", err)
	}
}

// A restore that is killed at any write leaves the machine suspended, whichever of the
// two it is: nobody has said that it may go on. The order can be given again.
func TestAKilledRestoreWakesNobody(t *testing.T) {
	told := false
	for _, torn := range []bool{false, true} {
		for n := 0; ; n++ {
			l := newLab(t)
			var did notes
			l.wrap = func(p providers.Provider) providers.Provider { return album{p, &did} }
			d := load(t, twoTier)
			l.apply(d)
			l.mustOrder(engine.Suspend, d, node.At(0))
			suspended, events := l.lifecycles(), len(l.world.Events())
			l.flow.Journal = func(lease *state.Lease) exec.Journal {
				return &killer{Journal: l.store.Journal(lease), left: n, torn: torn}
			}
			err := l.snapshot(engine.Revert, "one", node.At(0))
			l.flow.Journal = func(lease *state.Lease) exec.Journal { return l.store.Journal(lease) }
			if err == nil {
				if n < 2 {
					t.Errorf("only %d writes: the test has lost its points", n)
				}
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			_, diags, err := l.flow.Plan(t.Context(), runtime.Request{Desired: d})
			if err != nil {
				t.Fatal(err)
			}
			told = told || slices.ContainsFunc(diags, func(d engine.Diagnostic) bool {
				return d.Summary == "Restore interrupted" && d.Address == node.At(0) && strings.Contains(d.Detail, "'flowctl resume vm.node[0]'")
			})
			l.apply(d)
			if got := l.lifecycles() + l.did(events); got != suspended {
				t.Errorf("killed at write %d and applied, there are %s; before %s", n, got, suspended)
			}
			if err := l.snapshot(engine.Revert, "one", node.At(0)); err != nil {
				t.Errorf("killed at write %d, again: %v", n, err)
			}
			l.mustOrder(engine.Resume, d, node.At(0))
			l.settled(d)
		}
	}
	if !told {
		t.Error("nobody is told that a restore was interrupted")
	}
}
