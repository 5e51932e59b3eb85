package runtime_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/engine/plan"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
)

// twoGroups are functions that scale, on machines that do, and one that uses one of
// them.
const twoGroups = `
vm "node" {
  cpus   = 4
  memory = "4GiB"
  slots  = 4
}
vm "edge" {
  cpus   = 8
  memory = "4GiB"
  slots  = 8
}
function "web" {
  on   = vm.node
  exec = ["x"]
  cpu  = 0.5
}
function "api" {
  on   = vm.edge
  exec = ["x"]
  cpu  = 0.5
}
frontend "www" {
  listen = "127.0.0.1:0"
  route "/" { to = function.web }
  route "/api" { to = function.api }
}
scaling "web" {
  target = function.web
  min    = 1
  max    = 8
  metric "cpu" { utilisation = 0.5 }
}
scaling "api" {
  target = function.api
  min    = 1
  max    = 8
  metric "cpu" { utilisation = 0.5 }
}
scaling "node" {
  target = vm.node
  min    = 1
  max    = 4
}
`

var (
	webGroup  = engine.Addr(engine.KindFunction, "web")
	apiGroup  = engine.Addr(engine.KindFunction, "api")
	nodeGroup = engine.Addr(engine.KindVM, "node")
)

// foresee plans sizes as the loop does, while others are on the way.
func (l *lab) foresee(d engine.Desired, sizes map[engine.Address]int, live plan.Live) (runtime.Planned, []plan.Part) {
	l.t.Helper()
	snap, err := l.store.Snapshot(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	p, diags := l.flow.Foresee(l.t.Context(), runtime.Request{Desired: d, Sizes: sizes, Live: &live}, snap, nil)
	if diags.HasErrors() {
		l.t.Fatal(diags.Err())
	}
	return p, plan.Parts(p.Plan, sizes)
}

// text lists what parts change, "a b | c".
func text(parts []plan.Part) string {
	var all []string
	for _, p := range parts {
		var some []string
		for a := range p.Changes {
			some = append(some, fmt.Sprintf("%s %s", p.Plan.Find(a).Action, a))
		}
		slices.Sort(some)
		all = append(all, strings.Join(some, ", "))
	}
	slices.Sort(all)
	return strings.Join(all, " | ")
}

// started is what is under way once parts have begun.
func started(parts []plan.Part) map[engine.Address]engine.Change {
	under := map[engine.Address]engine.Change{}
	for _, p := range parts {
		for a := range p.Changes {
			under[a] = *p.Plan.Find(a)
		}
	}
	return under
}

func TestPartsHaveNothingToDoWithEachOther(t *testing.T) {
	l := newLab(t)
	d := load(t, twoGroups)
	l.apply(d)

	_, parts := l.foresee(d, map[engine.Address]int{webGroup: 2, apiGroup: 2}, plan.Live{})
	const both = "create backend.www/api[1], create function.api[1] | create backend.www/web[1], create function.web[1]"
	if got := text(parts); got != both {
		t.Errorf("two functions grow by\n%s, want\n%s", got, both)
	}
	if parts[0].Meets(parts[1]) {
		t.Error("they meet, although they only join the same frontend")
	}

	// Four replicas fit; the others wait, and are in no plan.
	p, parts := l.foresee(d, map[engine.Address]int{webGroup: 7, nodeGroup: 3}, plan.Live{})
	if got := text(parts); !strings.HasSuffix(got, " | create vm.node[1], create vm.node[2]") || strings.Contains(got, "web[4]") || !strings.Contains(got, "web[3]") {
		t.Errorf("more replicas than fit, and two machines: %s", got)
	}
	for _, s := range p.Plan.Sizes {
		if s.Group == webGroup && s.Size != 4 {
			t.Errorf("the size is %d, want 4", s.Size)
		}
	}

	// What is under way is counted, and takes its number and its room.
	under := started(parts)
	_, next := l.foresee(d, map[engine.Address]int{webGroup: 7, nodeGroup: 4}, plan.Live{Under: under})
	if got := text(next); got != "create vm.node[3]" {
		t.Errorf("while that is under way: %s", got)
	}
	for _, r := range parts {
		if r.Meets(next[0]) {
			t.Errorf("one machine more meets %s", text([]plan.Part{r}))
		}
	}
	_, shrinking := l.foresee(d, map[engine.Address]int{webGroup: 2}, plan.Live{})
	if len(shrinking) == 0 || !slices.ContainsFunc(parts, func(r plan.Part) bool { return r.Meets(shrinking[0]) }) {
		t.Error("the same replica may be made by two runs")
	}
}

func TestAPartThatIsOutOfDateIsRefused(t *testing.T) {
	l := newLab(t)
	d := load(t, twoGroups)
	l.apply(d)
	p, parts := l.foresee(d, map[engine.Address]int{webGroup: 2}, plan.Live{})
	lease := l.lock()
	defer lease.Release(t.Context())
	change := func(a engine.Address) {
		t.Helper()
		snap, err := l.store.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(snap.Objects, func(o engine.Object) bool { return o.Address == a })
		o := snap.Objects[i]
		o.Operation = "r9-s9"
		if err := l.store.Adjust(t.Context(), lease, state.Adjust{Put: []engine.Object{o}}); err != nil {
			t.Fatal(err)
		}
	}
	apply := func(p runtime.Planned, part plan.Part) (runtime.Outcome, error) {
		return l.flow.ApplyPart(t.Context(), t.Context(), lease, p, part, runtime.Options{Command: "serve", Limits: exec.Limits{Total: 4}})
	}
	change(apiGroup.At(0)) // that is no concern of it
	change(nodeGroup.At(0))
	if _, err := apply(p, parts[0]); !errors.Is(err, runtime.ErrStale) || !strings.Contains(err.Error(), "vm.node[0]") {
		t.Fatalf("after its machine has changed: %v, want %v", err, runtime.ErrStale)
	}
	p, parts = l.foresee(d, map[engine.Address]int{webGroup: 2}, plan.Live{})
	change(apiGroup.At(0))
	out, err := apply(p, parts[0])
	if err != nil || len(out.Report.Failed) > 0 || out.Run.ID == 0 {
		t.Fatalf("after another function has changed: %v, %v", err, out.Report.Failed)
	}
	if _, err := apply(p, parts[0]); !errors.Is(err, runtime.ErrStale) {
		t.Errorf("the same part once more: %v, want %v", err, runtime.ErrStale)
	}
}

// Runs that overlap leave the outputs as what all of them have made.
func TestOutputsOfOverlappingRuns(t *testing.T) {
	l := newLab(t)
	d := load(t, twoGroups+`
output "webs" { value = length(function.web) }
output "apis" { value = length(function.api) }
`)
	l.apply(d)
	p, parts := l.foresee(d, map[engine.Address]int{webGroup: 3, apiGroup: 2}, plan.Live{})
	lease := l.lock()
	defer lease.Release(t.Context())
	ended := make(chan error)
	for _, part := range parts {
		go func() {
			_, err := l.flow.ApplyPart(t.Context(), t.Context(), lease, p, part, runtime.Options{Command: "serve", Limits: exec.Limits{Total: 4}})
			ended <- err
		}()
	}
	for range parts {
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("it does not end")
		}
	}
	lease.Release(t.Context())
	snap, err := l.store.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if w, a := snap.Outputs["webs"].Value.GoString(), snap.Outputs["apis"].Value.GoString(); w != "cty.NumberIntVal(3)" || a != "cty.NumberIntVal(2)" {
		t.Errorf("the outputs are %s and %s", w, a)
	}
	if p := l.plan(d); !p.Plan.Empty() {
		t.Error("the plan is not empty afterwards")
	}
}
