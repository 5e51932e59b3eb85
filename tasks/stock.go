package tasks

import (
	"context"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// stock tells what a machine may have on it from the start: all that the plan brings to
// machines of its group, so that it is the same for each of them.
func (r *Runner) stock(c *engine.Change) func() providers.Stock {
	if k := c.Address.Kind; k != engine.KindVM && k != engine.KindWarm {
		return nil
	}
	return func() providers.Stock {
		all, ok := r.deliveries(c.Address)
		if !ok {
			return providers.Stock{}
		}
		var key strings.Builder
		for _, d := range all {
			key.WriteString(d.provider + " " + d.want.Name + " " + d.want.Digest + "\n")
		}
		return providers.Stock{Group: takers(c.Address), Key: key.String(), Wait: r.unhurried(c.Address), Bring: func(ctx context.Context, machineID string) error {
			for _, d := range all {
				d.want.Machine, d.want.MachineID = c.Address.String(), machineID
				if err := r.bring(ctx, d); err != nil {
					return err
				}
			}
			return nil
		}}
	}
}

// consignment is an image as it comes to the machines of a group.
type consignment struct {
	image    engine.Address
	provider string
	want     engine.Delivery
}

// deliveries lists what the plan brings to machines of a machine's group, each image
// once; it is not ok as long as an image is still to be made, or fetched.
func (r *Runner) deliveries(machine engine.Address) (all []consignment, ok bool) {
	for _, c := range r.brought()[takers(machine)] {
		image, _ := c.Address.Consignment()
		v, _ := c.Config.Eval(r) // it tells nothing wrong
		bare, _ := v.UnmarkDeep()
		if !r.settled(image) || !bare.GetAttr("name").IsKnown() || !bare.GetAttr("digest").IsKnown() || !bare.GetAttr("source").IsKnown() {
			return nil, false
		}
		all = append(all, consignment{image, c.Provider, engine.MustDecode[engine.Delivery](bare)})
	}
	return all, true
}

// byGroup finds a plan's deliveries, one of each image to each group of machines.
func byGroup(p engine.Plan) map[engine.Address][]*engine.Change {
	all, seen := map[engine.Address][]*engine.Change{}, map[[2]engine.Address]bool{}
	for i := range p.Changes {
		c := &p.Changes[i]
		if c.Address.Kind != engine.KindDelivery || c.Action == engine.Delete || c.Config == nil {
			continue
		}
		image, to := c.Address.Consignment()
		group := takers(to)
		if way := [2]engine.Address{image, group}; !seen[way] {
			seen[way], all[group] = true, append(all[group], c)
		}
	}
	return all
}

// unhurried reports whether a machine may wait for what others like it will have from the
// start: it is kept ready, or of the first of a group that has several, or may have.
func (r *Runner) unhurried(machine engine.Address) bool {
	group := takers(machine)
	if machine.Kind == engine.KindWarm {
		return true
	}
	for _, m := range r.members[group] {
		if c := r.plan.Find(m); c == nil || c.Action != engine.Create {
			return false
		}
	}
	return len(r.members[group])+len(r.members[group.Warm()]) > 1 ||
		slices.ContainsFunc(r.plan.Sizes, func(s engine.GroupSize) bool { return s.Group == group })
}

// takers is the group of a machine, or of those that a warm one is kept ready for.
func takers(machine engine.Address) engine.Address {
	if g := machine.Group(); g.Kind == engine.KindWarm {
		return g.Taker()
	}
	return machine.Group()
}

// settled reports whether the plan has nothing left to do for a resource.
func (r *Runner) settled(a engine.Address) bool {
	c := r.plan.Find(a)
	if c == nil || c.Action == engine.NoOp {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	o, made := r.objects[a]
	return r.kept[a] || made && (c.Prior == nil || o.Operation != c.Prior.Operation)
}

func (r *Runner) bring(ctx context.Context, d consignment) error {
	p, err := r.providers.Get(ctx, d.provider)
	if err != nil {
		return err
	}
	s, ok := providers.As[providers.Stocker](p)
	if !ok {
		return providers.Unsupported(d.provider, d.image)
	}
	return s.Stock(ctx, d.want)
}
