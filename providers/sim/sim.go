package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

// Config is the provider block of sim.
type Config struct {
	Latency  engine.Duration `flow:"latency" default:"0s" doc:"How long each call takes."`
	Boot     engine.Duration `flow:"boot" default:"0s" doc:"How long a machine takes to start, besides. One that was kept warm has started."`
	FailRate float64         `flow:"fail_rate" min:"0" max:"1" default:"0" doc:"The share of calls that fail in passing."`
	Seed     int             `flow:"seed" default:"1" doc:"Which calls fail."`
	RPS      float64         `flow:"rps" min:"0" default:"0" doc:"Requests per second that each frontend is said to get, for rules that are tried on it."`
	CPU      float64         `flow:"cpu" min:"0" default:"0" doc:"Cores that each replica is said to use."`
}

// Kinds are the kinds that sim makes: all, but for clusters, which nobody makes.
var Kinds = append([]engine.Kind{engine.KindBackend, engine.KindDelivery, engine.KindWarm},
	slices.DeleteFunc(slices.Clone(engine.BlockKinds), func(k engine.Kind) bool { return k == engine.KindCluster })...)

// Factory makes sim providers whose world lies in a log in their folder.
var Factory = providers.Factory{
	Doc:    "A substrate in memory for trying specs, tests and simulation: it makes every kind of resource, and nothing real.",
	Config: engine.SchemaOf[Config](),
	Kinds:  Kinds,
	New: func(_ context.Context, s providers.Settings) (providers.Provider, error) {
		w, err := OpenWorld(s.Dir)
		if err != nil {
			return nil, err
		}
		return New(w, engine.MustDecode[Config](s.Config)), nil
	},
}

// Sim is a provider over a World.
type Sim struct {
	world *World
	cfg   Config
	begun time.Time // requests are counted from then

	mu  sync.Mutex
	rnd *rand.Rand
}

var (
	_ providers.Provider = (*Sim)(nil)
	_ providers.Lister   = (*Sim)(nil)
	_ providers.Importer = (*Sim)(nil)
	_ providers.Refiner  = (*Sim)(nil)
	_ providers.Prober   = (*Sim)(nil)

	_ providers.Suspender = (*Sim)(nil)
	_ providers.Restarter = (*Sim)(nil)
	_ providers.Signaler  = (*Sim)(nil)
	_ providers.Meter     = (*Sim)(nil)
	_ providers.Closer    = (*Sim)(nil)
	_ providers.Cleaner   = (*Sim)(nil)
	_ providers.Shifter   = (*Sim)(nil)
	_ providers.Watcher   = (*Sim)(nil)

	_ providers.Introducer = (*Sim)(nil)
	_ providers.Taker      = (*Sim)(nil)
)

// New returns a provider over w.
func New(w *World, c Config) *Sim {
	return &Sim{world: w, cfg: c, begun: time.Now(), rnd: rand.New(rand.NewPCG(uint64(c.Seed), 0))}
}

// World returns what the provider has made.
func (s *Sim) World() *World { return s.world }

// Clean implements providers.Cleaner.
func (s *Sim) Clean(_ context.Context, all bool, _ []string) error {
	if !all {
		return nil
	}
	return s.world.end(all)
}

// Close implements providers.Closer.
func (s *Sim) Close() error { return s.world.Close() }

// call takes the time that a call takes, and fails as ordered.
func (s *Sim) call(ctx context.Context, what string, a engine.Address) error {
	if err := wait(ctx, s.cfg.Latency); err != nil {
		return fmt.Errorf("%s %s: %w", what, a, err)
	}
	if s.cfg.FailRate > 0 && s.draw() < s.cfg.FailRate {
		return providers.Passing(fmt.Errorf("%s %s: the simulated service is away for a moment (fail_rate)", what, a))
	}
	return nil
}

// wait lets time pass, unless ctx ends before.
func wait(ctx context.Context, d engine.Duration) error {
	if d > 0 {
		t := time.NewTimer(d.Std())
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

func (s *Sim) draw() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rnd.Float64()
}

// Read implements providers.Provider.
func (s *Sim) Read(ctx context.Context, o engine.Object) (engine.Observation, error) {
	if err := s.call(ctx, "read", o.Address); err != nil {
		return engine.Observation{Object: o, Presence: engine.Unreachable, Why: err.Error()}, err
	}
	if o.Address.Kind == engine.KindHost { // it is always there
		v, err := s.complete(o.Key(), o.Value)
		o.Value = v
		return engine.Observation{Object: o}, err
	}
	real, why, ok := s.world.meet(o)
	if !ok {
		return engine.Observation{Object: o, Presence: engine.Gone, Why: "it is not in the simulated world"}, nil
	}
	o.Value = real.Value
	if why != "" {
		return engine.Observation{Object: o, Presence: engine.Down, Why: why}, nil
	}
	return engine.Observation{Object: o, Detour: s.world.detour(o.Key())}, nil
}

// Apply implements providers.Provider.
func (s *Sim) Apply(ctx context.Context, c providers.Call) (engine.Object, error) {
	o := c.Object(cty.NilVal)
	if err := s.call(ctx, "apply", c.Address); err != nil {
		return o, err
	}
	v, err := s.complete(o.Key(), c.Want)
	if err != nil {
		return o, err
	}
	o.Value = v
	if k := c.Address.Kind; c.Prior == nil && (k == engine.KindVM || k == engine.KindWarm) {
		if err := wait(ctx, s.cfg.Boot); err != nil {
			return c.Object(cty.NilVal), fmt.Errorf("start %s: %w", c.Address, err)
		}
	}
	share := 100
	if c.Standby {
		share = 0
	}
	if err := s.world.put(o, share); err != nil {
		return c.Object(cty.NilVal), err
	}
	return o, nil
}

// Take implements providers.Taker.
func (s *Sim) Take(ctx context.Context, c providers.Call, warm engine.Object) (engine.Object, error) {
	o := c.Object(cty.NilVal)
	if err := s.call(ctx, "take", warm.Address); err != nil {
		return o, err
	}
	v, err := s.complete(o.Key(), c.Want)
	if err != nil {
		return o, err
	}
	o.Value = v
	if err := s.world.take(warm.Key(), o); err != nil {
		return c.Object(cty.NilVal), err
	}
	return o, nil
}

// Delete implements providers.Provider.
func (s *Sim) Delete(ctx context.Context, o engine.Object, operation string) error {
	if err := s.call(ctx, "delete", o.Address); err != nil {
		return err
	}
	return s.world.remove(o.Key(), operation)
}

// Shift implements providers.Shifter.
func (s *Sim) Shift(ctx context.Context, frontend engine.Address, shares map[engine.Key]int) error {
	if err := s.call(ctx, "shift", frontend); err != nil {
		return err
	}
	return s.world.shift(shares)
}

// Tally implements providers.Shifter.
func (s *Sim) Tally(ctx context.Context, frontend engine.Address, backends []engine.Key) (providers.Tally, error) {
	if err := s.call(ctx, "tally", frontend); err != nil {
		return providers.Tally{}, err
	}
	return s.world.tally(backends), nil
}

// List implements providers.Lister.
func (s *Sim) List(context.Context) ([]engine.Object, error) { return s.world.Objects(), nil }

// Import implements providers.Importer: the id names what is to be adopted.
func (s *Sim) Import(_ context.Context, a engine.Address, id string) (engine.Object, error) {
	k, ok := keyOf(id)
	o, _, there := s.world.get(k)
	if !ok || !there || k.Address.Kind != a.Kind {
		return engine.Object{}, fmt.Errorf("no %s called %q in the simulated world: %w", a.Kind, id, providers.ErrNotFound)
	}
	o.Address = a
	return o, nil
}

// Probe implements providers.Prober: what is not broken serves.
func (s *Sim) Probe(ctx context.Context, o engine.Object) error {
	_, why, ok := s.world.get(o.Key())
	switch {
	case !ok:
		return errors.New("it is not there")
	case why != "":
		return errors.New(why)
	default:
		return nil
	}
}

// Suspends implements providers.Suspender.
func (s *Sim) Suspends(k engine.Kind) bool { return k == engine.KindVM || k == engine.KindFunction }

// Suspend implements providers.Suspender.
func (s *Sim) Suspend(ctx context.Context, o engine.Object) error {
	if err := s.call(ctx, "suspend", o.Address); err != nil {
		return err
	}
	return s.world.order("suspend", o, "it is suspended")
}

// Resume implements providers.Suspender.
func (s *Sim) Resume(ctx context.Context, o engine.Object) error {
	if err := s.call(ctx, "resume", o.Address); err != nil {
		return err
	}
	return s.world.order("resume", o, "")
}

// Restart implements providers.Restarter.
func (s *Sim) Restart(ctx context.Context, o engine.Object) error {
	if err := s.call(ctx, "restart", o.Address); err != nil {
		return err
	}
	return s.world.order("restart", o, "")
}

// Signal implements providers.Signaler.
func (s *Sim) Signal(ctx context.Context, o engine.Object, name string) error {
	if err := s.call(ctx, "signal", o.Address); err != nil {
		return err
	}
	return s.world.order(name, o, "")
}

// Exec implements providers.Execer: it does nothing, successfully.
func (s *Sim) Exec(ctx context.Context, o engine.Object, argv []string, _ providers.Streams) (int, error) {
	if err := s.call(ctx, "exec", o.Address); err != nil {
		return 0, err
	}
	return 0, s.world.order(strings.Join(argv, " "), o, "")
}

// Greet implements providers.Introducer: keys follow from what the machine is.
func (s *Sim) Greet(ctx context.Context, o engine.Object, cluster, user string, _ bool) (providers.Greeting, error) {
	if err := s.call(ctx, "greet", o.Address); err != nil {
		return providers.Greeting{}, err
	}
	if err := s.Probe(ctx, o); err != nil {
		return providers.Greeting{}, err
	}
	id := idOf(o.Key())
	return providers.Greeting{Key: "ssh-sim " + user + "@" + id, HostKeys: []string{"ssh-sim " + id}, Knows: s.world.Knows(o.Key(), cluster)}, nil
}

// Introduce implements providers.Introducer.
func (s *Sim) Introduce(ctx context.Context, o engine.Object, cluster, _ string, r providers.Roster) error {
	if err := s.call(ctx, "introduce", o.Address); err != nil {
		return err
	}
	return s.world.introduce(o.Key(), cluster, r)
}

// Refine implements providers.Refiner: what a resource will be called is known.
func (s *Sim) Refine(p engine.Proposal) engine.Proposal {
	if p.Address.Kind == engine.KindFunction {
		return engine.FilesInPlace(p)
	}
	if p.Address.Kind != engine.KindFrontend || p.Prior != nil {
		return p
	}
	f := engine.MustDecode[engine.Frontend](p.Want)
	if host, port, ok := strings.Cut(f.Listen, ":"); ok && port != "0" && !strings.Contains(port, ":") {
		p.Want = engine.With(p.Want, map[string]cty.Value{"url": cty.StringVal(f.Protocol + "://" + host + ":" + port)})
	}
	return p
}

// idOf names an object in the simulated world; keyOf reads the name.
func idOf(k engine.Key) string { return fmt.Sprintf("sim:%s#%d", k.Address, k.Gen) }

func keyOf(id string) (engine.Key, bool) {
	text, ok := strings.CutPrefix(id, "sim:")
	at := strings.LastIndexByte(text, '#')
	if !ok || at < 0 {
		return engine.Key{}, false
	}
	a, err := engine.ParseAddress(text[:at])
	var gen int
	if _, serr := fmt.Sscanf(text[at:], "#%d", &gen); err != nil || serr != nil {
		return engine.Key{}, false
	}
	return engine.Key{Address: a, Gen: gen}, true
}

// complete fills in the computed attributes that are not known yet. They follow
// from the key, so that the same thing is the same after a restart.
func (s *Sim) complete(k engine.Key, want cty.Value) (cty.Value, error) {
	h := fnv.New32a()
	h.Write([]byte(idOf(k)))
	n := h.Sum32()
	ip := fmt.Sprintf("10.%d.%d.%d", n>>16&0xff, n>>8&0xff, n&0xff)
	port := 20000 + int(n%10000)
	f := func(v any) cty.Value {
		switch v := v.(type) {
		case int:
			return cty.NumberIntVal(int64(v))
		default:
			return cty.StringVal(fmt.Sprint(v))
		}
	}
	made := map[string]cty.Value{
		"id": f(idOf(k)), "address": f(ip), "host": f(ip), "host_port": f(port), "port": f(port),
		"digest": f(fmt.Sprintf("sha256:%08x", n)), "output": f(""), "run_id": f(""),
		"cpus": f(64), "memory": f("256GiB"), "gateway": f(ip),
	}
	switch k.Address.Kind {
	case engine.KindFunction:
		made["address"] = f(fmt.Sprintf("%s:%d", ip, port))
		made["url"] = f(fmt.Sprintf("http://%s:%d", ip, port))
		made["network_address"] = made["address"]
	case engine.KindFrontend:
		host, p, _ := strings.Cut(engine.MustDecode[engine.Frontend](want).Listen, ":")
		if p == "" || p == "0" {
			p = fmt.Sprint(port)
		}
		made["address"], made["port"] = f(host+":"+p), cty.MustParseNumberVal(p)
		made["url"] = f(engine.MustDecode[engine.Frontend](want).Protocol + "://" + host + ":" + p)
	}
	fill := map[string]cty.Value{}
	for _, a := range engine.ValueSchema(k.Address.Kind).Attributes {
		if v := made[a.Name]; a.Computed && !a.Meta && v != cty.NilVal && unset(want.GetAttr(a.Name)) {
			fill[a.Name] = v
		}
	}
	v := engine.With(want, fill)
	if !v.IsWhollyKnown() {
		return cty.NilVal, fmt.Errorf("bug: %s is asked for with unknown values: %#v", k, v)
	}
	return v, nil
}

func unset(v cty.Value) bool { return !v.IsKnown() || v.IsNull() }
