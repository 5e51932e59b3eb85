package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/agent"
	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/providers"
)

func (l *Local) client(machine string) *agent.Client { return agent.NewClient(l.dir(machine)) }

// find looks a program up: with a slash from the spec's folder on, else beside
// flowctl and then on the PATH.
func (l *Local) find(program string) (string, error) {
	if strings.Contains(program, "/") {
		if !filepath.IsAbs(program) {
			program = filepath.Join(l.settings.SpecDir, program)
		}
		return look(program)
	}
	if path, err := look(filepath.Join(filepath.Dir(l.settings.Exe), program)); err == nil {
		return path, nil
	}
	path, err := look(program)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

func look(program string) (string, error) {
	path, err := osexec.LookPath(program)
	var e *osexec.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	return path, err
}

func (l *Local) checkReplica(_ context.Context, a engine.Address, want engine.Replica, _ *engine.Replica) engine.Diagnostics {
	if len(want.Exec) == 0 {
		return engine.Diagnostics{{Summary: "Function without a program", Address: a,
			Detail: fmt.Sprintf("%s runs on a machine of the local provider, which starts programs. Write exec = [\"program\", \"argument\"]; an image is for container runtimes.", a.Group())}}
	}
	if want.Exec[0] == "" { // not known yet
		return nil
	}
	diags := append(onlyInContainers(a, want), engine.CheckFiles(a, want.Files)...)
	if _, err := l.find(want.Exec[0]); err != nil {
		diags = append(diags, engine.Diagnostic{Summary: "Program not found", Address: a, Detail: l.notFound(a, want.Exec[0], err)})
	}
	if dir := l.workingDir(want); dir != "" {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			diags = append(diags, engine.Diagnostic{Summary: "Working directory not found", Address: a,
				Detail: fmt.Sprintf("%s is to run in %s, which is no folder. Make it, or leave working_dir out: each replica has a folder of its own.", a.Group(), dir)})
		}
	}
	return diags
}

// onlyInContainers refuses what a program would miss outside of a container, and
// says what has no effect there: a spec for both is to run here, too.
func onlyInContainers(a engine.Address, want engine.Replica) engine.Diagnostics {
	var missed, idle []string
	note := func(list *[]string, set bool, name string) {
		if set {
			*list = append(*list, name)
		}
	}
	note(&missed, len(want.Volumes) > 0, "volume")
	note(&missed, want.Network.ID != "", "network")
	note(&idle, want.User != "", "user")
	note(&idle, want.ReadOnly, "read_only")
	note(&idle, len(want.CapDrop) > 0, "cap_drop")
	note(&idle, want.Restart != "" && want.Restart != "always", "restart")
	note(&idle, want.Log != nil, "log")
	var diags engine.Diagnostics
	if len(missed) > 0 {
		diags = append(diags, engine.Diagnostic{Summary: "Not possible without a container", Address: a,
			Detail: fmt.Sprintf("%s has %s, but its machine is of the local provider, which runs programs and no containers. Put it on a host of a container engine, or tell the program by env and exec what it needs.", a.Group(), strings.Join(missed, ", "))})
	}
	if len(idle) > 0 {
		diags = append(diags, engine.Diagnostic{Severity: engine.Warning, Summary: "No effect without a container", Address: a,
			Detail: fmt.Sprintf("%s has %s, which the local provider ignores: it runs programs as the user who runs flowctl, and starts them again when they end.", a.Group(), strings.Join(idle, ", "))})
	}
	return diags
}

func (l *Local) notFound(a engine.Address, program string, err error) string {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Sprintf("%s runs %q, which is not executable. Try chmod +x, or name another program.", a.Group(), program)
	}
	where := fmt.Sprintf("neither beside flowctl (%s) nor on the PATH", filepath.Dir(l.settings.Exe))
	if strings.Contains(program, "/") {
		where = "not at that place, looked up from the spec's folder " + l.settings.SpecDir
	}
	return fmt.Sprintf("%s runs %q, but there is no such program: %s. Build or install it, or write its path.", a.Group(), program, where)
}

func (l *Local) workingDir(r engine.Replica) string {
	if r.WorkingDir == "" || filepath.IsAbs(r.WorkingDir) {
		return r.WorkingDir
	}
	return filepath.Join(l.settings.SpecDir, r.WorkingDir)
}

// idleHere are attributes that mean something to containers only.
var idleHere = []string{"image", "port", "user", "read_only", "cap_drop", "restart", "log"}

// refineReplica knows what means nothing here, so that changing it restarts nobody.
func refineReplica(p engine.Proposal) engine.Proposal {
	p.ReplacePaths = slices.DeleteFunc(slices.Clone(p.ReplacePaths), func(name string) bool { return slices.Contains(idleHere, name) })
	return engine.FilesInPlace(p)
}

func (l *Local) applyReplica(ctx context.Context, r providers.Ref, want engine.Replica, prior *engine.Replica) (engine.Replica, bool, error) {
	if len(want.Exec) == 0 {
		return want, false, providers.Permanent(fmt.Errorf("%s has no exec", r.Address))
	}
	path, err := l.find(want.Exec[0])
	if err != nil {
		return want, false, providers.Permanent(errors.New(l.notFound(r.Address, want.Exec[0], err)))
	}
	labels := l.labels(r)
	labels[programLabel] = want.Exec[0]
	spec := agent.ReplicaSpec{
		Name: providers.Name(r.Address, r.Gen), Labels: labels,
		Exec: append([]string{path}, want.Exec[1:]...), Env: want.Env, Dir: l.workingDir(want),
		CPU: want.CPU, MemoryBytes: int64(want.Memory),
	}
	for _, f := range want.Files {
		mode, err := engine.FileMode(f.Mode)
		if err != nil {
			return want, false, providers.Permanent(err)
		}
		spec.Files = append(spec.Files, agent.SpecFile{Path: f.Path, Content: f.Content, Mode: os.FileMode(mode) & os.ModePerm})
	}
	if want.Stop != nil {
		spec.StopSignal, spec.StopGrace = want.Stop.Signal, want.Stop.Grace.Std()
	}
	c := l.client(want.MachineID)
	defer c.Close()
	s, err := c.Put(ctx, spec)
	if err == nil && prior != nil {
		switch s.State {
		case agent.StateBackoff:
			s, err = c.Ensure(ctx, spec.Name)
		case agent.StateSuspended:
			s, err = c.Resume(ctx, spec.Name)
		}
	}
	if err != nil {
		return want, false, l.classify(fmt.Errorf("run %s on %s: %w", r.Address, want.Machine, err))
	}
	fill(&want, s)
	return want, true, nil
}

// classify marks errors by whether another attempt makes sense.
func (l *Local) classify(err error) error {
	switch {
	case errors.Is(err, agent.ErrInvalid), errors.Is(err, agent.ErrReplace), errors.Is(err, daemon.ErrNotRunning):
		return providers.Permanent(err)
	case errors.Is(err, agent.ErrBusy):
		return providers.Passing(err)
	default:
		return err
	}
}

func fill(r *engine.Replica, s agent.Status) {
	r.ID, r.Host, r.HostPort, r.Address, r.NetworkAddress = s.Name, s.Host, s.Port, s.Addr(), s.Addr()
	r.URL = "http://" + s.Addr()
	if r.Protocol == "tcp" {
		r.URL = "tcp://" + s.Addr()
	}
}

// locate finds the machine that runs a replica: the recorded one, or after a
// crash whichever has it.
func (l *Local) locate(ctx context.Context, name, recorded string) (string, agent.Status, error) {
	ids := []string{recorded}
	if recorded == "" {
		var err error
		if ids, err = l.machines(); err != nil {
			return "", agent.Status{}, err
		}
	}
	for _, id := range ids {
		c := l.client(id)
		s, err := c.Get(ctx, name)
		c.Close()
		if err == nil {
			return id, s, nil
		}
		if !errors.Is(err, agent.ErrNotFound) && !errors.Is(err, daemon.ErrNotRunning) {
			return "", s, err
		}
		if recorded != "" {
			return "", s, err
		}
	}
	return "", agent.Status{}, agent.ErrNotFound
}

func (l *Local) readReplica(ctx context.Context, r providers.Ref, known engine.Replica) (engine.Replica, providers.Status, error) {
	machine, s, err := l.locate(ctx, providers.Name(r.Address, r.Gen), known.MachineID)
	switch {
	case errors.Is(err, agent.ErrNotFound):
		return known, providers.Status{Presence: engine.Gone, Why: "its machine does not run it"}, nil
	case errors.Is(err, daemon.ErrNotRunning):
		return known, providers.Status{Presence: engine.Gone, Why: "its machine agent does not run"}, nil
	case err != nil:
		return known, providers.Status{}, err
	}
	known.MachineID = machine
	known.CPU, known.Memory = s.Spec.CPU, engine.Size(s.Spec.MemoryBytes)
	fill(&known, s)
	return known, stateOf(s), nil
}

// stateOf says whether a replica works, as far as its process tells.
func stateOf(s agent.Status) providers.Status {
	switch s.State {
	case agent.StateRunning, agent.StateStarting:
		return providers.Status{}
	}
	why := fmt.Sprintf("its process is in state %s", s.State)
	switch {
	case s.Error != "":
		why += ": " + s.Error
	case s.LastExit != nil:
		why += fmt.Sprintf(" after it ended with %s (%d restarts)", s.LastExit, s.Restarts)
	}
	return providers.Status{Presence: engine.Down, Why: why}
}

func (l *Local) removeReplica(ctx context.Context, r providers.Ref, known engine.Replica) error {
	name := providers.Name(r.Address, r.Gen)
	machine, _, err := l.locate(ctx, name, known.MachineID)
	if errors.Is(err, agent.ErrNotFound) || errors.Is(err, daemon.ErrNotRunning) {
		return nil // with its agent, its process is gone
	}
	if err != nil {
		return err
	}
	c := l.client(machine)
	defer c.Close()
	if err := c.Remove(ctx, name); err != nil && !errors.Is(err, daemon.ErrNotRunning) {
		return l.classify(fmt.Errorf("stop %s: %w", r.Address, err))
	}
	return nil
}

// Stays implements providers.Stayer.
func (l *Local) Stays(ctx context.Context, o engine.Object) error {
	c := l.client(o.Attr("machine_id"))
	defer c.Close()
	name := providers.Name(o.Address, o.Gen)
	for after := int64(0); ; {
		snap, err := c.Changes(ctx, after)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		i := slices.IndexFunc(snap.Replicas, func(s agent.Status) bool { return s.Name == name })
		if i < 0 {
			return errors.New("its machine does not run it any more")
		}
		if s := stateOf(snap.Replicas[i]); s.Presence != engine.Present {
			return errors.New(s.Why)
		}
		after = snap.Revision
	}
}

// Logs implements providers.Logger.
func (l *Local) Logs(ctx context.Context, o engine.Object, opts providers.LogOptions) iter.Seq2[providers.LogLine, error] {
	return func(yield func(providers.LogLine, error) bool) {
		c := l.client(o.Attr("machine_id"))
		defer c.Close()
		lo := agent.LogOptions{Tail: opts.Tail, Since: opts.Since, Follow: opts.Follow}
		switch {
		case opts.Tail < 0:
			lo.Tail = 0
		case opts.Tail == 0:
			lo.Tail = -1
		}
		for line, err := range c.Logs(ctx, providers.Name(o.Address, o.Gen), lo) {
			if !yield(providers.LogLine{At: line.Time, Stream: line.Stream, Text: line.Text}, err) || err != nil {
				return
			}
		}
	}
}

// Exec implements providers.Execer: the command runs beside the replica, with
// its environment, directory and limits.
func (l *Local) Exec(ctx context.Context, o engine.Object, argv []string, io providers.Streams) (int, error) {
	cmd, err := l.command(ctx, o, argv)
	if err != nil {
		return 0, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input(io.In), io.Out, io.Err
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("run %s beside %s: %w", argv[0], o.Address, err)
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	err = cmd.Wait()
	var exit *osexec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// command makes a command that runs beside a replica, or in the folder of a machine:
// that is this computer.
func (l *Local) command(ctx context.Context, o engine.Object, argv []string) (*osexec.Cmd, error) {
	if o.Address.Kind != engine.KindFunction {
		c := l.client(o.ID())
		defer c.Close()
		m, err := c.Machine(ctx)
		if err != nil {
			return nil, err
		}
		cmd := osexec.Command(argv[0], argv[1:]...)
		cmd.Dir = l.dir(o.ID())
		cmd.Env = append(os.Environ(), "HOST="+m.Host, "FLOWCTL_FLOW="+l.settings.Flow, "FLOWCTL_MACHINE="+o.Address.String())
		return cmd, nil
	}
	c := l.client(o.Attr("machine_id"))
	defer c.Close()
	s, err := c.Get(ctx, providers.Name(o.Address, o.Gen))
	if err != nil {
		return nil, err
	}
	return agent.Command(s, argv), nil
}

// input hands a file over as it is, so that a terminal stays one.
func input(r io.Reader) io.Reader {
	if f, ok := r.(*os.File); ok && f == nil {
		return nil
	}
	return r
}

// List implements providers.Lister.
func (l *Local) List(ctx context.Context) ([]engine.Object, error) {
	ids, err := l.machines()
	if err != nil {
		return nil, err
	}
	var all []engine.Object
	for _, id := range ids {
		c := l.client(id)
		m, err := c.Machine(ctx)
		if err == nil {
			all = append(all, labelled(m.Labels, engine.VM{ID: id, Address: m.Host})...)
			var replicas []agent.Status
			if replicas, err = c.List(ctx); err == nil {
				for _, s := range replicas {
					r := engine.Replica{MachineID: id}
					fill(&r, s)
					all = append(all, labelled(s.Spec.Labels, r)...)
				}
			}
		}
		c.Close()
		if err != nil && !errors.Is(err, daemon.ErrNotRunning) {
			return all, err
		}
	}
	return all, nil
}

// labelled makes the object that labels tell of.
func labelled(labels map[string]string, value any) []engine.Object {
	a, err := engine.ParseAddress(labels[agent.LabelAddress])
	if err != nil {
		return nil
	}
	o := engine.Object{Address: a, Operation: labels["operation"], Value: engine.Encode(value)}
	fmt.Sscan(labels["generation"], &o.Gen)
	return []engine.Object{o}
}

// Usage implements providers.Meter.
func (l *Local) Usage(ctx context.Context, objects []engine.Object) ([]providers.Usage, error) {
	byMachine := map[string]map[string]engine.Address{}
	for _, o := range objects {
		machine := o.Attr("machine_id")
		if o.Address.Kind != engine.KindFunction {
			machine = o.ID()
		}
		if byMachine[machine] == nil {
			byMachine[machine] = map[string]engine.Address{}
		}
		byMachine[machine][o.ID()] = o.Address
	}
	var all []providers.Usage
	var errs []error
	for machine, wanted := range byMachine {
		some, err := l.usageOf(ctx, machine, wanted)
		all, errs = append(all, some...), append(errs, err)
	}
	slices.SortFunc(all, func(a, b providers.Usage) int { return a.Address.Compare(b.Address) })
	return all, errors.Join(errs...)
}

func (l *Local) usageOf(ctx context.Context, machine string, wanted map[string]engine.Address) ([]providers.Usage, error) {
	c := l.client(machine)
	defer c.Close()
	var all []providers.Usage
	if a, ok := wanted[machine]; ok {
		m, err := c.Machine(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, providers.Usage{Address: a, CPUCores: m.Usage.CPUCores, MemoryBytes: m.Usage.MemoryBytes, State: "running", Since: m.Started})
	}
	replicas, err := c.List(ctx)
	for _, s := range replicas {
		if a, ok := wanted[s.Name]; ok {
			all = append(all, providers.Usage{
				Address: a, CPUCores: s.Usage.CPUCores, MemoryBytes: s.Usage.MemoryBytes,
				Restarts: s.Restarts, State: string(s.State), Since: s.Started,
			})
		}
	}
	return all, err
}
