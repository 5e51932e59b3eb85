package observe

import (
	"context"
	"errors"
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
	Took      func(Reading) // is told of each sample as it is taken, and must not block; nil for nobody

	mu       sync.Mutex
	objects  map[string][]engine.Object          // by provider
	targets  map[engine.Address][]engine.Address // of frontends: the functions
	homes    homes
	metrics  []metric
	series   map[string]map[string]*series // by rule and metric
	latest   map[string]reading            // by provider
	trouble  map[string]string             // by source: why it gives nothing, "" if it does
	hanging  map[string]bool               // sources that are being read
	watching context.CancelFunc            // ends the readers, to begin with others
	fresh    chan struct{}                 // has room for one; made when it is first needed
}

// Objects says what exists now: what providers are asked about.
func (c *Collector) Objects(objects []engine.Object) {
	targets := map[engine.Address][]engine.Address{}
	by := map[string][]engine.Object{}
	for name, n := range counted(objects) {
		by[name] = make([]engine.Object, 0, n) // there is an entry, though nothing in it is to be measured
	}
	for _, o := range tasks.Reachable(objects, nil) {
		if o.Address.Kind == engine.KindFrontend {
			targets[o.Address] = engine.MustDecode[engine.Frontend](o.Value).Targets()
		}
		if o.Kept.IsZero() { // what is kept for a rollback serves nobody
			by[o.Provider] = append(by[o.Provider], o)
		}
	}
	homes := homesOf(objects)
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.providerNames()
	c.objects, c.targets, c.homes = by, targets, homes
	if c.watching != nil && !slices.Equal(known, c.providerNames()) {
		c.watching() // begin anew, with the others, too
	}
}

// counted tells how many objects each provider has.
func counted(objects []engine.Object) map[string]int {
	n := map[string]int{}
	for i := range objects {
		n[objects[i].Provider]++
	}
	return n
}

// Watch says what is to be measured from now on. Samples of metrics that stay are
// kept.
func (c *Collector) Watch(rules []Watched) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.series
	c.series, c.metrics = make(map[string]map[string]*series, len(rules)), nil
	for _, w := range rules {
		own := map[string]*series{}
		c.series[w.Rule.Name] = own
		for _, m := range metricsOf(w) {
			c.metrics = append(c.metrics, m)
			if m.rule == "" {
				continue
			}
			s := old[m.rule][m.Name]
			if s == nil {
				s = &series{}
			}
			s.keep = m.keep(w)
			own[m.Name] = s
		}
	}
	if c.watching != nil {
		c.watching()
	}
}

// Reading is one sample as it was taken.
type Reading struct {
	Function engine.Address
	Metric   string
	decide.Sample
}

// Recall takes up samples of earlier, in the order of time, for the rule of a
// function.
func (c *Collector) Recall(rule string, past []Reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.series[rule] {
		since := s.samples // measured meanwhile
		s.samples = nil
		for _, r := range past {
			if r.Metric == name && (len(since) == 0 || r.At.Before(since[0].At)) {
				s.add(r.Sample)
			}
		}
		s.samples = append(s.samples, since...)
	}
}

// Fresh tells that samples of rules were taken; those that come before somebody
// looks are told as one.
func (c *Collector) Fresh() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.news()
}

// news is the channel of Fresh. The caller holds mu.
func (c *Collector) news() chan struct{} {
	if c.fresh == nil {
		c.fresh = make(chan struct{}, 1)
	}
	return c.fresh
}

// Newest is when the newest sample of a rule was taken; zero without one.
func (c *Collector) Newest(rule string) (at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.series[rule] {
		if all := s.samples; len(all) > 0 && all[len(all)-1].At.After(at) {
			at = all[len(all)-1].At
		}
	}
	return at
}

// take adds a sample of a metric. The caller holds mu.
func (c *Collector) take(m metric, x decide.Sample) {
	if m.rule != "" {
		if s := c.series[m.rule][m.Name]; s == nil || !s.add(x) {
			return
		}
		select {
		case c.news() <- struct{}{}:
		default: // told already
		}
	}
	if c.Took != nil {
		c.Took(Reading{m.function, m.Name, x})
	}
}

// Samples are those of a rule, by metric. They are not to be changed.
func (c *Collector) Samples(rule string) map[string][]decide.Sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string][]decide.Sample, len(c.series[rule]))
	for name, s := range c.series[rule] {
		all[name] = s.all()
	}
	return all
}

// Usage is what was measured last of every object.
func (c *Collector) Usage() map[engine.Address]providers.Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[engine.Address]providers.Usage{}
	for _, r := range c.latest {
		for _, u := range r.usage {
			all[u.Address] = u
		}
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
func (c *Collector) providerNames() []string { return slices.Sorted(maps.Keys(c.objects)) }

// every reads a source again and again. One reading may take as long as the time
// between two, and a second at least.
func (c *Collector) every(ctx context.Context, interval time.Duration, name string, read func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, max(interval, time.Second))
		err := c.ask(one, name, read)
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

// heedless is how long after its time a reading may go on before it is left alone.
const heedless = 100 * time.Millisecond

// ask reads a source, and leaves one alone that does not return in its time: what
// it says later is still taken, and until then it is not asked again.
func (c *Collector) ask(ctx context.Context, name string, read func(context.Context) error) error {
	c.mu.Lock()
	hangs := c.hanging[name]
	if c.hanging == nil {
		c.hanging = map[string]bool{}
	}
	c.hanging[name] = true
	c.mu.Unlock()
	if hangs {
		return errHangs
	}
	said := make(chan error, 1)
	go func() { // not awaited where it heeds no context: nothing could be
		err := read(ctx)
		c.mu.Lock()
		delete(c.hanging, name)
		c.mu.Unlock()
		said <- err
	}()
	select {
	case err := <-said:
		return err
	case <-ctx.Done():
	}
	late := time.NewTimer(heedless)
	defer late.Stop()
	select {
	case err := <-said:
		return err
	case <-late.C:
		return errHangs
	}
}

var errHangs = errors.New("it has not answered for long, and does not stop when it is told to")

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
	c.take(m, decide.Sample{At: c.Now(), Value: v})
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
	mine, was := c.objects[name], c.latest[name]
	c.mu.Unlock()
	usage, err := meter.Usage(ctx, mine)
	if err != nil && len(usage) == 0 {
		return err
	}
	c.derive(name, readingOf(c.Now(), usage, was))
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
	traffic := trafficOf(c.targets, was, is)
	for _, m := range c.metrics {
		if m.source != "" {
			continue
		}
		if m.machine {
			if v, ok := c.homes.leastLoaded(m, is, c.latest, is.at.Add(-2*Interval)); ok {
				c.take(m, decide.Sample{At: is.at, Value: v})
			}
			continue
		}
		if m.Name == "cpu" || m.Name == "memory" {
			if _, tells := is.loads[m.function]; !tells {
				continue
			}
			if x, ok := loadOf(m.function, c.latest, is.at.Add(-2*Interval)).sample(m, is.at); ok {
				c.take(m, x)
			}
			continue
		}
		t, ok := traffic[m.function]
		if !ok {
			continue
		}
		if v, ok := t.value(m.Name); ok {
			c.take(m, decide.Sample{At: is.at, Value: v})
		}
	}
}
