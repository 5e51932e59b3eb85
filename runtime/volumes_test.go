package runtime_test

import (
	"context"
	"strings"
	"testing"

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
			warned := false
			for _, d := range diags {
				warned = warned || strings.Contains(d.Detail, `both have the volume "data"`)
			}
			if warned != c.warns {
				t.Errorf("warned %v, want %v: %v", warned, c.warns, diags)
			}
		})
	}
}
