package spec_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/spec"
)

// TestDepth loads texts that would need a stack of gigabytes.
func TestDepth(t *testing.T) {
	const n = 20_100 // just above what is harmless (400,000 do end a process that does not look)
	for name, expr := range map[string]string{
		"parentheses": strings.Repeat("(", n) + "1" + strings.Repeat(")", n),
		"lists":       strings.Repeat("[", n) + strings.Repeat("]", n),
		"objects":     strings.Repeat("{a=", n) + "1" + strings.Repeat("}", n),
		"templates":   strings.Repeat(`"${`, n) + "1" + strings.Repeat(`}"`, n),
		"signs":       strings.Repeat("-", n) + "1",
		"negations":   strings.Repeat("!", n) + "true",
		"sums":        strings.Repeat("1+", n) + "1",
		"lines":       "(" + strings.Repeat("1\n+", n) + "1)",
		"conditions":  strings.Repeat("true?1:", n) + "1",
		"indexes":     "var.a" + strings.Repeat("[var.a]", n),
		"splats":      "var.a" + strings.Repeat("[*]", n),
		"directives":  `"` + strings.Repeat("%{if true}", n) + strings.Repeat("%{endif}", n) + `"`,
		"unclosed":    strings.Repeat("(", n),
		"calls":       strings.Repeat("abs(", n),
	} {
		t.Run(name, func(t *testing.T) {
			b := bundleOf("flow \"x\" {}\nlocals {\n  a = " + expr + "\n}\n")
			_, ds := spec.Load(b, options())
			if !ds.HasErrors() || ds[0].Summary != "Nested too deeply" {
				t.Errorf("findings: %.200s", fmt.Sprint(ds))
			}
			if _, ds := spec.Format(b.Files[0]); !ds.HasErrors() {
				t.Error("formatted")
			}
			spec.FlowName(b)
		})
	}
	t.Run("blocks", func(t *testing.T) {
		_, ds := spec.Load(bundleOf(strings.Repeat("flow \"x\" {\n", n)), options())
		if !ds.HasErrors() || ds[0].Summary != "Nested too deeply" {
			t.Errorf("findings: %.200s", fmt.Sprint(ds))
		}
	})
	t.Run("option", func(t *testing.T) {
		b := bundleOf("flow \"x\" {}\nvariable \"a\" { type = list(string) }\n")
		b.Args = []spec.Assignment{{Name: "a", Value: strings.Repeat("[", n), From: "-var a"}}
		if _, ds := spec.Load(b, options()); !ds.HasErrors() {
			t.Error("no finding")
		}
	})
}

// TestBreadth loads texts that are large, but not deep.
func TestBreadth(t *testing.T) {
	const n = 8000
	for name, text := range map[string]string{
		"list":      "locals {\n  a = [" + strings.Repeat("-1, ", n) + "]\n}\n",
		"lines":     "locals {\n  a = {\n" + manyLines(n) + "  }\n}\n",
		"templates": "locals {\n  a = <<EOT\n" + strings.Repeat("${1}%{ if true }x%{ endif }\n", n) + "EOT\n}\n",
		"locals":    "locals {\n  l0 = 1\n" + chainOfLocals(n) + "}\n",
		"outputs":   outputs(3000),
	} {
		t.Run(name, func(t *testing.T) {
			if _, ds := spec.Load(bundleOf("flow \"x\" {}\n"+text), options()); ds.HasErrors() {
				t.Errorf("findings: %.300s", ds.Err())
			}
		})
	}
}

func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "    k%d = [1 + 2, -%d]\n", i, i)
	}
	return b.String()
}

func chainOfLocals(n int) string {
	var b strings.Builder
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "  l%d = local.l%d\n", i, i-1)
	}
	return b.String()
}

func outputs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "output \"o%d\" { value = %d }\n", i, i)
	}
	return b.String()
}

// TestManyFaults loads a flow in which everything is wrong.
func TestManyFaults(t *testing.T) {
	var b strings.Builder
	b.WriteString("flow \"x\" {}\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "vm \"machine%d\" {\n  cpus = var.some_variable_%d\n  memory = \"1GiB\"\n  labels = { a = vm.mchine%d[0].idd }\n}\n", i, i, i)
	}
	_, ds := spec.Load(bundleOf(b.String()), options())
	if len(ds) != 2000 {
		t.Errorf("%d findings", len(ds))
	}
}

// TestTooManyInstances asks for more block instances than a flow takes.
func TestTooManyInstances(t *testing.T) {
	t.Chdir(t.TempDir())
	var keys strings.Builder
	for i := range 200_001 {
		fmt.Fprintf(&keys, "k%d,", i)
	}
	write(t, "keys.txt", strings.TrimSuffix(keys.String(), ","))
	write(t, "main.hcl", "flow \"x\" {}\ntask \"t\" {\n  for_each = toset(split(\",\", file(\"keys.txt\")))\n  exec = [each.key]\n}\n")
	b, ds := spec.Read(spec.Request{})
	if ds.HasErrors() {
		t.Fatal(ds.Err())
	}
	_, ds = spec.Load(b, options())
	if len(ds) != 1 || ds[0].Summary != "Invalid for_each" {
		t.Errorf("findings: %.300v", ds)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
