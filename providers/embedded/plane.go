package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/internal/lb"
	"github.com/flowctl/flowctl/providers"
)

// plane is what this process knows of the flow's data plane. One change at a
// time: each is a full snapshot with the next version.
type plane struct {
	dir    string
	exe    string
	log    *slog.Logger
	client *lb.Client

	mu sync.Mutex // held over a change
}

func newPlane(s providers.Settings) *plane {
	return &plane{dir: s.Dir, exe: s.Exe, log: s.Log, client: lb.NewClient(s.Dir)}
}

// look returns the membership in force and whether the data plane runs. Of a
// dead one it is what lies on disk.
func (p *plane) look(ctx context.Context) (lb.Saved, bool, error) {
	saved, err := p.client.Snapshot(ctx)
	if err == nil {
		return saved, true, nil
	}
	if _, ferr := daemon.Find(p.dir); !errors.Is(ferr, daemon.ErrNotRunning) {
		return saved, false, fmt.Errorf("ask the data plane: %w", errors.Join(err, ferr))
	}
	saved, err = lb.ReadSnapshot(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return lb.Saved{}, false, nil
	}
	return saved, false, err
}

// change edits the membership and puts it in force. With start, a data plane
// that does not run is started first; without, its membership is changed on
// disk. then, if not nil, judges what became of it.
func (p *plane) change(ctx context.Context, start bool, edit func(*lb.Snapshot) error, then func(lb.Applied) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	saved, alive, err := p.look(ctx)
	if err != nil {
		return err
	}
	if !alive && start {
		if err := p.start(ctx); err != nil {
			return err
		}
		if saved, alive, err = p.look(ctx); err != nil {
			return err
		}
	}
	next := lb.Snapshot{Version: saved.Snapshot.Version + 1, Frontends: clone(saved.Snapshot.Frontends)}
	if err := edit(&next); err != nil {
		return err
	}
	if !alive {
		if saved.Snapshot.Version == 0 {
			return nil // there never was one
		}
		return lb.WriteSnapshot(p.dir, next)
	}
	applied, err := p.client.Apply(ctx, next)
	if errors.Is(err, lb.ErrStaleVersion) {
		return providers.Passing(fmt.Errorf("another process changed the data plane at the same time: %w", err))
	}
	if err != nil {
		return fmt.Errorf("change the data plane: %w", err)
	}
	if applied.Unsaved != "" {
		p.log.Warn("the data plane cannot save its membership", "why", applied.Unsaved)
	}
	if then != nil {
		return then(applied)
	}
	return nil
}

// startTimeout is how long a data plane may take to come up.
const startTimeout = 15 * time.Second

func (p *plane) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	_, err := daemon.Spawn(ctx, daemon.Command{Exe: p.exe, Args: []string{ProxyCommand, "-dir", p.dir}, Dir: p.dir})
	if err == nil {
		return nil
	}
	if _, ferr := daemon.Find(p.dir); ferr == nil {
		return nil // somebody else was faster
	}
	return fmt.Errorf("start the data plane: %w", err)
}

// clone copies what edits write to.
func clone(fs []lb.Frontend) []lb.Frontend {
	out := slices.Clone(fs)
	for i := range out {
		out[i].Backends = slices.Clone(out[i].Backends)
	}
	return out
}

func find(s lb.Snapshot, name string) (*lb.Frontend, bool) {
	for i := range s.Frontends {
		if s.Frontends[i].Name == name {
			return &s.Frontends[i], true
		}
	}
	return nil, false
}

func without(bs []lb.Backend, id string) []lb.Backend {
	return slices.DeleteFunc(bs, func(b lb.Backend) bool { return b.ID == id })
}

// dropFrontend takes a frontend out. With the last one the data plane ends, and
// its folder goes.
func (p *plane) dropFrontend(ctx context.Context, name string) error {
	last := false
	err := p.change(ctx, false, func(s *lb.Snapshot) error {
		s.Frontends = slices.DeleteFunc(s.Frontends, func(f lb.Frontend) bool { return f.Name == name })
		last = len(s.Frontends) == 0
		return nil
	}, nil)
	if err != nil || !last {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if saved, _, err := p.look(ctx); err != nil || len(saved.Snapshot.Frontends) > 0 {
		return err // a new one came in between
	}
	return p.end(ctx)
}

// end stops the data plane and removes its folder.
func (p *plane) end(ctx context.Context) error {
	p.client.Close()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := daemon.Stop(ctx, p.dir); err != nil {
		return fmt.Errorf("stop the data plane: %w", err)
	}
	return os.RemoveAll(p.dir)
}

// Clean implements providers.Cleaner.
func (e *Embedded) Clean(ctx context.Context, all bool, _ []string) error {
	if !all {
		return nil
	}
	e.plane.mu.Lock()
	defer e.plane.mu.Unlock()
	if _, err := os.Stat(e.plane.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return e.plane.end(ctx)
}

// Close implements providers.Closer.
func (e *Embedded) Close() error {
	e.plane.client.Close()
	return nil
}

// List implements providers.Lister.
func (e *Embedded) List(ctx context.Context) ([]engine.Object, error) {
	saved, _, err := e.plane.look(ctx)
	if err != nil {
		return nil, err
	}
	var all []engine.Object
	for _, f := range saved.Snapshot.Frontends {
		a, err := engine.ParseAddress(f.Name)
		if err != nil {
			return nil, err
		}
		all = append(all, engine.Object{Address: a, Gen: 1, Value: engine.Encode(engine.Frontend{ID: f.Name, Listen: f.Listen})})
		for _, b := range f.Backends {
			o, err := backendObject(b)
			if err != nil {
				return nil, err
			}
			all = append(all, o)
		}
	}
	return all, nil
}

func backendObject(b lb.Backend) (engine.Object, error) {
	var o engine.Object
	text, gen, ok := cutLast(b.ID, '#')
	if !ok {
		return o, fmt.Errorf("backend %q is not of this flow", b.ID)
	}
	a, err := engine.ParseAddress(text)
	if err != nil {
		return o, err
	}
	if _, err := fmt.Sscan(gen, &o.Gen); err != nil {
		return o, err
	}
	o.Address, o.Value = a, engine.Encode(engine.Backend{Target: b.Address, Function: b.Group})
	return o, nil
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == sep {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// Usage implements providers.Meter.
func (e *Embedded) Usage(ctx context.Context, objects []engine.Object) ([]providers.Usage, error) {
	stats, err := e.plane.client.Stats(ctx)
	if err != nil {
		return nil, err
	}
	wanted := map[string]engine.Address{}
	for _, o := range objects {
		if o.Address.Kind == engine.KindFrontend {
			wanted[frontendName(o.Address)] = o.Address
		} else {
			wanted[backendID(providers.Ref{Address: o.Address, Gen: o.Gen})] = o.Address
		}
	}
	var all []providers.Usage
	for _, f := range stats.Frontends {
		if a, ok := wanted[f.Name]; ok {
			all = append(all, frontendUsage(a, f, stats))
		}
		for _, b := range f.Backends {
			if a, ok := wanted[b.ID]; ok {
				all = append(all, backendUsage(a, b, stats))
			}
		}
	}
	slices.SortFunc(all, func(a, b providers.Usage) int { return a.Address.Compare(b.Address) })
	return all, nil
}

func frontendUsage(a engine.Address, f lb.FrontendStats, s lb.Stats) providers.Usage {
	u := providers.Usage{
		Address: a, State: "listening", Since: s.Started, Rate: f.RPS10, InFlight: int(f.InFlight),
		P50: time.Duration(f.Latency.P50), P95: time.Duration(f.Latency.P95),
		Queued: int(f.Queued), Requests: f.Requests, Failed: f.Failed(), Counted: s.At,
	}
	if f.Error != "" {
		u.State = f.Error
	}
	return u
}

func backendUsage(a engine.Address, b lb.BackendStats, s lb.Stats) providers.Usage {
	return providers.Usage{
		Address: a, State: b.State, Rate: b.RPS10, InFlight: int(b.InFlight),
		P50: time.Duration(b.Latency.P50), P95: time.Duration(b.Latency.P95),
		Requests: b.Requests, Failed: b.Failed(), Counted: s.At,
	}
}
