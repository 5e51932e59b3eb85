package observe_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/observe"
)

// The load of the machines is that of the least loaded one that the function is on,
// as a share of what it has; machines that are not measured do not count.
func TestTheLeastLoadedMachineCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := engine.Addr(engine.KindVM, "node")
		on := func(i, machine int) engine.Object {
			return engine.Object{Address: web.At(i), Provider: "machines", Value: engine.Encode(engine.Replica{Machine: node.At(machine).String()})}
		}
		objects := []engine.Object{on(0, 0), on(1, 1), on(2, 2)}
		for i := range 4 {
			objects = append(objects, engine.Object{Address: node.At(i), Provider: "machines", Value: engine.Encode(engine.VM{CPUs: 4, Memory: engine.GiB})})
		}
		s := source{"machines": {usage: func(context.Context) ([]providers.Usage, error) {
			return []providers.Usage{
				{Address: node.At(0), CPUCores: 3, MemoryBytes: 1 << 29}, {Address: node.At(1), CPUCores: 2, MemoryBytes: 1 << 28},
				{Address: node.At(3), CPUCores: 0.1}, // nothing of the function is there
				{Address: web.At(0), CPUCores: 1},
			}, nil
		}}}
		c := &observe.Collector{Providers: s, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
		of := func(m *engine.Metric) { m.Source, m.Target, m.Utilisation = "machine", 0, 0.8 }
		c.Watch([]observe.Watched{watched(metric("cpu", of), metric("memory", of))})
		c.Objects(objects)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); c.Run(ctx) }()
		after(2500 * time.Millisecond)
		stop()
		<-ended
		got := c.Samples("web")
		if cpu, memory := last(got["cpu"]), last(got["memory"]); cpu != 0.5 || memory != 0.25 {
			t.Errorf("cpu %v, memory %v; want 0.5 and 0.25", cpu, memory)
		}
	})
}
