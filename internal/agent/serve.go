package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
)

// ServeOptions says how to be an agent. Dir alone is needed.
type ServeOptions struct {
	Dir       string           // the agent's folder, with machine.json in it
	Log       *slog.Logger     // default: discards
	Now       func() time.Time // default: time.Now
	Seed      uint64           // of the jitter of restarts; default: the process id
	PortDir   string           // shared by the agents of this user; default below os.TempDir
	NoCgroups bool             // measure by /proc and enforce no limits, even where cgroups could be had
}

// machineFile holds the Machine.
const machineFile = "machine.json"

// WriteMachine puts down what the machine of dir is to be; the agent reads it
// when it starts. Start does this.
func WriteMachine(dir string, m Machine) error {
	if err := m.Validate(); err != nil {
		return err
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of machine: %w", err)
	}
	path := filepath.Join(dir, machineFile)
	if err := errors.Join(os.WriteFile(path+".new", b, 0o600), os.Rename(path+".new", path)); err != nil {
		return fmt.Errorf("save machine: %w", err)
	}
	return nil
}

func readMachine(dir string) (Machine, error) {
	var m Machine
	b, err := os.ReadFile(filepath.Join(dir, machineFile))
	if err != nil {
		return m, fmt.Errorf("read machine: %w", err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("read machine from %s: %w", filepath.Join(dir, machineFile), err)
	}
	return m, m.Validate()
}

// machineID names the machine of a folder: the same for the agent and, after
// its death, for who cleans up, even if all files are gone.
func machineID(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:8])
}

// Serve is the agent of a machine. It claims the folder, kills what a dead agent
// left running, answers on the folder's socket and calls daemon.Ready; when ctx
// ends or a client asks it to shut down, it stops all replicas, each with its
// grace, and returns. All children of the process are its own: call it in a
// process that does nothing else, once.
func Serve(ctx context.Context, o ServeOptions) error {
	o = o.withDefaults()
	defer heedAll()()
	a, err := open(o)
	daemon.Ready(err)
	if err != nil {
		return err
	}
	ctx, stop := daemon.WhileOwner(ctx, o.Dir)
	defer stop()
	return a.serve(ctx)
}

// heedAll stops ignoring signals: nohup and a shell's & have them ignored, and what
// this process ignores its replicas would, too, for good (signal(7)).
func heedAll() (stop func()) {
	heard := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2} {
		if signal.Ignored(sig) {
			signal.Notify(heard, sig)
		}
	}
	return func() { signal.Stop(heard) }
}

func (o ServeOptions) withDefaults() ServeOptions {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Seed == 0 {
		o.Seed = uint64(os.Getpid())
	}
	if o.PortDir == "" {
		o.PortDir = defaultPortDir()
	}
	return o
}

// agent is everything that Serve has opened.
type agent struct {
	*supervisor
	listener net.Listener
	release  func() // of the folder
}

// open makes everything that can fail. It leaves nothing when it does.
func open(o ServeOptions) (a *agent, err error) {
	release, err := daemon.Claim(o.Dir, o.Now())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	m, err := readMachine(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := hasAddress(m.Host); err != nil {
		return nil, err
	}
	if err := becomeSubreaper(); err != nil {
		return nil, err
	}
	h := host{
		dir: o.Dir, id: machineID(o.Dir), log: o.Log, now: o.Now,
		chance: rand.New(rand.NewPCG(o.Seed, 0)), ports: newPorts(o.PortDir, machineID(o.Dir)),
	}
	sweepAtStart(o.Dir, o.Log)
	if err := recordPorts(o.Dir, o.PortDir); err != nil {
		return nil, err
	}
	l, err := daemon.Listen(o.Dir)
	if err != nil {
		return nil, err
	}
	h.table = newProcTable(h.id, o.Now, recordSession(o.Dir))
	if h.forker, err = newForker(o.Now, h.table.orphan); err != nil {
		l.Close()
		return nil, err
	}
	h.groups, h.unmade = openGroups(o, h.id, m)
	if h.unmade != "" {
		o.Log.Warn("limits of cpu and memory are not all enforced", "why", h.unmade)
	}
	return &agent{newSupervisor(h, m), l, release}, nil
}

// openGroups makes the machine's cgroup if it can, and says what it cannot.
func openGroups(o ServeOptions, id string, m Machine) (groups *machineGroup, unmade string) {
	if o.NoCgroups {
		return nil, "cgroups are switched off"
	}
	groups, err := openMachineGroup(id, m.CPUs, m.MemoryBytes, recordGroups(o.Dir))
	if err != nil {
		return nil, err.Error()
	}
	return groups, groups.missing
}

// serve runs until the end, and gives everything back.
func (a *agent) serve(ctx context.Context) error {
	defer a.release()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := &http.Server{
		Handler:           a.handler(stop),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
	}
	a.log.Info("machine agent serves", "dir", a.dir, "machine", a.id, "host", a.machine.Host)
	var servers sync.WaitGroup
	var served error
	servers.Go(func() {
		served = server.Serve(a.listener)
		stop() // a broken socket: nobody could ask for anything any more
	})
	servers.Go(a.measure)
	a.run(ctx)
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(patience) != nil {
		server.Close()
	}
	servers.Wait()
	a.killStrays()
	a.forker.close()
	if err := errors.Join(os.Remove(filepath.Join(a.dir, daemon.Socket)), forgetGroups(a.dir, a.groups.remove()), forgetSessions(a.dir), forgetPorts(a.dir)); err != nil {
		a.log.Error("traces of the machine stay", "err", err)
	}
	a.log.Info("machine agent ends")
	if errors.Is(served, http.ErrServerClosed) {
		return nil
	}
	return served
}

// killStrays kills what still descends from the agent when no replica runs. It
// is in no cgroup, or would be dead.
func (a *agent) killStrays() {
	for deadline := time.Now().Add(buryTimeout); ; {
		left, err := a.table.strays()
		if len(left) == 0 || time.Now().After(deadline) {
			if err != nil || len(left) > 0 {
				a.log.Error("cannot kill strays", "count", len(left), "err", err)
			}
			return
		}
		for _, p := range left {
			a.log.Warn("killing a stray process", "pid", p.pid, "command", commandOf(p.pid))
			kill(p.key(), syscall.SIGKILL)
		}
		time.Sleep(lookAgain)
	}
}
