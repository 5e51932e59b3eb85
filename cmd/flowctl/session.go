package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/runtime/telemetry"
	"github.com/flowctl/flowctl/spec"
	"github.com/flowctl/flowctl/state"
)

// session is one flow while a command works with it.
type session struct {
	app     *app
	args    args.Flow
	bundle  spec.Bundle
	desired engine.Desired
	diags   engine.Diagnostics
	sources *view.Sources

	keepHistory bool // after a destroy
	background  bool // a process of its own, that belongs to no other's trace

	name  string // of the flow
	dir   string // its folder beneath the state's
	store *state.Store
	ahead chan opened // a state that is being opened; nil if none is
	set   *providers.Set
	flow  *runtime.Flow
	log   *slog.Logger

	tracer *telemetry.Tracer // nil if nobody asks for traces
}

// stateDir is the name of the folder beside the spec that holds the states of
// the flows there, one folder each.
const stateDir = ".flowctl"

// base returns the folder that holds states.
func (s *session) base() string {
	switch {
	case s.args.StateDir != "":
		return s.args.StateDir
	case s.app.getenv("FLOWCTL_STATE") != "":
		return s.app.getenv("FLOWCTL_STATE")
	default:
		return filepath.Join(s.bundle.Dir, stateDir)
	}
}

// locate finds the flow without needing its spec to be in order: enough for
// commands that only look at what there is.
func (a *app) locate(f args.Flow) (*session, error) {
	s := &session{app: a, args: f}
	var diags engine.Diagnostics
	s.bundle, diags = spec.Read(spec.Request{Path: f.Path, VarFiles: f.VarFiles, Vars: f.Vars, Environ: a.environ})
	s.sources = view.NewSources(s.bundle.Sources())
	if s.name = spec.FlowName(s.bundle); s.name == "" {
		if err := s.guess(); err != nil {
			if diags.HasErrors() {
				fmt.Fprint(a.err, view.Diagnostics(diags, s.sources, a.errStyle()))
				return nil, shown(exitInvalid)
			}
			return nil, err
		}
	}
	return s, s.paths()
}

// guess finds the flow by its state when there is no spec to name it.
func (s *session) guess() error {
	if s.bundle.Dir == "" {
		dir, err := filepath.Abs(s.bundle.Path)
		if err != nil {
			return err
		}
		s.bundle.Dir = dir
	}
	entries, err := os.ReadDir(s.base())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	if len(names) != 1 {
		return args.Usagef("no flow is named: give the path of its spec")
	}
	s.name = names[0]
	return nil
}

// paths settles where everything of the flow lies.
func (s *session) paths() error {
	if s.name == "" {
		s.name = s.desired.Flow
	}
	base, err := filepath.Abs(s.base())
	s.dir = filepath.Join(base, s.name)
	return err
}

// opened is what came of opening a state.
type opened struct {
	store *state.Store // nil if there is none
	err   error
}

func openExisting(ctx context.Context, dir string) (o opened) {
	if o.store, o.err = state.OpenExisting(ctx, dir); errors.Is(o.err, fs.ErrNotExist) {
		o.err = nil
	}
	return o
}

// openAhead begins to open the state of the flow of that name, and to read it: for
// a command that only looks, while the spec is still being loaded.
func (s *session) openAhead(ctx context.Context, flow string) {
	s.name = flow
	if s.paths() != nil {
		return // open reports it
	}
	dir, ahead := s.dir, make(chan opened, 1)
	s.ahead = ahead
	go func() {
		o := openExisting(ctx, dir)
		if o.store != nil {
			o.store.ReadAhead(ctx)
		}
		ahead <- o
	}()
}

// open opens the state, making it with create, and sets up the providers.
func (s *session) open(ctx context.Context, create bool) error {
	if err := s.paths(); err != nil {
		return err
	}
	var o opened
	switch {
	case create:
		o.store, o.err = state.Open(ctx, s.dir)
	case s.ahead != nil:
		o, s.ahead = <-s.ahead, nil
	default:
		o = openExisting(ctx, s.dir)
	}
	if s.store = o.store; o.err != nil {
		return o.err
	}
	settings := s.desired.Providers
	if s.store != nil && s.desired.Flow == "" { // no spec was loaded: as the last apply had it
		snap, err := s.store.Snapshot(ctx)
		if err != nil {
			return err
		}
		settings = snap.Providers
	}
	if s.log == nil {
		s.log = slog.New(view.NewLogHandler(s.app.err, s.app.errStyle()))
	}
	s.set = s.providers(settings)
	s.flow = &runtime.Flow{
		Providers: s.set, Log: s.log, Now: s.app.now, Rand: rand.New(rand.NewPCG(uint64(s.app.now().UnixNano()), uint64(os.Getpid()))),
		Journal: func(l *state.Lease) exec.Journal {
			var j exec.Journal = s.store.Journal(l)
			if s.app.wrapJournal != nil {
				j = s.app.wrapJournal(j)
			}
			return j
		},
	}
	if err := s.trace(ctx); err != nil {
		return err
	}
	if s.store != nil {
		s.flow.Store = s.store
		if s.app.wrapStore != nil {
			s.flow.Store = s.app.wrapStore(s.store)
		}
	}
	return nil
}

// trace lets runs be traced if the environment asks for it.
func (s *session) trace(ctx context.Context) (err error) {
	wanted, why := telemetry.Wanted(s.app.getenv)
	if why != "" {
		s.log.Warn("runs are not traced", "err", why)
	}
	if !wanted {
		return nil
	}
	if s.tracer, err = telemetry.Start(ctx, telemetry.Options{Flow: s.name, Version: version(), Getenv: s.app.getenv, Log: s.log, Parent: !s.background}); err == nil {
		s.flow.Trace = s.tracer.Run
	}
	return err
}

// lastSpans is how long the last spans may take to be sent.
const lastSpans = 5 * time.Second

// providers sets up the flow's providers.
func (s *session) providers(settings []engine.Setting) *providers.Set {
	base := providers.Settings{Flow: s.name, Dir: s.dir, SpecDir: s.bundle.Dir, Exe: s.app.exe, Log: s.log}
	if s.store != nil {
		origin := s.store.Origin()
		base.Host, base.Home = origin.Host, origin.Dir
	}
	return providers.NewSet(factories, base, settings, s.app.wrapProvider)
}

// close lets go of everything.
func (s *session) close() {
	if s.tracer != nil {
		end, cancel := context.WithTimeout(context.Background(), lastSpans)
		defer cancel()
		if err := s.tracer.Stop(end); err != nil {
			s.log.Warn("the last traces could not be sent", "err", err)
		}
		s.tracer = nil
	}
	if s.set != nil {
		s.set.Close()
	}
	if s.ahead != nil {
		o := <-s.ahead
		s.store, s.ahead = o.store, nil
	}
	if s.store != nil {
		s.store.Close()
		s.store = nil
	}
}

// needState fails for commands that need a flow that was applied.
func (s *session) needState() error {
	if s.store == nil {
		return fmt.Errorf("the flow %q has not been applied, or was destroyed: there is no state in %s", s.name, s.dir)
	}
	return nil
}

// show writes findings to the error stream.
func (s *session) show(ds engine.Diagnostics) {
	if len(ds) > 0 {
		fmt.Fprintln(s.app.err, view.Diagnostics(ds, s.sources, s.app.errStyle()))
	}
}

// writeJSON writes a value as indented JSON to the output stream.
func (a *app) writeJSON(v any) {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	enc.Encode(v)
}

// writeLine writes a value as one line of JSON.
func (a *app) writeLine(v any) {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.Encode(v)
}
