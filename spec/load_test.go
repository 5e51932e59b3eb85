package spec_test

import (
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/spec"
)

type simSettings struct {
	Latency engine.Duration `flow:"latency" default:"0s" doc:"X."`
}

func options() spec.Options {
	return spec.Options{
		Providers: map[string]*engine.Schema{
			"local": engine.SchemaOf[struct{}](), "sim": engine.SchemaOf[simSettings](),
			"embedded": engine.SchemaOf[struct{}](), "builtin": engine.SchemaOf[struct{}](),
		},
		DefaultProvider: "local", Builtin: "builtin", Balancer: "embedded",
	}
}

func TestTwoTierLoads(t *testing.T) {
	b, diags := spec.Read(spec.Request{Path: "../examples/two-tier.hcl"})
	d, more := spec.Load(b, options())
	for _, x := range append(diags, more...) {
		t.Log(x)
	}
	for _, x := range d.Decls {
		t.Log(x.Address, x.Provider, x.Needs)
	}
	t.Logf("%+v", d.Functions)
	t.Logf("%+v", d.Machines)
}
