//go:build libvirt_dlopen && cgo

package libvirt

import (
	"errors"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

var ready = engine.Addr(engine.KindWarm, "node").At(0)

// kept is a machine that is kept warm until the test ends.
func keptWarm(t *testing.T, l *Libvirt, operation string) engine.Object {
	t.Helper()
	o, err := l.Apply(t.Context(), providers.Call{
		Operation: operation, Address: ready, Gen: 1, Want: want(engine.KindWarm, engine.VM{CPUs: 1, Memory: engine.MiB}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nothingLeft(t, l) })
	return o
}

func taking(n int, operation string) providers.Call {
	return providers.Call{Operation: operation, Address: machine(n), Gen: 1, Want: want(engine.KindVM, engine.VM{CPUs: 1, Memory: engine.MiB})}
}

// A warm machine becomes another in one step: the domain and all that is in it stays,
// and everything that finds a machine finds it.
func TestAWarmMachineBecomesAnother(t *testing.T) {
	l := simulated(t)
	warm := keptWarm(t, l, "r1-s1")
	presence(t, l, warm, engine.Present, "")
	call := taking(3, "r2-s1")
	presence(t, l, call.Object(call.Want), engine.Gone, "")
	o, err := l.Take(t.Context(), call, warm)
	if err != nil {
		t.Fatal(err)
	}
	if o.Attr("address") != warm.Attr("address") || !strings.HasSuffix(o.ID(), "#vm.node%5B3%5D") {
		t.Errorf("it is %s at %s, and was at %s", o.ID(), o.Attr("address"), warm.Attr("address"))
	}
	presence(t, l, warm, engine.Gone, "")
	presence(t, l, o, engine.Present, "")
	again, err := l.Take(t.Context(), call, warm) // flowctl was killed meanwhile, say
	if err != nil || again.ID() != o.ID() {
		t.Errorf("again: %s, %v", again.ID(), err)
	}

	// Whoever knows nothing of what this process has done finds it, too.
	other := New(l.settings)
	defer other.Close()
	presence(t, other, o, engine.Present, "")
	objects, err := other.List(t.Context())
	if err != nil || len(objects) != 1 || objects[0].Address != machine(3) || objects[0].Operation != "r2-s1" {
		t.Errorf("list: %v, %v", objects, err)
	}
	fresh := New(l.settings)
	defer fresh.Close()
	if usage, err := fresh.Usage(t.Context(), []engine.Object{o}); err != nil || len(usage) != 1 || usage[0].Address != machine(3) {
		t.Errorf("usage: %v, %v", usage, err)
	}
	if err := errors.Join(fresh.Suspend(t.Context(), o), fresh.TakeSnapshot(t.Context(), o, "first")); err != nil {
		t.Error(err)
	}
	presence(t, l, o, engine.Down, "paused")
	if o, err = l.Apply(t.Context(), providers.Call{Operation: "r3-s1", Address: machine(3), Gen: 1, Want: o.Value, Prior: &o}); err != nil {
		t.Error(err)
	}
	presence(t, l, o, engine.Present, "")

	// The next warm one has its address and generation, and yet a domain of its own.
	next := keptWarm(t, l, "r2-s2")
	if next.Attr("address") == o.Attr("address") {
		t.Error("two machines have one address")
	}
	presence(t, l, next, engine.Present, "")
	if _, err := l.Take(t.Context(), taking(4, "r4-s1"), next); err != nil {
		t.Error(err)
	}
	if err := l.Delete(t.Context(), o, "r5-s1"); err != nil {
		t.Error(err)
	}
	presence(t, l, o, engine.Gone, "")
	if objects, err := l.List(t.Context()); err != nil || len(objects) != 1 || objects[0].Address != machine(4) {
		t.Errorf("list: %v, %v", objects, err)
	}
}

// What does not run, or is not there, becomes nothing; nor is a machine made twice.
func TestAWarmMachineThatIsNotFit(t *testing.T) {
	l := simulated(t)
	warm := keptWarm(t, l, "r1-s1")
	h, err := l.hypervisor()
	if err != nil {
		t.Fatal(err)
	}
	made(t, l, 0)
	if _, err := l.Take(t.Context(), taking(0, "r2-s1"), warm); !errors.Is(err, providers.ErrNotFound) {
		t.Errorf("a machine that is there: %v", err)
	}
	name, err := l.domainOf(h, warm)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Stop(name); err != nil {
		t.Fatal(err)
	}
	presence(t, l, warm, engine.Down, "shut off")
	if _, err := l.Take(t.Context(), taking(1, "r3-s1"), warm); !errors.Is(err, providers.ErrNotFound) {
		t.Errorf("one that does not run: %v", err)
	}
	if warm, err = l.Apply(t.Context(), providers.Call{Operation: "r4-s1", Address: ready, Gen: 1, Want: warm.Value, Prior: &warm}); err != nil {
		t.Error(err)
	}
	presence(t, l, warm, engine.Present, "")
	if err := l.Delete(t.Context(), warm, "r5-s1"); err != nil {
		t.Error(err)
	}
	if _, err := l.Take(t.Context(), taking(1, "r6-s1"), warm); !errors.Is(err, providers.ErrNotFound) {
		t.Errorf("one that is gone: %v", err)
	}
}

// The disk of a warm machine that was not finished goes when the next is made.
func TestAWarmMachineThatWasNotFinished(t *testing.T) {
	l := simulated(t)
	h, err := l.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.makeDisk(h, providers.Ref{Address: ready, Gen: 1, Operation: "r1-s1"}, engine.VM{CPUs: 1, Memory: engine.MiB}, nil); err != nil {
		t.Fatal(err)
	}
	keptWarm(t, l, "r2-s1")
	volumes, err := h.Volumes(l.cfg.Pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes {
		if strings.HasPrefix(v.Name, l.settings.Flow+".") && strings.Contains(v.Name, "r1-s1") {
			t.Errorf("volume %s is left", v.Name)
		}
	}
}
