package plan

import (
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/engine"
)

// warm plans the machines that are kept ready for a block's own, and lets those of
// these that are new be made of them. A warm machine that becomes another makes room
// for a new one: in the same plan, or in the loop's next, for until a run is over
// nothing is placed on what it makes.
func (c *computer) warm(d *engine.Decl, is evaluated) {
	g, ok := c.warms[d.Address]
	if !ok {
		return
	}
	group := d.Address.Warm()
	config, alike := c.configOf(d), &shared{}
	makers := c.makers(d.Address)
	for n := range g.Warm {
		a := group.At(n)
		c.members[group] = append(c.members[group], a)
		if c.passes(a, g.WarmAt) {
			continue
		}
		s := subject{
			addr: a, provider: d.Provider, want: is.want, hidden: is.hidden, needs: d.Needs,
			config: config, timeouts: d.Timeouts, source: g.WarmAt, alike: alike,
		}
		ch := c.decide(s)
		if len(makers) > 0 && ready(ch) {
			taker := c.changeOf(makers[0])
			makers = makers[1:]
			taker.From = ch.Prior
			ch = c.refill(s, ch, taker.Address)
		}
		c.add(ch)
	}
}

// stock plans to bring the images of a function to the machines that are kept ready for
// its own, so that a replica on a machine that is made of one need not wait for them.
func (c *computer) stock(d *engine.Decl) {
	if len(c.warms) == 0 {
		return
	}
	i := slices.IndexFunc(c.in.Desired.Functions, func(f engine.FunctionGroup) bool { return f.Address == d.Address })
	if i < 0 {
		return
	}
	for _, group := range c.in.Desired.Functions[i].On {
		for _, a := range c.members[group.Warm()] {
			warm := c.changeOf(a)
			if warm == nil {
				continue
			}
			if warm.Hold == "" {
				c.deliver(slices.Clone(d.Needs), *warm)
				continue
			}
			for _, n := range d.Needs {
				delivery := engine.DeliveryOf(n.Target, a)
				if n.Target.Kind != engine.KindImage || c.changeOf(delivery) != nil {
					continue
				}
				for _, ch := range c.held(delivery, n.Source) {
					ch.Hold = warm.Hold
					c.add(ch)
				}
			}
		}
	}
}

// refill is what becomes of a warm machine that another is made of.
func (c *computer) refill(s subject, ch engine.Change, taker engine.Address) engine.Change {
	if c.in.Live != nil {
		ch.Hold = fmt.Sprintf("it becomes %s", taker)
		return ch
	}
	ch.Action, ch.Prior, ch.Why = engine.Create, nil, fmt.Sprintf("the one that there is becomes %s", taker)
	ch.Gen, ch.Planned = c.last[s.addr]+1, c.refined(s, nil, c.fresh(s)).Want
	return ch
}

// ready reports whether a machine can be made of a warm one: it is just as the block
// wants its machines, and works.
func ready(ch engine.Change) bool {
	return ch.Action == engine.NoOp && ch.Hold == "" && !ch.Broken && ch.Prior != nil
}

// makers lists the machines of a group that are to be made.
func (c *computer) makers(group engine.Address) []engine.Address {
	return slices.DeleteFunc(slices.Clone(c.members[group]), func(a engine.Address) bool {
		ch := c.changeOf(a)
		return ch == nil || ch.Hold != "" || ch.Action != engine.Create && ch.Action != engine.Replace
	})
}
