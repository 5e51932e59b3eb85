package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"

	"github.com/flowctl/flowctl/internal/daemon"
)

// StartOptions says which agent to start. Dir and Machine are needed.
type StartOptions struct {
	Dir     string
	Machine Machine
	Exe     string   // default: this program
	Args    []string // default: machine-agent -dir Dir
	Env     []string // added to this process's environment
}

// Start makes the machine of a folder what it is to be: it starts an agent in
// the background, or changes the machine of the one that runs.
func Start(ctx context.Context, o StartOptions) (MachineStatus, error) {
	c := NewClient(o.Dir)
	defer c.Close()
	now, err := c.Machine(ctx)
	if errors.Is(err, daemon.ErrNotRunning) {
		if err := spawn(ctx, o); err != nil {
			return MachineStatus{}, err
		}
		now, err = c.Machine(ctx)
	}
	if err == nil && !sameMachine(now.Machine, o.Machine) {
		return c.SetMachine(ctx, o.Machine)
	}
	return now, err
}

func sameMachine(a, b Machine) bool {
	labels := maps.Equal(a.Labels, b.Labels)
	a.Labels, b.Labels = nil, nil
	return labels && a.Host == b.Host && a.CPUs == b.CPUs && a.MemoryBytes == b.MemoryBytes && a.Slots == b.Slots
}

// spawn starts the agent. When another process does so at the same time, either
// one's agent will do.
func spawn(ctx context.Context, o StartOptions) error {
	if err := WriteMachine(o.Dir, o.Machine); err != nil {
		return err
	}
	if o.Exe == "" {
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own program: %w", err)
		}
		o.Exe = exe
	}
	if o.Args == nil {
		o.Args = []string{"machine-agent", "-dir", o.Dir}
	}
	// An agent that is started from inside a replica is not a part of it.
	env := append([]string{markMachine + "=", markReplica + "="}, o.Env...)
	_, err := daemon.Spawn(ctx, daemon.Command{Exe: o.Exe, Args: o.Args, Dir: o.Dir, Env: env})
	if err == nil {
		return nil
	}
	if _, other := daemon.Find(o.Dir); other == nil {
		return nil
	}
	return fmt.Errorf("start machine agent: %w", err)
}
