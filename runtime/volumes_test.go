package runtime_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime"
)

const stored = `
flow "test" {}
vm "node" {
  cpus   = 2
  memory = "1GiB"
}
function "store" {
  on   = vm.node
  exec = ["store"]
  env  = { V = "1" }
  update {
    max_surge = 1
  }
  volume "/data" {
    name = "data"
  }
}
`

// Who alone writes to a volume is told when a successor will, too.
func TestVolumesWithTwoWriters(t *testing.T) {
	for _, c := range []struct {
		name  string
		edits []string
		warns bool
	}{
		{"a surge", nil, true},
		{"no surge", []string{"max_surge = 1", "max_surge = 0"}, false},
		{"read only", []string{`"data"`, "\"data\"\n    read_only = true"}, false},
		{"several replicas, who share it anyhow", []string{"update {", "replicas = 2\n  update {"}, false},
		{"its own volume", []string{`name = "data"`, ""}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := edit(t, stored, c.edits...)
			l := newLab(t)
			l.apply(load(t, text))
			_, diags, err := l.flow.Plan(context.Background(), runtime.Request{Desired: load(t, edit(t, text, `"1"`, `"2"`))})
			if err != nil {
				t.Fatal(err)
			}
			warned := tellsOfTwoWriters(diags)
			if warned != c.warns {
				t.Errorf("warned %v, want %v: %v", warned, c.warns, diags)
			}
		})
	}
}

func tellsOfTwoWriters(diags engine.Diagnostics) bool {
	return slices.ContainsFunc(diags, func(d engine.Diagnostic) bool {
		return strings.Contains(d.Detail, `both have the volume "data"`)
	})
}

// So it is when the successor is that of a restart, which lets none be missing.
func TestARestartWithTwoWritersWarns(t *testing.T) {
	for policy, warns := range map[string]bool{"max_unavailable = 0": true, "max_unavailable = 1": false} {
		l := newLab(t)
		d := load(t, edit(t, stored, "max_surge = 1", policy))
		l.apply(d)
		_, diags, err := l.flow.Order(context.Background(), runtime.OrderRequest{
			Action: engine.Restart, Targets: []engine.Address{engine.Addr(engine.KindFunction, "store")}, Desired: d,
		})
		if err != nil || diags.HasErrors() {
			t.Fatal(err, diags)
		}
		if warned := tellsOfTwoWriters(diags); warned != warns {
			t.Errorf("with %s: warned %v, want %v: %v", policy, warned, warns, diags)
		}
	}
}
