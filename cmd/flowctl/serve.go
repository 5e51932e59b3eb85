package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/api"
	"github.com/flowctl/flowctl/runtime/control"
	"github.com/flowctl/flowctl/runtime/observe"
	"github.com/flowctl/flowctl/spec"
	"github.com/spf13/cobra"
)

// controllerDir is the folder of a flow's controller, in the flow's.
const controllerDir = "controller"

func (s *session) controllerDir() string { return filepath.Join(s.dir, controllerDir) }

func (a *app) serveCommand() *cobra.Command {
	var f args.Flow
	var listen, dir string
	var stop, unit bool
	c := &cobra.Command{
		Use: "serve [PATH]", Short: "Keep a flow at the sizes that its rules ask for", Args: cobra.MaximumNArgs(1),
		Long: "Is the controller of a flow that was applied: measures, decides by the scaling blocks, and\nchanges what must change, as apply would; repairs what drifts. Another apply changes the\nrules while it runs. apply starts one in the background if the flow has scaling blocks;\nthis one stays in the foreground, and waits while another controller leads.\n\n  flowctl serve -listen=127.0.0.1:9090   with /metrics, /healthz and the JSON API over TCP\n  flowctl serve -stop                    end the one in the background\n  flowctl serve -print-unit              a unit for systemd",
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = path(argv)
			if dir != "" { // in the background
				s := &session{app: a, name: filepath.Base(dir), args: args.Flow{StateDir: filepath.Dir(dir)}}
				defer s.close()
				err := a.serveIn(cmd.Context(), s, listen)
				daemon.Ready(err)
				return err
			}
			s, err := a.locate(f)
			if err != nil {
				return err
			}
			defer s.close()
			switch {
			case unit:
				return a.printUnit(s, listen)
			case stop:
				return s.stopServing(cmd.Context())
			default:
				return a.serveIn(cmd.Context(), s, listen)
			}
		},
	}
	f.Register(c.Flags(), false)
	c.Flags().StringVar(&listen, "listen", "", "also answer on this address, such as 127.0.0.1:9090; anybody who reaches it can read")
	c.Flags().BoolVar(&stop, "stop", false, "end the controller that runs in the background")
	c.Flags().BoolVar(&unit, "print-unit", false, "print a unit for systemd instead")
	c.Flags().StringVar(&dir, "flow-dir", "", "the flow's folder")
	c.Flags().MarkHidden("flow-dir")
	return c
}

// leadPoll is the time between two looks whether another controller is gone.
const leadPoll = time.Second

// serveIn is the controller of a flow, until it is told to end.
func (a *app) serveIn(ctx context.Context, s *session, listen string) error {
	spareMemory()
	s.log, s.background = a.daemonLog(), true
	if err := s.open(ctx, false); err != nil {
		return err
	}
	if err := s.needState(); err != nil {
		return err
	}
	bundle, err := s.store.Bundle(ctx)
	if err != nil {
		return err
	}
	if bundle == nil {
		return errors.New("the state does not have the spec that was applied: run flowctl apply once more")
	}
	release, err := s.claim(ctx)
	if err != nil {
		return err
	}
	defer release()
	source := &switched{}
	defer source.close()
	s.flow.Providers = source
	c := &control.Controller{
		Flow: s.flow, Store: s.store, Log: s.log, Now: a.now,
		Load:      func(bundle []byte) (engine.Desired, error) { return s.reload(source, bundle) },
		Collector: &observe.Collector{Providers: source, Now: a.now, Log: s.log},
	}
	if _, err := c.Load(bundle); err != nil {
		return fmt.Errorf("the spec that was applied: %w", err)
	}
	owner, done := daemon.WhileOwner(ctx, s.controllerDir())
	defer done()
	stop, err := s.answer(c, listen)
	daemon.Ready(err)
	if err != nil {
		return err
	}
	defer stop()
	defer a.intr.graceful(30 * time.Second)()
	return c.Run(owner, a.intr.hard)
}

// claim waits until this process is the flow's only controller on this machine.
func (s *session) claim(ctx context.Context) (release func(), err error) {
	dir := s.controllerDir()
	for told := false; ; told = true {
		if release, err = daemon.Claim(dir, s.app.now()); err == nil {
			return release, nil
		}
		p, found := daemon.Find(dir)
		if found != nil {
			return nil, err
		}
		if !told {
			s.log.Info("waiting: another controller leads", "pid", p.PID)
		}
		select {
		case <-time.After(leadPoll):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// reload takes up the spec that was applied last.
func (s *session) reload(source *switched, bundle []byte) (engine.Desired, error) {
	if err := json.Unmarshal(bundle, &s.bundle); err != nil {
		return engine.Desired{}, err
	}
	desired, diags := spec.Load(s.bundle, specOptions())
	if err := diags.Err(); err != nil {
		return engine.Desired{}, err
	}
	s.desired = desired
	source.put(s.providers(desired.Providers))
	return desired, nil
}

// answer serves the API on the folder's socket, and over TCP if that is wanted.
func (s *session) answer(c *control.Controller, listen string) (stop func(), err error) {
	handler := api.Handler(api.Source{Flow: s.name, Status: c.Status, Usage: c.Collector.Usage, Decisions: s.store.Decisions, Samples: s.store.Samples}, s.app.now)
	private, err := daemon.Listen(s.controllerDir())
	if err != nil {
		return nil, err
	}
	listeners := []net.Listener{private}
	if listen != "" {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			private.Close()
			return nil, fmt.Errorf("listen for the API: %w", err)
		}
		s.log.Info("answering", "url", "http://"+l.Addr().String())
		listeners = append(listeners, l)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	for _, l := range listeners {
		wg.Go(func() { server.Serve(l) })
	}
	return func() { server.Close(); wg.Wait() }, nil
}

// switched is the providers of the spec that was applied last. Those of the ones
// before stay open until the end: a run may still use them.
type switched struct {
	mu  sync.Mutex
	all []*providers.Set
}

func (s *switched) put(set *providers.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, set)
}

// Get implements tasks.Source.
func (s *switched) Get(ctx context.Context, name string) (providers.Provider, error) {
	s.mu.Lock()
	set := s.all[len(s.all)-1]
	s.mu.Unlock()
	return set.Get(ctx, name)
}

func (s *switched) close() {
	for _, set := range s.all {
		set.Close()
	}
}

// hasRules reports whether a flow has scaling blocks.
func hasRules(d engine.Desired) bool {
	for _, decl := range d.Decls {
		if decl.Address.Kind == engine.KindScaling {
			return true
		}
	}
	return false
}

// control makes sure that a flow with rules has a controller, and one without has
// none. It returns the controller's process, nil without one.
func (s *session) control(ctx context.Context) (*daemon.Proc, error) {
	if !hasRules(s.desired) {
		return nil, s.stopController(ctx)
	}
	if p, err := daemon.Find(s.controllerDir()); err == nil {
		return &p, nil // it sees what was applied
	}
	start, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	p, err := daemon.Spawn(start, daemon.Command{Exe: s.app.exe, Args: []string{"serve", "-flow-dir", s.dir}, Dir: s.controllerDir()})
	if err != nil {
		return nil, fmt.Errorf("start the controller: %w", err)
	}
	return &p, nil
}

// stopGrace is how long a controller may take to end: what it has begun is awaited.
const stopGrace = 40 * time.Second

// stopController ends the controller in the background, and removes its folder
// unless another has taken over meanwhile.
func (s *session) stopController(ctx context.Context) error {
	dir := s.controllerDir()
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	end, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	if err := daemon.Stop(end, dir); err != nil {
		return fmt.Errorf("stop the controller: %w", err)
	}
	release, err := daemon.Claim(dir, s.app.now())
	if err != nil {
		return nil
	}
	defer release()
	return os.RemoveAll(dir)
}

// stopServing ends the controller in the background, and says what it did.
func (s *session) stopServing(ctx context.Context) error {
	p, err := daemon.Find(s.controllerDir())
	if stopped := s.stopController(ctx); stopped != nil {
		return stopped
	}
	if err != nil {
		fmt.Fprintf(s.app.out, "No controller of %s runs in the background.\n", s.name)
		return nil
	}
	fmt.Fprintf(s.app.out, "The controller of %s (process %d) has ended: the sizes stay as they are until an apply, or flowctl serve, starts one.\n", s.name, p.PID)
	return nil
}

func (a *app) printUnit(s *session, listen string) error {
	path, err := filepath.Abs(s.bundle.Path)
	if err != nil {
		return err
	}
	line := []string{a.exe, "serve", path, "-state=" + filepath.Dir(s.dir)}
	if listen != "" {
		line = append(line, "-listen="+listen)
	}
	_, err = fmt.Fprint(a.out, view.Unit(s.name, line))
	return err
}

// controllerStatus asks the controller in the background what it does, nil if none
// runs.
func (s *session) controllerStatus(ctx context.Context) (*api.Status, *daemon.Proc) {
	p, err := daemon.Find(s.controllerDir())
	if err != nil {
		return nil, nil
	}
	ask, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client := daemon.HTTPClient(s.controllerDir())
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ask, http.MethodGet, "http://controller/v1/status", nil)
	if err != nil {
		return nil, &p
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, &p
	}
	defer resp.Body.Close()
	var st api.Status
	if json.NewDecoder(resp.Body).Decode(&st) != nil {
		return nil, &p
	}
	return &st, &p
}
