package observe_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/decide"
	"github.com/flowctl/flowctl/runtime/observe"
)

var (
	web   = engine.Addr(engine.KindFunction, "web")
	front = engine.Addr(engine.KindFrontend, "www")
)

// world is a provider of everything, whose numbers the test sets.
type world struct {
	providers.Provider
	usage func(ctx context.Context) ([]providers.Usage, error)
}

func (w *world) Usage(ctx context.Context, _ []engine.Object) ([]providers.Usage, error) {
	return w.usage(ctx)
}

// source finds worlds by name.
type source map[string]*world

func (s source) Get(_ context.Context, name string) (providers.Provider, error) {
	if w := s[name]; w != nil {
		return w, nil
	}
	return nil, errors.New("there is no such provider")
}

func watched(metrics ...engine.Metric) observe.Watched {
	s := engine.DefaultsOf[engine.Scaling]()
	s.Target, s.Min, s.Max, s.Every, s.Metrics = web, 1, 9, engine.Duration(time.Second), metrics
	r, _ := rule.Of("web", s)
	return observe.Watched{Rule: r, Metrics: metrics, Limit: engine.Capacity{CPU: 0.5, Memory: 100 * engine.MiB}}
}

func metric(name string, edit func(*engine.Metric)) engine.Metric {
	m := engine.DefaultsOf[engine.Metric]()
	m.Name, m.Target = name, 10
	if edit != nil {
		edit(&m)
	}
	return m
}

func last(all []decide.Sample) float64 {
	if len(all) == 0 {
		return -1
	}
	return all[len(all)-1].Value
}

func objects() []engine.Object {
	f := engine.DefaultsOf[engine.Frontend]()
	f.To = web
	return []engine.Object{
		{Address: front, Provider: "lb", Value: engine.Encode(f)},
		{Address: web.At(0), Provider: "machines", Value: engine.Encode(engine.Replica{})},
	}
}

// after lets time pass in a bubble.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// asked is a provider that notes what it is asked about.
type asked struct {
	providers.Provider
	of chan []engine.Object
}

func (a asked) Get(context.Context, string) (providers.Provider, error) { return a, nil }

func (a asked) Usage(_ context.Context, objects []engine.Object) ([]providers.Usage, error) {
	a.of <- objects
	return nil, nil
}

// Nobody is asked what replicas use on a machine that is suspended: none would answer.
func TestASuspendedMachineIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := asked{of: make(chan []engine.Object)}
		c := &observe.Collector{Providers: a, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
		node := engine.Object{Address: engine.Addr(engine.KindVM, "node").At(0), Provider: "maker", Lifecycle: engine.Suspended, Value: engine.Encode(engine.VM{ID: "one"})}
		there := engine.Object{Address: web.At(0), Provider: "runner", Value: engine.Encode(engine.Replica{MachineID: "one"})}
		other := engine.Object{Address: web.At(1), Provider: "runner", Value: engine.Encode(engine.Replica{MachineID: "two"})}
		c.Objects([]engine.Object{node, there, other})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); c.Run(ctx) }()
		for range 2 {
			for _, o := range <-a.of {
				if o.Address == there.Address {
					t.Error("its replica was asked for")
				}
			}
		}
		stop()
		for {
			select {
			case <-a.of:
				continue
			case <-done:
			}
			break
		}
	})
}

// Two providers are read each second; of each, its metrics follow. One that hangs
// holds up no other, and ends with its deadline.
func TestSourcesAreReadSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Uint64
		var hanging atomic.Bool
		s := source{
			"lb": {usage: func(context.Context) ([]providers.Usage, error) {
				return []providers.Usage{{Address: front, Requests: requests.Add(30), Failed: requests.Load() / 10, InFlight: 4, Queued: 3, P95: 200 * time.Millisecond}}, nil
			}},
			"machines": {usage: func(ctx context.Context) ([]providers.Usage, error) {
				if hanging.Load() {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return []providers.Usage{{Address: web.At(0), CPUCores: 0.25, MemoryBytes: 50 << 20}, {Address: web.At(1), CPUCores: 0.75, MemoryBytes: 100 << 20}}, nil
			}},
		}
		c := &observe.Collector{Providers: s, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
		share := metric("cpu", func(m *engine.Metric) { m.Target, m.Utilisation = 0, 0.8 })
		c.Watch([]observe.Watched{watched(metric("rps", nil), metric("in_flight", nil), metric("queue", nil), metric("latency", nil), metric("error_rate", nil), share, metric("memory", nil))})
		c.Objects(objects())
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); c.Run(ctx) }()
		after(5500 * time.Millisecond)
		got := c.Samples("web")
		for name, want := range map[string]float64{"rps": 30, "in_flight": 4, "queue": 3, "latency": 0.2, "error_rate": 0.1, "cpu": 1, "memory": 75 << 20} {
			if x := last(got[name]); x != want {
				t.Errorf("%s is %v, want %v", name, x, want)
			}
		}
		if n := got["cpu"][0].Units; n != 2 {
			t.Errorf("%d replicas were measured, want 2", n)
		}
		hanging.Store(true)
		n := len(got["rps"])
		after(10 * time.Second)
		got = c.Samples("web")
		if len(got["rps"]) != n+10 {
			t.Errorf("%d samples while the other provider hangs, want %d", len(got["rps"])-n, 10)
		}
		if len(c.Trouble()) != 1 {
			t.Errorf("trouble is %v", c.Trouble())
		}
		stop()
		<-ended
	})
}

// Who keeps samples is told of each, and of the load of a function whose rule does
// not ask for it; the rule is not. What was kept is taken up again, before what was
// measured meanwhile.
func TestSamplesAreToldAndRecalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Uint64
		s := source{"lb": {usage: func(context.Context) ([]providers.Usage, error) {
			return []providers.Usage{{Address: front, Requests: requests.Add(30), InFlight: 4}}, nil
		}}}
		var took []observe.Reading
		c := &observe.Collector{Providers: s, Now: time.Now, Log: slog.New(slog.DiscardHandler), Took: func(r observe.Reading) { took = append(took, r) }}
		w := watched(metric("in_flight", nil))
		c.Watch([]observe.Watched{w})
		c.Objects(objects())
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); c.Run(ctx) }()
		after(3500 * time.Millisecond)
		stop()
		<-ended
		told := map[string]int{}
		for _, r := range took {
			if want := map[string]float64{"rps": 30, "in_flight": 4}[r.Metric]; r.Function != web || r.Value != want {
				t.Errorf("told %+v, want %v", r, want)
			}
			told[r.Metric]++
		}
		if told["rps"] != 3 || told["in_flight"] != 3 {
			t.Errorf("told %v", told)
		}
		if got := c.Samples("web"); len(got) != 1 || len(got["in_flight"]) != 3 {
			t.Errorf("the rule sees %v", got)
		}
		if w.Back() < w.Rule.Metrics[0].Window {
			t.Errorf("looks back %s", w.Back())
		}

		again := &observe.Collector{Providers: s, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
		again.Watch([]observe.Watched{w})
		again.Recall("web", took[:len(took)-1])
		again.Recall("web", took)
		if got := again.Samples("web")["in_flight"]; len(got) != 3 || got[2].At.Before(got[1].At) {
			t.Errorf("recalled %v", got)
		}
	})
}

// What is asked over the network, or of a command; and what lies.
func TestQueries(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/query":
			w.Write([]byte(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"1"},"value":[1,"4.5"]},{"metric":{"a":"2"},"value":[1,"2"]}]}}`))
		case "/queues":
			w.Write([]byte(`{"queues":[{"depth":17}],"word":"many"}`))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	of := func(source, endpoint, query string) func(*engine.Metric) {
		return func(m *engine.Metric) { m.Source, m.Endpoint, m.Query = source, endpoint, query }
	}
	c := &observe.Collector{Providers: source{}, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	c.Watch([]observe.Watched{watched(
		metric("prom", of("prometheus", server.URL, "sum(x)")), metric("json", of("http", server.URL+"/queues", "queues.0.depth")), metric("command", of("exec", "", "echo 3.5")),
		metric("word", of("http", server.URL+"/queues", "word")), metric("nothing", of("http", server.URL+"/queues", "queues.9")), metric("gone", of("http", server.URL+"/gone", "")),
		metric("fails", of("exec", "", "echo no >&2; exit 3")), metric("nan", of("exec", "", "echo NaN")), metric("negative", of("exec", "", "echo -1")),
	)})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	defer func() { stop(); <-ended }()
	want := map[string]float64{"prom": 6.5, "json": 17, "command": 3.5}
	trouble := map[string]bool{"web.word": true, "web.nothing": true, "web.gone": true, "web.fails": true}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		got, ok := c.Samples("web"), true
		for name := range got {
			w, good := want[name]
			ok = ok && (!good || last(got[name]) == w)
			if !good && len(got[name]) > 0 {
				t.Fatalf("%s is %v, want nothing", name, got[name])
			}
		}
		if ok && len(c.Trouble()) == len(trouble) {
			break
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("%v\n%v", got, c.Trouble())
		}
	}
	for name, why := range c.Trouble() {
		if !trouble[name] {
			t.Errorf("%s: %s", name, why)
		}
	}
}

// A source that does not stop when it is told to holds up no change of the rules.
func TestASourceThatHeedsNothingHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		asked := 0
		s := source{
			"machines": {usage: func(context.Context) ([]providers.Usage, error) { asked++; <-free; return nil, nil }},
			"lb": {usage: func(context.Context) ([]providers.Usage, error) {
				return []providers.Usage{{Address: front, InFlight: 3}}, nil
			}},
		}
		c := &observe.Collector{Providers: s, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
		c.Objects(objects())
		c.Watch([]observe.Watched{watched(metric("in_flight", nil))})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { c.Run(ctx); close(ended) }()
		after(10 * time.Second)
		other := watched(metric("in_flight", nil))
		other.Rule.Name = "other"
		c.Watch([]observe.Watched{other})
		after(5 * time.Second)
		if n := last(c.Samples("other")["in_flight"]); n != 3 {
			t.Errorf("after a change of the rules in_flight is %v, want 3", n)
		}
		if asked != 1 || c.Trouble()["provider machines"] == "" {
			t.Errorf("what hangs was asked %d times; trouble: %v", asked, c.Trouble())
		}
		stop()
		<-ended
		close(free)
		after(time.Second)
	})
}
