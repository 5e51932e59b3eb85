package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	stdruntime "runtime"
	"slices"
	"strings"
	"sync"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/agent"
	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/providers"
)

// AgentCommand is the hidden subcommand that is the machine agent.
const AgentCommand = "machine-agent"

// Factory makes the provider.
var Factory = providers.Factory{
	Doc:   "Runs everything on this computer: a vm is a process that supervises replicas, a function is a program.",
	Kinds: []engine.Kind{engine.KindVM, engine.KindHost, engine.KindNetwork, engine.KindImage, engine.KindFunction},
	New: func(_ context.Context, s providers.Settings) (providers.Provider, error) {
		return New(s), nil
	},
}

// Local is the provider.
type Local struct {
	*providers.Native
	settings providers.Settings

	mu       sync.Mutex // guards the choice of addresses
	saidOnce sync.Once
}

var (
	_ providers.Provider = (*Local)(nil)
	_ providers.Lister   = (*Local)(nil)
	_ providers.Logger   = (*Local)(nil)
	_ providers.Execer   = (*Local)(nil)
	_ providers.Stayer   = (*Local)(nil)

	_ providers.Suspender = (*Local)(nil)
	_ providers.Restarter = (*Local)(nil)
	_ providers.Copier    = (*Local)(nil)
	_ providers.Signaler  = (*Local)(nil)

	_ providers.Meter   = (*Local)(nil)
	_ providers.Watcher = (*Local)(nil)
	_ providers.Sizer   = (*Local)(nil)
	_ providers.Cleaner = (*Local)(nil)
)

// New returns the provider. Nothing is made before the first Apply.
func New(s providers.Settings) *Local {
	l := &Local{settings: s}
	l.Native = &providers.Native{Name: s.Name, Kinds: map[engine.Kind]providers.Resource{
		engine.KindVM: providers.Of[engine.VM]{
			ReadFn: l.readVM, ApplyFn: l.applyVM, RefineFn: refineVM,
			DeleteFn: func(ctx context.Context, r providers.Ref, _ engine.VM) error { return l.removeMachine(ctx, r) },
		},
		engine.KindHost: providers.Of[engine.Host]{
			ReadFn: l.readHost, ApplyFn: l.applyHost,
			DeleteFn: func(ctx context.Context, r providers.Ref, _ engine.Host) error { return l.removeMachine(ctx, r) },
		},
		engine.KindNetwork: network(),
		engine.KindImage:   l.image(),
		engine.KindFunction: providers.Of[engine.Replica]{
			ReadFn: l.readReplica, ApplyFn: l.applyReplica, DeleteFn: l.removeReplica,
			CheckFn: l.checkReplica, RefineFn: refineReplica,
		},
	}}
	return l
}

// idleMachine are attributes that mean something to virtual machines only.
var idleMachine = []string{"max_cpus", "max_memory", "image", "disk_size", "kernel", "initrd", "cmdline", "user_data", "metadata", "file"}

// refineVM knows what means nothing here, so that changing it restarts nobody.
func refineVM(p engine.Proposal) engine.Proposal {
	p.ReplacePaths = slices.DeleteFunc(slices.Clone(p.ReplacePaths), func(name string) bool { return slices.Contains(idleMachine, name) })
	return p
}

// machineID names a machine and its folder.
func machineID(a engine.Address, gen int) string {
	return string(a.Kind) + "-" + providers.Name(a, gen)
}

func (l *Local) dir(id string) string { return filepath.Join(l.settings.Dir, id) }

// labels are what every object carries.
func (l *Local) labels(r providers.Ref) map[string]string {
	return map[string]string{
		agent.LabelFlow: l.settings.Flow, agent.LabelAddress: r.Address.String(),
		"generation": fmt.Sprint(r.Gen), "operation": r.Operation,
	}
}

// startMachine makes the agent of a machine what it is to be.
func (l *Local) startMachine(ctx context.Context, r providers.Ref, m agent.Machine) (agent.MachineStatus, error) {
	id := machineID(r.Address, r.Gen)
	if err := l.sweepOlder(ctx, r); err != nil {
		return agent.MachineStatus{}, err
	}
	m.Labels = l.labels(r)
	dir := l.dir(id)
	status, err := agent.Start(ctx, agent.StartOptions{
		Dir: dir, Machine: m, Exe: l.settings.Exe, Args: []string{AgentCommand, "-dir", dir},
	})
	if err != nil {
		return status, fmt.Errorf("start machine agent %s: %w", id, err)
	}
	if !status.LimitsEnforced {
		l.saidOnce.Do(func() {
			l.settings.Log.Warn("cpu and memory limits of local machines are not enforced", "why", oneLine(status.LimitsWhy))
		})
	}
	return status, nil
}

// oneLine keeps the first of several reasons, which are mostly the same.
func oneLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// sweepOlder clears away what dead agents of earlier generations left.
func (l *Local) sweepOlder(ctx context.Context, r providers.Ref) error {
	for gen := 1; gen < r.Gen; gen++ {
		if err := l.bury(ctx, machineID(r.Address, gen)); err != nil {
			return err
		}
	}
	return nil
}

// bury removes the folder and the processes of a machine whose agent is dead. A
// living one is left alone.
func (l *Local) bury(ctx context.Context, id string) error {
	dir := l.dir(id)
	if _, err := daemon.Find(dir); !errors.Is(err, daemon.ErrNotRunning) {
		return err
	}
	if _, err := agent.Sweep(ctx, dir); err != nil {
		return fmt.Errorf("end what the dead agent of %s left running: %w", id, err)
	}
	return os.RemoveAll(dir)
}

func (l *Local) readMachine(ctx context.Context, r providers.Ref) (agent.MachineStatus, providers.Status, error) {
	c := agent.NewClient(l.dir(machineID(r.Address, r.Gen)))
	defer c.Close()
	m, err := c.Machine(ctx)
	if errors.Is(err, daemon.ErrNotRunning) {
		return m, providers.Status{Presence: engine.Gone, Why: "its machine agent does not run"}, nil
	}
	return m, providers.Status{}, err
}

func (l *Local) readVM(ctx context.Context, r providers.Ref, known engine.VM) (engine.VM, providers.Status, error) {
	m, status, err := l.readMachine(ctx, r)
	if err != nil || status.Presence == engine.Gone {
		return known, status, err
	}
	known.CPUs, known.Memory, known.Slots = m.CPUs, engine.Size(m.MemoryBytes), m.Slots
	known.ID, known.Address = machineID(r.Address, r.Gen), m.Host
	return known, status, nil
}

func (l *Local) applyVM(ctx context.Context, r providers.Ref, want engine.VM, prior *engine.VM) (engine.VM, bool, error) {
	host := ""
	if prior != nil {
		host = prior.Address
	}
	l.mu.Lock() // until the agent has put its address down where others look
	defer l.mu.Unlock()
	if host == "" {
		var err error
		if host, err = l.pickHost(ctx, r, want.Network.CIDR); err != nil {
			return want, false, err
		}
	}
	m, err := l.startMachine(ctx, r, agent.Machine{Host: host, CPUs: want.CPUs, MemoryBytes: int64(want.Memory), Slots: want.Slots})
	if err != nil {
		return want, false, err
	}
	want.ID, want.Address = machineID(r.Address, r.Gen), m.Host
	return want, true, nil
}

func (l *Local) readHost(ctx context.Context, r providers.Ref, known engine.Host) (engine.Host, providers.Status, error) {
	m, status, err := l.readMachine(ctx, r)
	if err != nil || status.Presence == engine.Gone {
		return known, status, err
	}
	known.CPUs, known.Memory, known.Slots = m.CPUs, engine.Size(m.MemoryBytes), m.Slots
	known.ID, known.Address, known.Gateway = machineID(r.Address, r.Gen), m.Host, m.Host
	return known, status, nil
}

func (l *Local) applyHost(ctx context.Context, r providers.Ref, want engine.Host, _ *engine.Host) (engine.Host, bool, error) {
	have, err := l.Capacity(ctx, engine.Object{})
	if err != nil {
		return want, false, err
	}
	if want.CPUs == 0 {
		want.CPUs = have.CPU
	}
	if want.Memory == 0 {
		want.Memory = have.Memory
	}
	m, err := l.startMachine(ctx, r, agent.Machine{Host: loopback, CPUs: want.CPUs, MemoryBytes: int64(want.Memory), Slots: want.Slots})
	if err != nil {
		return want, false, err
	}
	want.ID, want.Address, want.Gateway = machineID(r.Address, r.Gen), m.Host, m.Host
	return want, true, nil
}

// Capacity implements providers.Sizer: the whole computer.
func (l *Local) Capacity(context.Context, engine.Object) (engine.Capacity, error) {
	c := engine.Capacity{CPU: float64(stdruntime.NumCPU())}
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return c, nil // not Linux: memory counts as unlimited
	}
	for line := range strings.Lines(string(text)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "MemTotal: %d kB", &kb); n == 1 {
			c.Memory = engine.Size(kb/1024) * engine.MiB
		}
	}
	return c, nil
}

func (l *Local) removeMachine(ctx context.Context, r providers.Ref) error {
	id := machineID(r.Address, r.Gen)
	c := agent.NewClient(l.dir(id))
	defer c.Close()
	if err := c.Shutdown(ctx); err != nil {
		return fmt.Errorf("end machine agent %s: %w", id, err)
	}
	if err := l.bury(ctx, id); err != nil {
		return err
	}
	return l.tidy()
}

// tidy removes the provider's own folder once it is empty.
func (l *Local) tidy() error {
	err := os.Remove(l.settings.Dir)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if left, rerr := os.ReadDir(l.settings.Dir); rerr == nil && len(left) > 0 {
		return nil
	}
	return err
}

// machines lists the ids of all machines that have a folder.
func (l *Local) machines() ([]string, error) {
	entries, err := os.ReadDir(l.settings.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}

// Clean implements providers.Cleaner.
func (l *Local) Clean(ctx context.Context, all bool, _ []string) error {
	ids, err := l.machines()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if all {
			c := agent.NewClient(l.dir(id))
			errs = append(errs, c.Shutdown(ctx))
			c.Close()
		}
		errs = append(errs, l.bury(ctx, id))
	}
	return errors.Join(append(errs, l.tidy())...)
}
