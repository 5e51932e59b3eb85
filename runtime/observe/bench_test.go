package observe

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/providers"
)

// large is a collector that watches n functions of 10 replicas, each with a
// frontend and a rule of two metrics, and what their provider reports.
func large(b *testing.B, n int) (*Collector, func(second int) []providers.Usage) {
	var objects []engine.Object
	var rules []Watched
	for i := range n {
		function, front := engine.Addr(engine.KindFunction, fmt.Sprintf("f%d", i)), engine.Addr(engine.KindFrontend, fmt.Sprintf("f%d", i))
		f := engine.DefaultsOf[engine.Frontend]()
		f.To = function
		objects = append(objects, engine.Object{Address: front, Provider: "all", Value: engine.Encode(f)})
		s := engine.DefaultsOf[engine.Scaling]()
		s.Target, s.Min, s.Max = function, 1, 20
		for _, name := range []string{"rps", "cpu"} {
			m := engine.DefaultsOf[engine.Metric]()
			m.Name, m.Target = name, 1
			s.Metrics = append(s.Metrics, m)
		}
		r, problems := rule.Of(function.Name, s)
		if len(problems) > 0 {
			b.Fatal(problems)
		}
		rules = append(rules, Watched{Rule: r, Metrics: s.Metrics})
	}
	c := &Collector{Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	c.Objects(objects)
	c.Watch(rules)
	return c, func(second int) []providers.Usage {
		var all []providers.Usage
		for i, o := range objects {
			all = append(all, providers.Usage{Address: o.Address, Requests: uint64(100 * second)})
			for k := range 10 {
				replica := rules[i].Rule.Target.At(k)
				all = append(all, providers.Usage{Address: replica, CPUCores: 0.5}, providers.Usage{Address: engine.BackendOf(o.Address, replica), Requests: uint64(10 * second)})
			}
		}
		return all
	}
}

// One reading of everything, as the collector takes it up each second.
func BenchmarkDerive(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("%d functions", n), func(b *testing.B) {
			c, usage := large(b, n)
			at, second := time.Unix(0, 0), 0
			report := usage(1)
			for b.Loop() {
				second++
				c.derive("all", readingOf(at.Add(time.Duration(second)*time.Second), report, c.latest["all"]))
			}
		})
	}
}

// What all rules ask for when they are evaluated.
func BenchmarkSamples(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("%d functions", n), func(b *testing.B) {
			c, usage := large(b, n)
			for second := range 60 {
				c.derive("all", readingOf(time.Unix(int64(second), 0), usage(second), c.latest["all"]))
			}
			for b.Loop() {
				for i := range n {
					c.Samples(fmt.Sprintf("f%d", i))
				}
			}
		})
	}
}
