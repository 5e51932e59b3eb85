package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
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
		return errors.New("its program ended" + exited(ctx, dm, c, end.StatusCode))
	case err := <-failed:
		if ctx.Err() != nil {
			return nil
		}
		return dm.fault("watch container "+name, err)
	case <-ctx.Done():
		return nil
	}
}

// exited says with which status a container's program ended. Before Engine 23 that of
// a wait is read only afterwards, when one that is started again may be at 0 already;
// what the engine has told of its end is right.
func exited(ctx context.Context, dm *daemon, c container.InspectResponse, status int64) string {
	if status != 0 {
		return fmt.Sprintf(" with status %d", status)
	}
	ctx, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	told, failed := dm.Events(ctx, events.ListOptions{
		Since:   c.State.StartedAt, // by the engine's clock
		Filters: filters.NewArgs(filters.Arg("container", c.ID), filters.Arg("event", string(events.ActionDie))),
	})
	select {
	case m := <-told:
		return " with status " + m.Actor.Attributes["exitCode"]
	case <-failed:
		return ""
	}
}
