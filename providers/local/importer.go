package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/agent"
	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/providers"
)

var _ providers.Importer = (*Local)(nil)

// programLabel keeps the program as the spec wrote it, for an import.
const programLabel = "program"

// generations is how many are tried to find the one that an id tells of.
const generations = 10_000

// Import implements providers.Importer: a machine or a replica that runs and
// whose name is one that its address can have.
func (l *Local) Import(ctx context.Context, a engine.Address, id string) (engine.Object, error) {
	name := providers.Name
	if a.Kind != engine.KindFunction {
		name = machineID
	}
	for gen := 1; gen <= generations; gen++ {
		if name(a, gen) == id {
			return l.importAs(ctx, engine.Object{Address: a, Gen: gen})
		}
	}
	return engine.Object{}, fmt.Errorf("%q is no name that %s can have, which is %s or, as a successor, %s: %w", id, a, name(a, 1), name(a, 2), providers.ErrNotFound)
}

func (l *Local) importAs(ctx context.Context, o engine.Object) (engine.Object, error) {
	r := providers.Ref{Address: o.Address, Gen: o.Gen}
	var status providers.Status
	var err error
	switch o.Address.Kind {
	case engine.KindVM:
		var vm engine.VM
		vm, status, err = l.readVM(ctx, r, vm)
		o.Value = engine.Encode(vm)
	case engine.KindHost:
		var h engine.Host
		h, status, err = l.readHost(ctx, r, h)
		o.Value = engine.Encode(h)
	case engine.KindFunction:
		var f engine.Replica
		f, err = l.importReplica(ctx, r)
		o.Value = engine.Encode(f)
	default:
		return o, providers.Unsupported("local", o.Address)
	}
	if err == nil && status.Presence == engine.Gone || errors.Is(err, agent.ErrNotFound) {
		err = fmt.Errorf("%s does not run: %w", o.Key(), providers.ErrNotFound)
	}
	return o, err
}

// importReplica reads what a replica was made from off the replica itself.
func (l *Local) importReplica(ctx context.Context, r providers.Ref) (engine.Replica, error) {
	var f engine.Replica
	machine, s, err := l.locate(ctx, providers.Name(r.Address, r.Gen), "")
	if err != nil {
		return f, err
	}
	c := l.client(machine)
	defer c.Close()
	m, err := c.Machine(ctx)
	if err != nil && !errors.Is(err, daemon.ErrNotRunning) {
		return f, err
	}
	f.Exec, f.Env, f.CPU, f.Memory = s.Spec.Exec, s.Spec.Env, s.Spec.CPU, engine.Size(s.Spec.MemoryBytes)
	if p := s.Spec.Labels[programLabel]; p != "" {
		f.Exec = append([]string{p}, f.Exec[1:]...)
	}
	f.Protocol, f.Machine, f.MachineID = "http", m.Labels[agent.LabelAddress], machine
	fill(&f, s)
	return f, nil
}
