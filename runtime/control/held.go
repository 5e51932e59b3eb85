package control

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime"
)

// reconsider begins to look, now and then, whether a flow that is held is what its
// last whole spec says after all: what was interrupted may have been rolled back.
// Then nothing need be held any longer.
func (c *Controller) reconsider(ctx context.Context, now time.Time) {
	if c.planning || c.spec == "" || len(c.runs) > 0 || now.Before(c.relook) {
		return
	}
	c.relook = now.Add(cmp.Or(c.Repair, DefaultRepair))
	c.planning = true
	spec, serial, r := c.spec, c.serial, runtime.Request{Desired: c.desired, Pins: c.pins()}
	c.aside(func() func(time.Time) {
		free, err := c.release(ctx, spec, serial, r)
		return func(time.Time) {
			c.planning = false
			switch {
			case err != nil && ctx.Err() == nil && !runtime.IsLocked(err):
				c.Log.Debug("nobody can say whether the flow is what its spec says", "err", err)
			case free:
				c.Log.Info("the flow is what the spec that was applied last as a whole says")
			}
		}
	})
}

// release ends the hold if a plan of the spec, made from a serial of the state, is
// empty. It reports whether it has.
func (c *Controller) release(ctx context.Context, spec string, serial int64, r runtime.Request) (bool, error) {
	p, diags, err := c.Flow.Plan(ctx, r)
	if err == nil {
		err = diags.Err()
	}
	if err != nil || !p.Plan.Empty() || p.Plan.Destroy || unsettled(p.Plan) {
		return false, err
	}
	l, err := c.flow.hold(ctx)
	if err != nil {
		return false, err
	}
	defer c.flow.leave(ctx)
	if v, err := c.Store.Version(ctx); err != nil || v.Spec != spec || v.Serial != serial || v.Held == "" {
		return false, err
	}
	if err := c.Store.Hold(ctx, l, ""); err != nil {
		return false, fmt.Errorf("end the hold: %w", err)
	}
	return true, nil
}

// unsettled reports whether a plan leaves something as it is that it would change.
func unsettled(p engine.Plan) bool {
	for _, ch := range p.Changes {
		if ch.Hold != "" {
			return true
		}
	}
	return false
}
