package spec_test

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/spec"
	"github.com/zclconf/go-cty/cty"
)

// counted is one block of 10,000 instances.
const counted = `
flow "counted" {}
vm "node" {
  cpus   = 1
  memory = "64MiB"
  count  = 10000
}
`

// layered makes 10 layers of width machines with for_each, each with two
// references to the layer below.
func layered(width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "flow \"layered\" {}\nlocals {\n  names = [for i in range(%d) : format(\"m%%04d\", i)]\n", width)
	fmt.Fprintf(&b, "  keys = toset(local.names)\n  next = { for i, n in local.names : n => local.names[(i + 1) %% %d] }\n}\n", width)
	for layer := range 10 {
		fmt.Fprintf(&b, "vm \"l%d\" {\n  for_each = local.keys\n  cpus = 1\n  memory = \"64MiB\"\n", layer)
		if layer > 0 {
			fmt.Fprintf(&b, "  labels = { a = vm.l%[1]d[each.key][0].id, b = vm.l%[1]d[local.next[each.key]][0].id }\n", layer-1)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// chained makes n blocks, each of which refers to the one before.
func chained(n int) string {
	var b strings.Builder
	b.WriteString("flow \"chained\" {}\nvm \"m0\" {\n  cpus = 1\n  memory = \"64MiB\"\n}\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "vm \"m%d\" {\n  cpus = 1\n  memory = \"64MiB\"\n  labels = { before = vm.m%d[0].id }\n}\n", i, i-1)
	}
	return b.String()
}

// separate makes n blocks that do not know of each other.
func separate(n int) string {
	var b strings.Builder
	b.WriteString("flow \"separate\" {}\n")
	for i := range n {
		fmt.Fprintf(&b, "vm \"m%d\" {\n  cpus = 1\n  memory = \"64MiB\"\n}\n", i)
	}
	return b.String()
}

func bundleOf(text string) spec.Bundle {
	return spec.Bundle{Path: ".", Dir: "/flow", Files: []spec.File{{Name: "main.hcl", Bytes: []byte(text)}}}
}

func mustLoad(tb testing.TB, text string) engine.Desired {
	tb.Helper()
	d, diags := spec.Load(bundleOf(text), options())
	if diags.HasErrors() {
		tb.Fatal(diags.Err())
	}
	return d
}

func benchmarkLoad(b *testing.B, text string, decls int) {
	bundle, opts := bundleOf(text), options()
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		d, diags := spec.Load(bundle, opts)
		if diags.HasErrors() {
			b.Fatal(diags.Err())
		}
		if len(d.Decls) != decls {
			b.Fatalf("%d declarations, want %d", len(d.Decls), decls)
		}
	}
}

func BenchmarkLoadCounted(b *testing.B)  { benchmarkLoad(b, counted, 1) }
func BenchmarkLoadLayered(b *testing.B)  { benchmarkLoad(b, layered(1000), 10000) }
func BenchmarkLoadChained(b *testing.B)  { benchmarkLoad(b, chained(1000), 1000) }
func BenchmarkLoadSeparate(b *testing.B) { benchmarkLoad(b, separate(10000), 10000) }

// reportCPU reports the processor time of each round, collecting garbage
// included: on a busy machine it is steadier than the clock.
func reportCPU(b *testing.B) func() {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64((used()-before).Nanoseconds())/float64(b.N), "cpu-ns/op") }
}

// BenchmarkLiveLayered measures what a loaded flow keeps in memory.
func BenchmarkLiveLayered(b *testing.B) {
	text := layered(1000)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		d := mustLoad(b, text)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "live-MB")
		runtime.KeepAlive(d)
	}
}

// allMade is a world in which every machine has an id.
type allMade map[engine.Address]cty.Value

func (m allMade) Value(a engine.Address) cty.Value {
	if v, ok := m[a]; ok {
		return v
	}
	v := cty.ObjectVal(map[string]cty.Value{"id": cty.StringVal(a.String()), "address": cty.StringVal("127.0.0.1")})
	if _, ok := a.Index(); !ok {
		v = cty.TupleVal([]cty.Value{v})
	}
	m[a] = v
	return v
}

// BenchmarkEvalLayered evaluates one instance with two references.
func BenchmarkEvalLayered(b *testing.B) {
	d := mustLoad(b, layered(1000))
	decls := d.Decls[len(d.Decls)/2:]
	world := allMade{}
	for _, decl := range decls { // warm up the world
		if _, diags := decl.Config.Eval(world); diags.HasErrors() {
			b.Fatal(diags.Err())
		}
	}
	b.ReportAllocs()
	defer reportCPU(b)()
	i := 0
	for b.Loop() {
		decls[i%len(decls)].Config.Eval(world)
		i++
	}
}
