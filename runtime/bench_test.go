package runtime_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/runtime"
)

// shapes are the flows that plans are measured with.
var shapes = map[string]func(n int) string{
	"flat": func(n int) string {
		return fmt.Sprintf("flow \"bench\" {}\nvm \"n\" {\n count = %d\n cpus = 1\n memory = \"1GiB\"\n}\n", n)
	},
	"layered": func(n int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "flow \"bench\" {}\nlocals {\n keys = toset([for i in range(%[1]d) : \"k${i}\"])\n next = { for i in range(%[1]d) : \"k${i}\" => \"k${(i + 1) %% %[1]d}\" }\n}\n", n/10)
		for l := range 10 {
			labels := ""
			if l > 0 {
				labels = fmt.Sprintf(" labels = { a = vm.l%[1]d[each.key][0].id, b = vm.l%[1]d[local.next[each.key]][0].id }\n", l-1)
			}
			fmt.Fprintf(&b, "vm \"l%d\" {\n for_each = local.keys\n cpus = 1\n memory = \"1GiB\"\n%s}\n", l, labels)
		}
		return b.String()
	},
	"chain": func(n int) string {
		var b strings.Builder
		b.WriteString("flow \"bench\" {}\n")
		for i := range n {
			labels := ""
			if i > 0 {
				labels = fmt.Sprintf(" labels = { p = vm.c%d[0].id }\n", i-1)
			}
			fmt.Fprintf(&b, "vm \"c%d\" {\n cpus = 1\n memory = \"1GiB\"\n%s}\n", i, labels)
		}
		return b.String()
	},
}

func BenchmarkPlan(b *testing.B) {
	for _, c := range []struct {
		shape string
		n     int
	}{{"flat", 1000}, {"flat", 10000}, {"layered", 1000}, {"layered", 10000}, {"chain", 1000}} {
		text := shapes[c.shape](c.n)
		b.Run(fmt.Sprintf("new/%s/%d", c.shape, c.n), func(b *testing.B) {
			l := newLab(b)
			b.ReportAllocs()
			for b.Loop() {
				l.plan(load(b, text))
			}
		})
		b.Run(fmt.Sprintf("no-op/%s/%d", c.shape, c.n), func(b *testing.B) {
			l := newLab(b)
			l.apply(load(b, text))
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				if p := l.plan(load(b, text)); !p.Plan.Empty() {
					b.Fatal("not empty")
				}
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	for _, n := range []int{500, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				l := newLab(b)
				d := load(b, shapes["flat"](n))
				b.StartTimer()
				if _, err := l.try(runtime.Request{Desired: d}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/task")
		})
	}
}
