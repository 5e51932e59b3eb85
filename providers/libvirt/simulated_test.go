//go:build libvirt_dlopen && cgo

package libvirt

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

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
	l := simulated(t)
	providertest.Run(t, providertest.Case{
		Name: "vm", Provider: l, Address: machine,
		Want: func(*testing.T, int) cty.Value { return want(engine.KindVM, engine.VM{CPUs: 1, Memory: engine.MiB}) },
		Change: func(v cty.Value) cty.Value {
			return engine.With(v, map[string]cty.Value{"slots": cty.NumberIntVal(3)})
		},
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

// nothingLeft cleans up like the end of a destroy, and fails if that leaves anything.
func nothingLeft(t *testing.T, l *Libvirt) {
	t.Helper()
	if err := l.Clean(context.WithoutCancel(t.Context()), true); err != nil {
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
