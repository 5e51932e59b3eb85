package sim_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/providertest"
	"github.com/flowctl/flowctl/providers/sim"
	"github.com/zclconf/go-cty/cty"
)

func want(k engine.Kind, v any) cty.Value {
	attrs := engine.Encode(v).AsValueMap()
	for _, a := range engine.ValueSchema(k).Attributes {
		if x, ok := attrs[a.Name]; ok && a.Computed && x.IsNull() {
			attrs[a.Name] = cty.UnknownVal(a.Type)
		}
	}
	return cty.ObjectVal(attrs)
}

func TestContract(t *testing.T) {
	w := sim.NewWorld()
	p := sim.New(w, sim.Config{})
	host, err := p.Apply(t.Context(), providers.Call{Operation: "x", Address: engine.Addr(engine.KindVM, "base").At(0), Gen: 1, Want: want(engine.KindVM, engine.VM{CPUs: 4, Memory: engine.GiB})})
	if err != nil {
		t.Fatal(err)
	}
	vanish := func(_ *testing.T, o engine.Object) { w.Vanish(o.Address) }
	providertest.Run(t, providertest.Case{
		Name: "vm", Provider: p, Vanish: vanish,
		Address: func(n int) engine.Address { return engine.Addr(engine.KindVM, "node").At(n) },
		Want: func(*testing.T, int) cty.Value {
			return want(engine.KindVM, engine.VM{CPUs: 2, Memory: engine.GiB, Labels: map[string]string{}})
		},
		Change: func(v cty.Value) cty.Value {
			return engine.With(v, map[string]cty.Value{"cpus": cty.NumberIntVal(4)})
		},
	})
	providertest.Run(t, providertest.Case{
		Name: "function", Provider: p, Vanish: vanish,
		Address: func(n int) engine.Address { return engine.Addr(engine.KindFunction, "web").At(n) },
		Want: func(*testing.T, int) cty.Value {
			return want(engine.KindFunction, engine.Replica{Exec: []string{"x"}, Machine: host.Address.String(), MachineID: host.ID()})
		},
	})
	providertest.Run(t, providertest.Case{
		Name: "frontend", Provider: p, Vanish: vanish,
		Address: func(n int) engine.Address {
			return engine.Addr(engine.KindFrontend, "www").For(string(rune('a' + n%26)))
		},
		Want: func(*testing.T, int) cty.Value {
			return want(engine.KindFrontend, engine.Frontend{Listen: "127.0.0.1:0", Protocol: "http"})
		},
	})
}

func TestTheWorldIsStrict(t *testing.T) {
	p := sim.New(sim.NewWorld(), sim.Config{})
	vm := providers.Call{Operation: "a", Address: engine.Addr(engine.KindVM, "n").At(0), Gen: 1, Want: want(engine.KindVM, engine.VM{CPUs: 1, Memory: engine.GiB})}
	fn := providers.Call{Operation: "b", Address: engine.Addr(engine.KindFunction, "f").At(0), Gen: 1,
		Want: want(engine.KindFunction, engine.Replica{Machine: "vm.n[0]", MachineID: "sim:vm.n[0]#1"})}
	if _, err := p.Apply(t.Context(), fn); err == nil || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("a replica without a machine: %v", err)
	}
	machine, err := p.Apply(t.Context(), vm)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Apply(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
	if err := p.Delete(t.Context(), machine, "c"); err == nil || !strings.Contains(err.Error(), "in use by 1") {
		t.Errorf("a machine from under its replica: %v", err)
	}
	p.World().Vanish(machine.Address)
	if left := p.World().Objects(); len(left) != 0 {
		t.Errorf("replicas outlive their machine: %v", left)
	}
}

func TestAWorldOnDiskOutlivesItsProcess(t *testing.T) {
	dir := t.TempDir()
	open := func() (*sim.Sim, *sim.World) {
		w, err := sim.OpenWorld(dir)
		if err != nil {
			t.Fatal(err)
		}
		return sim.New(w, sim.Config{}), w
	}
	p, w := open()
	if made, _ := os.ReadDir(dir); len(made) > 0 {
		t.Errorf("looking at a world made %v", made)
	}
	var last engine.Object
	for i := range 3 {
		o, err := p.Apply(t.Context(), providers.Call{Operation: "a", Address: engine.Addr(engine.KindVM, "n").At(i), Gen: 1, Want: want(engine.KindVM, engine.VM{CPUs: 1, Memory: engine.GiB})})
		if err != nil {
			t.Fatal(err)
		}
		last = o
	}
	if err := p.Delete(t.Context(), last, "b"); err != nil {
		t.Fatal(err)
	}
	w.Break(engine.Addr(engine.KindVM, "n").At(0), "it is on fire")
	w.Close()

	path := filepath.Join(dir, "world.log")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"address":"vm.n[2]","gen":1,"val`) // a crash cut the line short
	f.Close()

	p, w = open()
	defer w.Close()
	if n := len(w.Objects()); n != 2 {
		t.Fatalf("%d objects after reopening, want 2", n)
	}
	obs, err := p.Read(t.Context(), w.Objects()[0])
	if err != nil || obs.Presence != engine.Down || obs.Why != "it is on fire" {
		t.Errorf("read = %+v, %v", obs, err)
	}
	if _, err := p.Apply(t.Context(), providers.Call{Operation: "c", Address: last.Address, Gen: 2, Want: last.Value}); err != nil {
		t.Errorf("writing after a cut line: %v", err)
	}
}

func TestFaultsAndLatencyToOrder(t *testing.T) {
	p := sim.New(sim.NewWorld(), sim.Config{FailRate: 1})
	call := providers.Call{Operation: "a", Address: engine.Addr(engine.KindVM, "n").At(0), Gen: 1, Want: want(engine.KindVM, engine.VM{CPUs: 1, Memory: engine.GiB})}
	if _, err := p.Apply(t.Context(), call); !providers.Retryable(err) {
		t.Errorf("fail_rate = 1: %v, want a passing error", err)
	}
	slow := sim.New(sim.NewWorld(), sim.Config{Latency: engine.Duration(1e15)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := slow.Apply(ctx, call); !errors.Is(err, context.Canceled) {
		t.Errorf("a slow call that is cancelled: %v", err)
	}
}

// What is said to be measured is measured, the requests evenly over the backends.
func TestUsageIsWhatTheConfigurationSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		front, web := engine.Addr(engine.KindFrontend, "www"), engine.Addr(engine.KindFunction, "web")
		objects := []engine.Object{{Address: front}, {Address: web.At(0)}, {Address: engine.BackendOf(front, web.At(0))}, {Address: engine.BackendOf(front, web.At(1))}, {Address: engine.Addr(engine.KindVM, "node").At(0)}}
		s := sim.New(sim.NewWorld(), sim.Config{RPS: 30, CPU: 0.5})
		<-time.After(10 * time.Second)
		got, err := s.Usage(t.Context(), objects)
		want := []providers.Usage{
			{Address: front, State: "running", Requests: 300, Rate: 30}, {Address: web.At(0), State: "running", CPUCores: 0.5},
			{Address: objects[2].Address, State: "running", Requests: 150, Rate: 15}, {Address: objects[3].Address, State: "running", Requests: 150, Rate: 15},
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v\n%v\nwant %v", err, got, want)
		}
		if got, err := sim.New(sim.NewWorld(), sim.Config{}).Usage(t.Context(), objects); err != nil || len(got) > 0 {
			t.Errorf("measured, though nothing is said to be: %v %v", got, err)
		}
	})
}

// A machine that was warm is one machine, also for whoever reads the world's log; and
// taking it does not take the time of a start.
func TestTakingAWarmMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w, err := sim.OpenWorld(dir)
		if err != nil {
			t.Fatal(err)
		}
		p := sim.New(w, sim.Config{Boot: engine.Duration(time.Minute)})
		began := time.Now()
		warm, err := p.Apply(t.Context(), providers.Call{Operation: "a", Address: engine.Addr(engine.KindWarm, "n").At(0), Gen: 1, Want: want(engine.KindWarm, engine.VM{CPUs: 1, Memory: engine.GiB})})
		if err != nil || time.Since(began) != time.Minute {
			t.Fatal(err, time.Since(began))
		}
		call := providers.Call{Operation: "b", Address: engine.Addr(engine.KindVM, "n").At(0), Gen: 1, Want: want(engine.KindVM, engine.VM{CPUs: 1, Memory: engine.GiB})}
		for range 2 { // it may be called again
			if _, err := p.Take(t.Context(), call, warm); err != nil || time.Since(began) != time.Minute {
				t.Fatal(err, time.Since(began))
			}
		}
		call.Operation, call.Address = "c", call.Address.Group().At(1)
		if _, err := p.Take(t.Context(), call, warm); !errors.Is(err, providers.ErrNotFound) {
			t.Errorf("one that is no more: %v", err)
		}
		p.Close()
		if w, err = sim.OpenWorld(dir); err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if all := w.Objects(); len(all) != 1 || all[0].Address != engine.Addr(engine.KindVM, "n").At(0) {
			t.Errorf("the log tells of %v", all)
		}
	})
}
