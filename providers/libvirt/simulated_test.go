//go:build libvirt_dlopen && cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/providertest"
	"github.com/zclconf/go-cty/cty"
)

// simulated is a provider over libvirt's own driver for tests. All tests of the
// process share what it has, so each has a flow of its own.
func simulated(t *testing.T) *Libvirt {
	t.Helper()
	flow := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	l := New(providers.Settings{
		Name: Name, Flow: flow, Dir: filepath.Join(t.TempDir(), Name), SpecDir: "/", Log: slog.New(slog.DiscardHandler),
		Config: engine.Encode(Config{URI: "test:///default", Pool: "default-pool", Network: "default", Accel: "tcg"}),
	})
	t.Cleanup(func() { l.Close() })
	if _, err := l.hypervisor(); err != nil {
		t.Skipf("needs libvirt's client library: %v", err)
	}
	return l
}

// want is a value of a kind with its computed attributes unknown.
func want(k engine.Kind, v any) cty.Value {
	fill := map[string]cty.Value{}
	for _, a := range engine.ValueSchema(k).Attributes {
		if a.Computed && !a.Meta {
			fill[a.Name] = cty.UnknownVal(a.Type)
		}
	}
	return engine.With(engine.Encode(v), fill)
}

func machine(n int) engine.Address { return engine.Addr(engine.KindVM, "node").At(n) }

func TestContractOfMachines(t *testing.T) {
	for name, c := range map[string]struct {
		vm     engine.VM
		change map[string]cty.Value
	}{
		"vm": {engine.VM{CPUs: 1, Memory: engine.MiB}, map[string]cty.Value{"slots": cty.NumberIntVal(3)}},
		"vm with room": {
			engine.VM{CPUs: 1, Memory: engine.MiB, MaxCPUs: 4, MaxMemory: 4 * engine.MiB},
			map[string]cty.Value{"cpus": cty.NumberIntVal(3), "memory": cty.StringVal("2MiB")},
		},
	} {
		contractOfMachines(t, name, c.vm, c.change)
	}
}

func contractOfMachines(t *testing.T, name string, vm engine.VM, change map[string]cty.Value) {
	l := simulated(t)
	providertest.Run(t, providertest.Case{
		Name: name, Provider: l, Address: machine,
		Want:   func(*testing.T, int) cty.Value { return want(engine.KindVM, vm) },
		Change: func(v cty.Value) cty.Value { return engine.With(v, change) },
		Vanish: func(t *testing.T, o engine.Object) {
			h, err := l.hypervisor()
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Stop(l.name(o.Address, o.Gen)); err != nil {
				t.Fatal(err)
			}
			if err := h.Undefine(l.name(o.Address, o.Gen)); err != nil {
				t.Fatal(err)
			}
		},
	})
	nothingLeft(t, l)
}

func TestContractOfNetworks(t *testing.T) {
	l := simulated(t)
	providertest.Run(t, providertest.Case{
		Name: "network", Provider: l,
		Address: func(n int) engine.Address { return engine.Addr(engine.KindNetwork, fmt.Sprintf("lan%d", n)) },
		Want:    func(*testing.T, int) cty.Value { return want(engine.KindNetwork, engine.Network{Mode: "nat"}) },
		Vanish: func(t *testing.T, o engine.Object) {
			h, err := l.hypervisor()
			if err != nil {
				t.Fatal(err)
			}
			if err := h.RemoveNetwork(l.name(o.Address, o.Gen)); err != nil {
				t.Fatal(err)
			}
		},
	})
	nothingLeft(t, l)
}

// made is a machine that is removed when the test ends.
func made(t *testing.T, l *Libvirt, n int) engine.Object {
	t.Helper()
	o, err := l.Apply(t.Context(), providers.Call{
		Operation: "r1-s1", Address: machine(n), Gen: 1, Want: want(engine.KindVM, engine.VM{CPUs: 1, Memory: engine.MiB}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nothingLeft(t, l) })
	return o
}

// A machine that has room grows, and gives memory back, as the one that it is; it keeps its
// size when it starts again, and whoever is killed in the middle is made up for.
func TestMachinesGrowInPlace(t *testing.T) {
	l := simulated(t)
	h, err := l.hypervisor()
	if err != nil {
		t.Fatal(err)
	}
	vm := engine.VM{CPUs: 1, Memory: 2 * engine.MiB, MaxCPUs: 4, MaxMemory: 8 * engine.MiB}
	call := providers.Call{Operation: "r1-s1", Address: machine(0), Gen: 1, Want: want(engine.KindVM, vm)}
	o, err := l.Apply(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nothingLeft(t, l) })
	name := l.name(machine(0), 1)
	is := func(when string, want engine.VM) {
		t.Helper()
		obs, err := l.Read(t.Context(), o)
		if err != nil || obs.Presence != engine.Present {
			t.Fatalf("read: %+v, %v", obs, err)
		}
		if got := engine.MustDecode[engine.VM](obs.Object.Value); got.CPUs != want.CPUs || got.Memory != want.Memory || got.MaxCPUs != want.MaxCPUs || got.MaxMemory != want.MaxMemory {
			t.Errorf("%s it has the size %+v, want %+v", when, got, want)
		}
	}
	is("at first", vm)
	for n, next := range []struct {
		cpus   float64
		memory engine.Size
	}{{3, 8 * engine.MiB}, {4, 3 * engine.MiB}} {
		vm.CPUs, vm.Memory = next.cpus, next.memory
		if n == 1 { // one that was killed after its first step
			if err := h.SetVCPUs(name, 4); err != nil {
				t.Fatal(err)
			}
		}
		prior := o
		call.Operation, call.Want, call.Prior = fmt.Sprintf("r%d-s1", n+2), engine.Merge(o.Value, vm), &prior
		for range 2 {
			if o, err = l.Apply(t.Context(), call); err != nil {
				t.Fatal(err)
			}
		}
		is("when it has changed", vm)
	}
	if o.ID() == "" || h.Stop(name) != nil {
		t.Fatal("it does not stop")
	}
	prior := o
	call.Operation, call.Prior = "r4-s1", &prior
	if o, err = l.Apply(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	is("when it has started again", vm)
	if err := h.SetMemory(name, 4<<10); err != nil {
		t.Fatal(err)
	}
	vm.Memory = 4 * engine.MiB
	is("when somebody else has changed it", vm)
}

func presence(t *testing.T, l *Libvirt, o engine.Object, want engine.Presence, why string) {
	t.Helper()
	obs, err := l.Read(t.Context(), o)
	if err != nil || obs.Presence != want || !strings.Contains(obs.Why, why) {
		t.Errorf("read: presence %d, %q, %v; want %d, %q", obs.Presence, obs.Why, err, want, why)
	}
}

func TestMachinesPauseAndGoOn(t *testing.T) {
	l := simulated(t)
	o := made(t, l, 0)
	for range 2 {
		if err := l.Suspend(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	presence(t, l, o, engine.Down, "its domain is paused")
	for range 2 {
		if err := l.Resume(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	presence(t, l, o, engine.Present, "")
}

func TestSnapshotsOfMachines(t *testing.T) {
	l := simulated(t)
	o := made(t, l, 0)
	other := o
	other.Operation = "r99-1"
	names := func() string {
		all, err := l.Snapshots(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		var text []string
		for _, s := range all {
			text = append(text, fmt.Sprintf("%s %s %t %t", s.Name, s.State, s.Current, time.Since(s.At) < time.Hour))
		}
		return strings.Join(text, ", ")
	}
	for range 2 { // the same operation, as after a crash
		if err := l.TakeSnapshot(t.Context(), o, "one"); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.TakeSnapshot(t.Context(), other, "one"); err == nil || !strings.Contains(err.Error(), "there is a snapshot one of vm.node[0] already") {
		t.Errorf("a second of that name: %v", err)
	}
	if got := names(); got != "one running true true" {
		t.Errorf("there are the snapshots %s", got)
	}
	if err := l.RestoreSnapshot(t.Context(), o, "two"); err == nil || !strings.Contains(err.Error(), "vm.node[0] has no snapshot two; it has one") {
		t.Errorf("restore one that is not there: %v", err)
	}
	if err := l.RestoreSnapshot(t.Context(), o, "one"); err != nil {
		t.Fatal(err)
	}
	presence(t, l, o, engine.Down, "its domain is paused")
	if err := l.Resume(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	presence(t, l, o, engine.Present, "")
	for range 2 {
		if err := l.DeleteSnapshot(t.Context(), o, "one"); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(); got != "" {
		t.Errorf("there are still the snapshots %s", got)
	}
	if err := l.TakeSnapshot(t.Context(), o, "last"); err != nil {
		t.Fatal(err)
	}
	if err := l.Delete(t.Context(), o, "r2-1"); err != nil {
		t.Errorf("a machine with a snapshot is not removed: %v", err)
	}
	presence(t, l, o, engine.Gone, "")
}

// A machine that was ended behind our back is started again by the next apply.
func TestMachinesThatStandStillAreStarted(t *testing.T) {
	l := simulated(t)
	o := made(t, l, 0)
	h, err := l.hypervisor()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Stop(l.name(o.Address, o.Gen)); err != nil {
		t.Fatal(err)
	}
	presence(t, l, o, engine.Down, "its domain is shut off")
	again, err := l.Apply(t.Context(), providers.Call{Operation: "r2-s1", Address: o.Address, Gen: 1, Want: o.Value, Prior: &o})
	if err != nil || again.ID() != o.ID() {
		t.Fatalf("%s, %v; want %s", again.ID(), err, o.ID())
	}
	presence(t, l, o, engine.Present, "")
}

// Whoever is killed while keys are made, or a state is restored, leaves files in the
// provider's folder. They go when it is cleared up, and it goes with the flow.
func TestNothingStaysInTheProvidersFolder(t *testing.T) {
	l := simulated(t)
	made(t, l, 0)
	for _, file := range []string{"keys-123/ca-key.pem", l.name(machine(0), 1) + ".state"} {
		at := filepath.Join(l.settings.Dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Clean(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(l.settings.Dir); err != nil || len(left) != 1 || left[0].Name() != "keys" {
		t.Errorf("cleared up there are %v, %v", left, err)
	}
	nothingLeft(t, l)
	if left, err := os.ReadDir(l.settings.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestWhatHappensToMachinesIsTold(t *testing.T) {
	l := simulated(t)
	o := made(t, l, 0)
	h, err := l.hypervisor()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// What is told before somebody listens is not told, so it happens until it is.
	var done sync.WaitGroup
	defer done.Wait()
	defer cancel()
	done.Go(func() {
		for ctx.Err() == nil {
			if h.Suspend(l.name(o.Address, o.Gen)) != nil || h.Resume(l.name(o.Address, o.Gen)) != nil {
				return
			}
		}
	})
	for e, err := range l.Watch(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Address == o.Address && e.Gen == 1 && e.What == "suspended" {
			return
		}
	}
	t.Error("nobody told that the machine was suspended")
}

func TestSomebodyElsesDomainIsLeftAlone(t *testing.T) {
	l := simulated(t)
	h, err := l.hypervisor()
	if err != nil {
		t.Fatal(err)
	}
	name := l.name(machine(0), 1)
	if err := h.Define("<domain type='test'><name>" + name + "</name><memory>1024</memory><os><type>hvm</type></os></domain>"); err != nil {
		t.Fatal(err)
	}
	defer h.Undefine(name)
	call := providers.Call{Operation: "r1-s1", Address: machine(0), Gen: 1, Want: want(engine.KindVM, engine.VM{CPUs: 1, Memory: engine.MiB})}
	o, err := l.Apply(t.Context(), call)
	if err == nil || !strings.Contains(err.Error(), "nobody's that flowctl knows of") {
		t.Errorf("apply: %v", err)
	}
	o.Value = engine.Encode(engine.VM{})
	presence(t, l, o, engine.Gone, "")
	if err := l.Delete(t.Context(), o, "r1-s2"); err != nil {
		t.Error(err)
	}
	if _, err := h.Domain(name); err != nil {
		t.Errorf("it is gone: %v", err)
	}
}

func TestSomebodyElsesNetworkIsLeftAlone(t *testing.T) {
	l := simulated(t)
	h, err := l.hypervisor()
	if err != nil {
		t.Fatal(err)
	}
	a := engine.Addr(engine.KindNetwork, "lan")
	name := l.name(a, 1)
	if err := h.MakeNetwork("<network><name>" + name + "</name><ip address='10.3.0.1' prefix='24'/></network>"); err != nil {
		t.Fatal(err)
	}
	defer h.RemoveNetwork(name)
	call := providers.Call{Operation: "r1-s1", Address: a, Gen: 1, Want: want(engine.KindNetwork, engine.Network{Mode: "nat"})}
	if _, err := l.Apply(t.Context(), call); err == nil || !strings.Contains(err.Error(), "nobody's that flowctl knows of") {
		t.Errorf("apply: %v", err)
	}
	o := engine.Object{Address: a, Gen: 1, Value: engine.Encode(engine.Network{})}
	presence(t, l, o, engine.Gone, "")
	if err := l.Delete(t.Context(), o, "r1-s2"); err != nil {
		t.Error(err)
	}
	if _, err := h.Network(name); err != nil {
		t.Errorf("it is gone: %v", err)
	}
}

// A network that somebody else has made in place of a recorded one is not taken for it.
func TestANetworkInPlaceOfOursIsNotOurs(t *testing.T) {
	l := simulated(t)
	h, err := l.hypervisor()
	if err != nil {
		t.Fatal(err)
	}
	a := engine.Addr(engine.KindNetwork, "lan")
	call := providers.Call{Operation: "r1-s1", Address: a, Gen: 1, Want: want(engine.KindNetwork, engine.Network{Mode: "nat"})}
	o, err := l.Apply(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	presence(t, l, o, engine.Present, "")
	name := l.name(a, 1)
	if err := h.RemoveNetwork(name); err != nil {
		t.Fatal(err)
	}
	if err := h.MakeNetwork("<network><name>" + name + "</name><ip address='10.4.0.1' prefix='24'/></network>"); err != nil {
		t.Fatal(err)
	}
	defer h.RemoveNetwork(name)
	presence(t, l, o, engine.Gone, "somebody else's")
	if err := l.Delete(t.Context(), o, "r1-s2"); err != nil {
		t.Error(err)
	}
	if _, err := h.Network(name); err != nil {
		t.Errorf("it is gone: %v", err)
	}
	call.Prior = &o
	if _, err := l.Apply(t.Context(), call); err == nil || !strings.Contains(err.Error(), "nobody's that flowctl knows of") {
		t.Errorf("apply: %v", err)
	}
}

// What was made stays the flow's when its folder, or the computer, gets another name.
func TestMachinesStayTheFlowsElsewhere(t *testing.T) {
	l := simulated(t)
	call := providers.Call{Operation: "r1-s1", Address: machine(0), Gen: 1, Want: want(engine.KindVM, engine.VM{CPUs: 1, Memory: engine.MiB})}
	o, err := l.Apply(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	defer nothingLeft(t, l)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	moved := l.settings
	moved.Host, moved.Home, moved.Dir = host, filepath.Dir(l.settings.Dir), filepath.Join(t.TempDir(), Name)
	for host, there := range map[string]engine.Presence{host: engine.Present, "another": engine.Gone} {
		moved.Host = host
		other := New(moved)
		presence(t, other, o, there, "")
		other.Close()
	}
}

func TestWrongSettingsAreFoundInThePlan(t *testing.T) {
	l := simulated(t)
	l.cfg.Pool = "nowhere"
	diags := l.Check(t.Context(), machine(0), want(engine.KindVM, engine.VM{CPUs: 1, Memory: engine.MiB}), nil)
	if err := diags.Err(); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a pool that is not there: %v", err)
	}
	diags = l.Check(t.Context(), engine.Addr(engine.KindNetwork, "lan"), want(engine.KindNetwork, engine.Network{Mode: "bridge"}), nil)
	if err := diags.Err(); err == nil || !strings.Contains(err.Error(), "br0") {
		t.Errorf("a bridge without a name: %v", err)
	}
}

// nothingLeft cleans up like the end of a destroy, and fails if that leaves anything.
func nothingLeft(t *testing.T, l *Libvirt) {
	t.Helper()
	if err := l.Clean(context.WithoutCancel(t.Context()), true, nil); err != nil {
		t.Fatal(err)
	}
	h, err := l.hypervisor()
	if err != nil {
		t.Fatal(err)
	}
	all, err := everything(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if strings.HasPrefix(d.Name, l.settings.Flow+".") {
			t.Errorf("domain %s is left", d.Name)
		}
	}
	volumes, err := h.Volumes(l.cfg.Pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes {
		if strings.HasPrefix(v.Name, l.settings.Flow+".") {
			t.Errorf("volume %s is left", v.Name)
		}
	}
}
