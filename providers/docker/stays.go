package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/docker/docker/api/types/container"
	"github.com/flowctl/flowctl/engine"
)

// Stays implements providers.Stayer. A container that is not to be started again
// may end with status 0: its work may be short.
func (d *Docker) Stays(ctx context.Context, o engine.Object) error {
	dm, err := d.daemon(o.Attr("machine_id"))
	if err != nil {
		return err
	}
	name := d.name(o.Address, o.Gen)
	ended, failed := dm.ContainerWait(ctx, name, container.WaitConditionNextExit) // before we look, so that nothing is missed
	c, err := dm.ContainerInspect(ctx, name)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return dm.fault("look at container "+name, err)
	}
	again := c.HostConfig.RestartPolicy.IsAlways()
	if s := stateOf(c); s.Presence != engine.Present && (again || c.State.ExitCode != 0) {
		return errors.New(s.Why)
	}
	select {
	case end := <-ended:
		if end.StatusCode == 0 && !again {
			return nil
		}
		return fmt.Errorf("its program ended with status %d", end.StatusCode)
	case err := <-failed:
		if ctx.Err() != nil {
			return nil
		}
		return dm.fault("watch container "+name, err)
	case <-ctx.Done():
		return nil
	}
}
