package runtime_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
)

// sized is a provider whose hosts have two cores.
type sized struct{ providers.Provider }

func (s sized) Unwrap() providers.Provider { return s.Provider }

func (sized) Capacity(context.Context, engine.Object) (engine.Capacity, error) {
	return engine.Capacity{CPU: 2, Memory: engine.GiB}, nil
}

// What a host has to offer counts before it is recorded: else the first apply would
// do what every later plan refuses.
func TestTheFirstPlanKnowsWhatAHostHas(t *testing.T) {
	l := newLab(t)
	l.wrap = func(p providers.Provider) providers.Provider { return sized{p} }
	text := func(cpu string) engine.Desired {
		return load(t, "host \"box\" {}\nfunction \"web\" {\n on = host.box\n exec = [\"x\"]\n replicas = 5\n cpu = "+cpu+"\n}\n")
	}
	_, diags, err := l.flow.Plan(t.Context(), runtime.Request{Desired: text("0.5")})
	if err != nil || !diags.HasErrors() || !strings.Contains(diags.Err().Error(), "No room for replicas") {
		t.Errorf("five replicas of half a core on two cores: %v, %v", err, diags)
	}
	l.apply(text("0.4"))
	if p := l.plan(text("0.4")); !p.Plan.Empty() {
		t.Errorf("the plan after it is not empty:\n%s", show(p.Plan))
	}
}

// A host that a killed run has made, and nobody recorded, is taken up with all that
// there is of it.
func TestCapacityHidesNoAdoptedHost(t *testing.T) {
	for n := 0; ; n++ {
		l := newLab(t)
		l.wrap = func(p providers.Provider) providers.Provider { return sized{p} }
		d := load(t, "host \"box\" {}\nfunction \"web\" {\n on = host.box\n exec = [\"x\"]\n cpu = 1\n}\n")
		l.flow.Journal = func(lease *state.Lease) exec.Journal {
			return &killer{Journal: l.store.Journal(lease), left: n, torn: true}
		}
		_, err := l.try(runtime.Request{Desired: d})
		l.flow.Journal = func(lease *state.Lease) exec.Journal { return l.store.Journal(lease) }
		if err == nil {
			break
		}
		if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		l.apply(d)
		l.settled(d)
		snap, err := l.store.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range snap.Objects {
			if o.Address.Kind == engine.KindHost && o.ID() == "" || o.Address.Kind == engine.KindFunction && o.Attr("machine_id") == "" {
				t.Errorf("killed at write %d: of %s no id is known", n, o.Address)
			}
		}
	}
}
