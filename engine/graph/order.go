package graph

import "github.com/flowctl/flowctl/engine"

// ordered makes the step of what an operator orders.
func (b *builder) ordered(c *engine.Change) {
	op := map[engine.Action]engine.Op{
		engine.Suspend: engine.OpSuspend, engine.Resume: engine.OpResume, engine.Restart: engine.OpRestart,
		engine.Capture: engine.OpCapture, engine.Revert: engine.OpRevert, engine.Discard: engine.OpDiscard,
	}[c.Action]
	provider := c.Provider
	if c.Noted {
		provider = ""
	}
	b.made[c.Address] = b.step(op, c, c.Gen, provider, c.Timeouts.Update)
}

// pause lets a replica leave its frontends before it is suspended or restarts.
func (b *builder) pause(c *engine.Change, made int) {
	if !c.Pauses() && c.Action != engine.Suspend {
		return
	}
	for _, i := range b.backends[c.Address] {
		for _, j := range b.oldBy[b.plan.Changes[i].Address] {
			b.edge(made, b.old[j].step)
		}
	}
}

// orderEdges lets a machine be suspended after everything on it, and resumed
// before.
func (b *builder) orderEdges(c *engine.Change, made int) {
	for _, n := range c.Needs {
		on, ok := b.made[n.Target]
		switch {
		case !ok || !c.Address.Kind.StandsOn(n.Target.Kind):
		case c.Action == engine.Suspend:
			b.edge(on, made)
		default:
			b.edge(made, on)
		}
	}
}
