package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/internal/lb"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

// Name is the provider's name: that of frontends which name no other.
const Name = "embedded"

// ProxyCommand is the hidden subcommand that is the data plane.
const ProxyCommand = "frontend-agent"

// Factory makes the provider.
var Factory = providers.Factory{
	Doc:   "The load balancer that is part of flowctl: a process of its own that carries the flow's traffic.",
	Kinds: []engine.Kind{engine.KindFrontend, engine.KindBackend},
	New: func(_ context.Context, s providers.Settings) (providers.Provider, error) {
		return New(s), nil
	},
}

// Embedded is the provider.
type Embedded struct {
	*providers.Native
	plane *plane
}

var (
	_ providers.Provider = (*Embedded)(nil)
	_ providers.Lister   = (*Embedded)(nil)
	_ providers.Meter    = (*Embedded)(nil)
	_ providers.Cleaner  = (*Embedded)(nil)
	_ providers.Closer   = (*Embedded)(nil)
	_ providers.Shifter  = (*Embedded)(nil)
)

// New returns the provider. The data plane is started by the first frontend.
func New(s providers.Settings) *Embedded {
	p := newPlane(s)
	e := &Embedded{plane: p}
	e.Native = &providers.Native{Name: s.Name, Kinds: map[engine.Kind]providers.Resource{
		engine.KindFrontend: providers.Of[engine.Frontend]{
			ReadFn: p.readFrontend, ApplyFn: p.applyFrontend, DeleteFn: p.removeFrontend,
			CheckFn: p.checkFrontend, RefineFn: refineFrontend,
		},
		engine.KindBackend: providers.Of[engine.Backend]{
			ReadFn: p.readBackend, ApplyFn: p.applyBackend, DeleteFn: p.removeBackend,
		},
	}}
	return e
}

// frontendName and backendID name things to the data plane.
func frontendName(a engine.Address) string { return a.String() }

func backendID(r providers.Ref) string {
	return fmt.Sprintf("%s#%d", r.Address, r.Gen)
}

// refineFrontend tells in advance where a frontend with a fixed port is reached.
func refineFrontend(p engine.Proposal) engine.Proposal {
	if p.Address.Kind != engine.KindFrontend {
		return p
	}
	moved := p.Prior == nil
	for _, name := range p.Changed {
		moved = moved || name == "listen"
	}
	f := engine.MustDecode[engine.Frontend](p.Want)
	if !moved || f.Listen == "" {
		return p
	}
	host, port, err := net.SplitHostPort(f.Listen)
	unknown := map[string]cty.Value{"address": cty.UnknownVal(cty.String), "port": cty.UnknownVal(cty.Number), "url": cty.UnknownVal(cty.String)}
	if err != nil || port == "0" {
		p.Want = engine.With(p.Want, unknown)
		return p
	}
	place(&f, net.JoinHostPort(host, port))
	p.Want = engine.With(p.Want, map[string]cty.Value{
		"id": cty.StringVal(frontendName(p.Address)), "address": cty.StringVal(f.Address),
		"port": cty.NumberIntVal(int64(f.Port)), "url": cty.StringVal(f.URL),
	})
	return p
}

// place fills in where a frontend that listens at an address is reached. One
// that listens everywhere is reached on this computer.
func place(f *engine.Frontend, listen string) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	f.Port, _ = strconv.Atoi(port)
	f.Address = net.JoinHostPort(host, port)
	f.URL = f.Protocol + "://" + f.Address
}

func (p *plane) readFrontend(ctx context.Context, r providers.Ref, known engine.Frontend) (engine.Frontend, providers.Status, error) {
	saved, alive, err := p.look(ctx)
	if err != nil {
		return known, providers.Status{}, err
	}
	name := frontendName(r.Address)
	if _, ok := find(saved.Snapshot, name); !ok {
		return known, providers.Status{Presence: engine.Gone, Why: "the data plane does not know it"}, nil
	}
	known.ID = name
	if !alive {
		return known, providers.Status{Presence: engine.Down, Why: "the data plane does not run; it is started again with its last membership"}, nil
	}
	for _, a := range saved.Applied.Frontends {
		if a.Name != name {
			continue
		}
		if a.Error != "" {
			return known, providers.Status{Presence: engine.Down, Why: a.Error}, nil
		}
		place(&known, a.Listen)
	}
	return known, providers.Status{}, nil
}

func (p *plane) checkFrontend(ctx context.Context, a engine.Address, want engine.Frontend, prior *engine.Frontend) engine.Diagnostics {
	if want.Listen == "" || strings.HasSuffix(want.Listen, ":0") || prior != nil && prior.Listen == want.Listen {
		return nil
	}
	if saved, alive, err := p.look(ctx); err == nil && alive {
		for _, f := range saved.Applied.Frontends { // our own listener gives way when it is moved
			if f.Listen == want.Listen {
				return nil
			}
		}
	}
	l, err := net.Listen("tcp", want.Listen)
	if err == nil {
		l.Close()
		return nil
	}
	detail := fmt.Sprintf("%s cannot listen on %s: %v. ", a, want.Listen, cause(err))
	if errors.Is(err, os.ErrPermission) {
		detail += "Ports below 1024 need root; write a higher one."
	} else {
		detail += "End what listens there (see ss -ltnp), or write another port; port 0 takes one that is free."
	}
	return engine.Diagnostics{{Summary: "Port not available", Address: a, Detail: detail}}
}

// cause drops the "listen tcp …:" that the net package puts before an error.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return err
}

func (p *plane) applyFrontend(ctx context.Context, r providers.Ref, want engine.Frontend, prior *engine.Frontend) (engine.Frontend, bool, error) {
	name := frontendName(r.Address)
	listen := ""
	err := p.change(ctx, true, func(s *lb.Snapshot) error {
		f, existed := find(*s, name)
		if !existed {
			s.Frontends = append(s.Frontends, lb.Frontend{Name: name})
			f = &s.Frontends[len(s.Frontends)-1]
		}
		configure(f, want)
		return nil
	}, func(a lb.Applied) error {
		for _, f := range a.Frontends {
			if f.Name == name && f.Error != "" {
				return fmt.Errorf("%s cannot listen on %s: %s", r.Address, want.Listen, f.Error)
			} else if f.Name == name {
				listen = f.Listen
			}
		}
		return nil
	})
	if err != nil {
		return want, false, p.giveUp(ctx, name, prior == nil, err)
	}
	want.ID = name
	place(&want, listen)
	return want, true, nil
}

// giveUp takes a frontend that cannot listen out again, if it is new.
func (p *plane) giveUp(ctx context.Context, name string, isNew bool, failed error) error {
	if !isNew {
		return providers.Passing(failed)
	}
	undo := context.WithoutCancel(ctx)
	if err := p.dropFrontend(undo, name); err != nil {
		return fmt.Errorf("%w; and taking it out again failed, too: %w", failed, err)
	}
	return providers.Passing(failed) // who holds the port may be about to end
}

// configure puts the settings of a resource into a frontend of the data plane,
// and leaves its backends.
func configure(f *lb.Frontend, want engine.Frontend) {
	f.Listen, f.Protocol, f.Balance, f.HashKey = want.Listen, want.Protocol, want.Balance, want.HashKey
	f.MaxInFlight, f.SlowStart = want.MaxInFlight, lb.Duration(want.SlowStart)
	f.MaxHeaderBytes, f.MaxBodyBytes = int(want.MaxHeaderBytes), int64(want.MaxBodyBytes)
	f.Routes = routes(want)
	f.Health, f.Sticky = nil, nil
	if h := want.Health; h != nil {
		f.Health = health(h)
	}
	if s := want.Sticky; s != nil {
		f.Sticky = &lb.Sticky{Cookie: s.Cookie, TTL: lb.Duration(s.TTL)}
	}
	e, r, q, t := orDefaults(want.Eject), orDefaults(want.Retry), orDefaults(want.Queue), orDefaults(want.Timeout)
	f.Eject = lb.Eject{ConsecutiveErrors: off(e.ConsecutiveErrors), BaseTime: lb.Duration(e.BaseTime), MaxPercent: off(e.MaxPercent), PanicPercent: off(e.PanicPercent)}
	f.Retry = lb.Retry{Attempts: 1 + r.Attempts, BudgetPercent: off(r.BudgetPercent)}
	f.Queue = lb.Queue{Size: off(q.Size), Timeout: lb.Duration(q.Timeout)}
	f.Timeouts = lb.Timeouts{Connect: lb.Duration(t.Connect), Header: lb.Duration(t.Header), Idle: lb.Duration(t.Idle), Total: lb.Duration(t.Total)}
}

// orDefaults is a nested block, or one with the language's defaults where the
// spec has none: the data plane's own are others.
func orDefaults[T any](block *T) T {
	if block != nil {
		return *block
	}
	attrs := map[string]cty.Value{}
	for _, a := range engine.SchemaOf[T]().Attributes {
		if attrs[a.Name] = a.Default; a.Default == cty.NilVal {
			attrs[a.Name] = cty.NullVal(a.Type)
		}
	}
	return engine.MustDecode[T](cty.ObjectVal(attrs))
}

// off turns a 0, which switches something off in a spec, into what does so in
// the data plane, where 0 is the default.
func off(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

func health(h *engine.FrontHealth) *lb.Health {
	return &lb.Health{
		Path: h.HTTP, Interval: lb.Duration(h.Interval), Timeout: lb.Duration(h.Timeout),
		HealthyAfter: h.HealthyAfter, UnhealthyAfter: h.UnhealthyAfter,
	}
}

func routes(f engine.Frontend) []lb.Route {
	if !f.To.IsZero() {
		return []lb.Route{{Targets: []lb.Target{{Group: f.To.String(), Weight: 1}}}}
	}
	var all []lb.Route
	for _, r := range f.Routes {
		route := lb.Route{Host: r.Host, Path: r.Path, Headers: r.Headers, StripPrefix: r.StripPrefix}
		if !r.To.IsZero() {
			route.Targets = []lb.Target{{Group: r.To.String(), Weight: 1}}
		}
		for _, s := range r.Split {
			route.Targets = append(route.Targets, lb.Target{Group: s.To.String(), Weight: s.Weight})
		}
		all = append(all, route)
	}
	return all
}

func (p *plane) removeFrontend(ctx context.Context, r providers.Ref, _ engine.Frontend) error {
	return p.dropFrontend(ctx, frontendName(r.Address))
}

func (p *plane) readBackend(ctx context.Context, r providers.Ref, known engine.Backend) (engine.Backend, providers.Status, error) {
	saved, _, err := p.look(ctx)
	if err != nil {
		return known, providers.Status{}, err
	}
	frontend, _ := r.Address.Membership()
	f, ok := find(saved.Snapshot, frontendName(frontend))
	if !ok {
		return known, providers.Status{Presence: engine.Gone, Why: "its frontend is not there"}, nil
	}
	for _, b := range f.Backends {
		switch {
		case b.ID != backendID(r):
		case b.Draining:
			return known, providers.Status{Presence: engine.Down, Why: "it was left draining"}, nil
		default:
			known.Target = b.Address
			return known, providers.Status{Detour: detour(b)}, nil
		}
	}
	return known, providers.Status{Presence: engine.Gone, Why: "it is not in its frontend"}, nil
}

func (p *plane) applyBackend(ctx context.Context, r providers.Ref, want engine.Backend, _ *engine.Backend) (engine.Backend, bool, error) {
	frontend, _ := r.Address.Membership()
	b := lb.Backend{ID: backendID(r), Group: want.Function, Address: want.Target, Ready: true, H2C: want.Protocol == "h2c", Standby: r.Standby}
	if want.Health != nil {
		b.Health = health(want.Health)
	}
	err := p.change(ctx, true, func(s *lb.Snapshot) error {
		f, ok := find(*s, frontendName(frontend))
		if !ok {
			return providers.Permanent(fmt.Errorf("%s is not there for %s to join", frontend, r.Address))
		}
		for i := range f.Backends {
			if f.Backends[i].ID == b.ID {
				f.Backends[i] = b
				return nil
			}
		}
		f.Backends = append(f.Backends, b)
		return nil
	}, nil)
	return want, err == nil, err
}

// removeBackend drains a backend and takes it out.
func (p *plane) removeBackend(ctx context.Context, r providers.Ref, known engine.Backend) error {
	frontend, _ := r.Address.Membership()
	name, id := frontendName(frontend), backendID(r)
	there := false
	mark := func(s *lb.Snapshot) error {
		f, ok := find(*s, name)
		if !ok {
			return nil
		}
		for i := range f.Backends {
			if f.Backends[i].ID == id {
				f.Backends[i].Draining, there = true, true
			}
		}
		return nil
	}
	if err := p.change(ctx, false, mark, nil); err != nil || !there {
		return err
	}
	if err := p.drained(ctx, name, id, known); err != nil {
		return err
	}
	return p.change(ctx, false, func(s *lb.Snapshot) error {
		if f, ok := find(*s, name); ok {
			f.Backends = without(f.Backends, id)
		}
		return nil
	}, nil)
}

// drained waits until nothing is in flight to a backend, or its drain time is
// over: what is still in flight then is cut when it leaves.
func (p *plane) drained(ctx context.Context, frontend, id string, b engine.Backend) error {
	if _, err := daemon.Find(p.dir); errors.Is(err, daemon.ErrNotRunning) {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, b.Drain.Std())
	defer cancel()
	err := p.client.WaitDrained(wait, frontend, id)
	if errors.Is(err, daemon.ErrNotRunning) { // its folder had an owner for a moment: one who wrote its membership
		return nil
	}
	var busy *lb.NotDrainedError
	if errors.As(err, &busy) && ctx.Err() == nil {
		p.log.Warn("drain time is over; requests in flight are cut", "frontend", frontend, "backend", id, "in_flight", busy.InFlight, "drain", b.Drain.String())
		return nil
	}
	return err
}
