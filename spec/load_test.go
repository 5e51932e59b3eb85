package spec_test

import (
	"path/filepath"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/spec"
)

type simSettings struct {
	Latency engine.Duration `flow:"latency" default:"0s" doc:"How long everything takes."`
	Token   string          `flow:"token,sensitive" doc:"A secret."`
}

func options() spec.Options {
	return spec.Options{
		Providers: map[string]*engine.Schema{
			"local": engine.SchemaOf[struct{}](), "sim": engine.SchemaOf[simSettings](),
			"embedded": engine.SchemaOf[struct{}](), "builtin": engine.SchemaOf[struct{}](),
		},
		Warmers: map[string]bool{"sim": true}, DefaultProvider: "local", Builtin: "builtin", Balancer: "embedded",
	}
}

// withAll are the options for examples, which use providers that the tests of
// messages do without.
func withAll() spec.Options {
	o := options()
	o.Providers["docker"] = engine.SchemaOf[struct{}]()
	o.Providers["libvirt"] = engine.SchemaOf[struct{}]()
	return o
}

// TestExamplesLoad loads every example without a finding, and finds each in its
// canonical layout.
func TestExamplesLoad(t *testing.T) {
	paths, err := filepath.Glob("../examples/*.hcl")
	if err != nil || len(paths) == 0 {
		t.Fatal("no examples", err)
	}
	for _, path := range paths {
		b, ds := spec.Read(spec.Request{Path: path})
		d, more := spec.Load(b, withAll())
		for _, x := range append(ds, more...) {
			t.Errorf("%s: %s", path, x)
		}
		if d.Flow == "" || len(d.Decls) == 0 {
			t.Errorf("%s declares nothing", path)
		}
		formatted, ds := spec.Format(b.Files[0])
		if ds.HasErrors() || string(formatted) != string(b.Files[0].Bytes) {
			t.Errorf("%s is not formatted: %v", path, ds)
		}
	}
}
