package lb

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// plane is the data plane: the frontends of the snapshot in force, and those
// that are leaving.
type plane struct {
	dir     string
	key     []byte
	log     *slog.Logger
	clock   *clock
	control *http.Server

	controlEnded chan struct{}
	shutdown     chan time.Duration // the grace asked for; holds one
	leavers      sync.WaitGroup

	mu        sync.Mutex // one change at a time; guards what follows
	current   Saved
	content   []byte // of current.Snapshot, to compare
	frontends map[string]*frontend
	leaving   map[*frontend]struct{}
	stopped   bool
}

func newPlane(dir string, key []byte, log *slog.Logger) *plane {
	return &plane{
		dir: dir, key: key, log: cmp.Or(log, slog.Default()), clock: newClock(),
		controlEnded: make(chan struct{}), shutdown: make(chan time.Duration, 1),
		frontends: map[string]*frontend{}, leaving: map[*frontend]struct{}{},
	}
}

// apply puts s in force and saves it. See Client.Apply.
func (p *plane) apply(s Snapshot) (Applied, error) {
	if err := s.Validate(); err != nil {
		return Applied{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	content, err := json.Marshal(s)
	if err != nil {
		return Applied{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return Applied{}, fmt.Errorf("the data plane is shutting down")
	}
	if err := p.accepts(s, content); err != nil {
		return Applied{}, err
	}
	before, _ := json.Marshal(p.current)
	p.put(s, nil, false)
	if after, _ := json.Marshal(p.current); !bytes.Equal(before, after) {
		if err := saveSnapshot(p.dir, p.file()); err != nil {
			p.current.Applied.Unsaved = err.Error()
			p.log.Error("snapshot is in force but not saved", "err", err)
		}
	}
	p.log.Info("applied", "version", s.Version, "frontends", len(s.Frontends))
	return p.current.Applied, nil
}

// accepts refuses a snapshot that is older than the one in force.
func (p *plane) accepts(s Snapshot, content []byte) error {
	now := p.current.Snapshot.Version
	switch {
	case p.content == nil || s.Version > now:
		return nil
	case s.Version < now:
		return fmt.Errorf("%w: %d is older than %d, which is in force", ErrStaleVersion, s.Version, now)
	case !bytes.Equal(content, p.content):
		return fmt.Errorf("%w: %d is in force with other content", ErrStaleVersion, now)
	}
	return nil
}

// put brings the frontends to s: first those that go, so that their addresses
// are free. bind are addresses to open in place of those asked for, by name. The
// caller holds mu.
func (p *plane) put(s Snapshot, bind map[string]string, restored bool) {
	wanted := map[string]Frontend{}
	for _, f := range s.Frontends {
		wanted[f.Name] = f
	}
	kept := map[string]string{}
	for name, f := range p.frontends {
		if want, ok := wanted[name]; !ok || want.withDefaults().Protocol != f.protocol {
			if ok && want.Listen == f.want.Listen {
				kept[name] = f.address() // another protocol, same address
			}
			p.remove(f)
		}
	}
	applied := Applied{Version: s.Version}
	for _, want := range s.Frontends {
		f := p.frontends[want.Name]
		if f == nil {
			f = newFrontend(want, p.clock, p.key, p.log)
			p.frontends[want.Name] = f
		}
		f.apply(want, cmp.Or(bind[want.Name], kept[want.Name]), restored)
		applied.Frontends = append(applied.Frontends, f.applied())
	}
	p.current = Saved{Snapshot: s, Applied: applied}
	p.content, _ = json.Marshal(s)
}

// file is what a restart needs: also the ports of frontends that do not listen
// at the moment.
func (p *plane) file() savedFile {
	file := savedFile{Saved: p.current, Bind: map[string]string{}}
	for name, f := range p.frontends {
		if addr := cmp.Or(f.address(), f.bind); addr != "" {
			file.Bind[name] = addr
		}
	}
	return file
}

func (f *frontend) applied() AppliedFrontend {
	a := AppliedFrontend{Name: f.name, Listen: f.address()}
	if f.failed != nil {
		a.Error = f.failed.Error()
	}
	return a
}

// remove takes f down in the background, but for its listener and its streams,
// which are closed now.
func (p *plane) remove(f *frontend) {
	delete(p.frontends, f.name)
	p.leaving[f] = struct{}{}
	f.closeListener()
	f.pool.close()
	p.leavers.Go(func() {
		limit, cancel := context.WithTimeout(f.ctx, goneGrace)
		defer cancel()
		f.stop(limit)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.leaving, f)
	})
}

// relisten tries again to open addresses that were taken.
func (p *plane) relisten() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, a := range p.current.Applied.Frontends {
		if f := p.frontends[a.Name]; a.Error != "" && !p.stopped {
			f.relisten()
			p.current.Applied.Frontends[i] = f.applied()
		}
	}
}

// stop takes all frontends down; what is in flight goes on until ctx ends.
func (p *plane) stop(ctx context.Context) {
	p.mu.Lock()
	p.stopped = true
	for f := range p.leaving {
		context.AfterFunc(ctx, func() { f.cancel(errClosing) })
	}
	all := p.frontends
	p.mu.Unlock()
	var down sync.WaitGroup
	for _, f := range all {
		down.Go(func() {
			f.closeListener()
			f.stop(ctx)
		})
	}
	down.Wait()
	p.leavers.Wait()
}

// waitDrained waits for one backend, also of a frontend that is leaving.
func (p *plane) waitDrained(ctx context.Context, name, id string) error {
	p.mu.Lock()
	var pools []*pool
	if f := p.frontends[name]; f != nil {
		pools = append(pools, f.pool)
	}
	for f := range p.leaving {
		if f.name == name {
			pools = append(pools, f.pool)
		}
	}
	p.mu.Unlock()
	for _, pool := range pools {
		if err := pool.waitDrained(ctx, name, id); err != nil {
			return err
		}
	}
	return nil
}

// stats reads all frontends.
func (p *plane) stats(answers bool) Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{Version: p.current.Snapshot.Version, PID: os.Getpid(), Started: p.clock.start, At: time.Now(), Frontends: []FrontendStats{}}
	for _, f := range p.frontends {
		s.Frontends = append(s.Frontends, f.stats(answers))
	}
	sortBy(s.Frontends, func(f FrontendStats) string { return f.Name })
	return s
}

func sortBy[T any](s []T, key func(T) string) {
	slices.SortFunc(s, func(a, b T) int { return strings.Compare(key(a), key(b)) })
}
