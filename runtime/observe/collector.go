package observe

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/tasks"
)

// Interval is the time between two readings of what providers measure.
const Interval = time.Second

// Collector measures what rules need. Its methods may be called while it runs.
type Collector struct {
	Providers tasks.Source
	Now       func() time.Time
	Log       *slog.Logger

	mu       sync.Mutex
	objects  []engine.Object
	targets  map[engine.Address][]engine.Address // of frontends: the functions
	metrics  []metric
	series   map[key]*series
	latest   map[string]reading // by provider
	trouble  map[string]string  // by source: why it gives nothing, "" if it does
	watching context.CancelFunc // ends the readers, to begin with others
}

// Objects says what exists now: what providers are asked about.
func (c *Collector) Objects(objects []engine.Object) {
	targets := map[engine.Address][]engine.Address{}
	for _, o := range objects {
		if o.Address.Kind == engine.KindFrontend {
			targets[o.Address] = engine.MustDecode[engine.Frontend](o.Value).Targets()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.providerNames()
	c.objects, c.targets = objects, targets
	if c.watching != nil && !slices.Equal(known, c.providerNames()) {
		c.watching() // begin anew, with the others, too
	}
}

// Watch says what is to be measured from now on. Samples of metrics that stay are
// kept.
func (c *Collector) Watch(rules []Watched) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.series
	c.series, c.metrics = map[key]*series{}, nil
	for _, w := range rules {
		for _, m := range metricsOf(w) {
			s := old[m.key()]
			if s == nil {
				s = &series{}
			}
			s.keep = m.keep(w)
			c.metrics = append(c.metrics, m)
			c.series[m.key()] = s
		}
	}
	if c.watching != nil {
		c.watching()
	}
}

// Samples are those of a rule, by metric. They are not to be changed.
func (c *Collector) Samples(rule string) map[string][]decide.Sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string][]decide.Sample{}
	for k, s := range c.series {
		if k.rule == rule {
			all[k.metric] = slices.Clone(s.samples)
		}
	}
	return all
}

// Usage is what was measured last of every object.
func (c *Collector) Usage() map[engine.Address]providers.Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[engine.Address]providers.Usage{}
	for _, r := range c.latest {
		maps.Copy(all, r.usage)
	}
	return all
}

// Trouble tells why sources give nothing, by their names.
func (c *Collector) Trouble() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]string{}
	maps.Copy(all, c.trouble)
	return all
}

// Run measures until ctx ends.
func (c *Collector) Run(ctx context.Context) {
	for ctx.Err() == nil {
		round, stop := context.WithCancel(ctx)
		c.mu.Lock()
		c.watching = stop
		metrics, names := slices.Clone(c.metrics), c.providerNames()
		c.mu.Unlock()
		var wg sync.WaitGroup
		for _, name := range names {
			wg.Go(func() {
				c.every(round, Interval, "provider "+name, func(ctx context.Context) error { return c.read(ctx, name) })
			})
		}
		for _, m := range metrics {
			if m.source != "" {
				wg.Go(func() {
					c.every(round, m.every, m.rule+"."+m.Name, func(ctx context.Context) error { return c.query(ctx, m) })
				})
			}
		}
		wg.Wait()
		<-round.Done() // with nothing to read, too
		stop()
	}
}

// providerNames lists the providers of what exists. The caller holds mu.
func (c *Collector) providerNames() []string {
	names := map[string]bool{}
	for _, o := range c.objects {
		names[o.Provider] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// every reads a source again and again. One reading may take as long as the time
// between two, and a second at least.
func (c *Collector) every(ctx context.Context, interval time.Duration, name string, read func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, max(interval, time.Second))
		err := read(one)
		cancel()
		if ctx.Err() != nil {
			return
		}
		c.report(name, err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// report logs a source that begins or ends to give nothing.
func (c *Collector) report(name string, err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.trouble[name]
	if was == why {
		return
	}
	if c.trouble == nil {
		c.trouble = map[string]string{}
	}
	if why == "" {
		delete(c.trouble, name)
		c.Log.Info("source answers again", "source", name)
		return
	}
	c.trouble[name] = why
	if was == "" {
		c.Log.Warn("source gives nothing", "source", name, "err", err)
	}
}

// query reads one metric.
func (c *Collector) query(ctx context.Context, m metric) error {
	v, err := m.ask(ctx, c.Now())
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.series[m.key()]; s != nil {
		s.add(decide.Sample{At: c.Now(), Value: v})
	}
	return nil
}

// read asks one provider what its objects use, and derives the metrics of which
// that is a part.
func (c *Collector) read(ctx context.Context, name string) error {
	p, err := c.Providers.Get(ctx, name)
	if err != nil {
		return err
	}
	meter, ok := providers.As[providers.Meter](p)
	if !ok {
		return nil
	}
	c.mu.Lock()
	mine := make([]engine.Object, 0, len(c.objects))
	for _, o := range c.objects {
		if o.Provider == name && o.Kept.IsZero() { // what is kept for a rollback serves nobody
			mine = append(mine, o)
		}
	}
	c.mu.Unlock()
	usage, err := meter.Usage(ctx, mine)
	if err != nil && len(usage) == 0 {
		return err
	}
	is := reading{c.Now(), make(map[engine.Address]providers.Usage, len(usage))}
	for _, u := range usage {
		is.usage[u.Address] = u
	}
	c.derive(name, is)
	return err
}

// derive takes the samples of a new reading.
func (c *Collector) derive(name string, is reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.latest == nil {
		c.latest = map[string]reading{}
	}
	was := c.latest[name]
	c.latest[name] = is
	for _, m := range c.metrics {
		if m.source != "" {
			continue
		}
		s := c.series[m.key()]
		if m.Name == "cpu" || m.Name == "memory" {
			if !tells(is, m.function) {
				continue
			}
			if x, ok := loadOf(m.function, c.latest, is.at.Add(-2*Interval)).sample(m, is.at); ok {
				s.add(x)
			}
			continue
		}
		t, ok := trafficOf(m.function, c.targets, was, is)
		if !ok {
			continue
		}
		if v, ok := t.value(m.Name); ok {
			s.add(decide.Sample{At: is.at, Value: v})
		}
	}
}

// tells reports whether a reading has replicas of a function in it.
func tells(r reading, function engine.Address) bool {
	for a := range r.usage {
		if a.Kind == engine.KindFunction && a.Group() == function {
			return true
		}
	}
	return false
}
