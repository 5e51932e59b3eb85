package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowctl/flowctl/engine"
)

// standing picks the object that stands for a resource. Of several replicas or
// backends it is the newest that is as wanted, for an old one may have been kept,
// and a new one may be on trial.
func (c *computer) standing(s subject) (*engine.Object, []engine.Object) {
	all := c.objects[s.addr]
	if len(all) < 2 || s.addr.Kind != engine.KindFunction && s.addr.Kind != engine.KindBackend {
		return engine.Current(all)
	}
	for i := range slices.Backward(all) {
		if c.suits(s, all[i]) {
			return engine.Pick(all, i)
		}
	}
	return engine.Current(all)
}

// suits reports whether an object is there and need not be replaced to be as wanted.
func (c *computer) suits(s subject, o engine.Object) bool {
	return o.Lifecycle != engine.Tainted && o.Provider == s.provider && c.in.Observed[o.Key()].Presence == engine.Present &&
		len(c.refined(s, &o, engine.Difference(s.addr.Kind, o.Value, s.want)).ReplacePaths) == 0
}

// pin returns what a function is to go back to, or nil.
func (c *computer) pin(d *engine.Decl) *engine.Pin {
	for i := range c.in.Pins {
		if c.in.Pins[i].Function == d.Address {
			return &c.in.Pins[i]
		}
	}
	return nil
}

// configOf is what declares a block: the spec, or the revision that a function
// goes back to.
func (c *computer) configOf(d *engine.Decl) engine.Config {
	if p := c.pin(d); p != nil {
		return *p
	}
	return d.Config
}

// keepNew decides which of the old replicas are kept, with their backends, when a
// rollout is over.
func (c *computer) keepNew(d *engine.Decl, r *engine.Rollout, pairs []pair) {
	if r.Back || d.Roll.Keep == 0 || c.pin(d) != nil {
		return
	}
	ids := map[string]bool{}
	if len(c.moving(d)) == 0 { // it goes on with a rollout that did not end
		ids = c.keptReplicas(d)
	}
	for _, p := range pairs {
		if p.old != nil && c.stands(*p.old) && c.hasRoom(*p.old) {
			ids[p.old.ID()] = true
			r.Kept = append(r.Kept, p.old.Key())
		}
	}
	for _, f := range r.Fronts {
		for _, a := range f.New {
			if o := outgoing(c.changeOf(a)); o != nil && ids[o.Attr("replica_id")] && c.stands(*o) {
				r.Kept = append(r.Kept, o.Key())
			}
		}
	}
}

// hasRoom reports whether there is room for an old replica beside all others. On a
// machine that is suspended nothing can be ended.
func (c *computer) hasRoom(o engine.Object) bool {
	m, err := engine.ParseAddress(o.Attr("machine"))
	host := c.changeOf(m)
	return !c.cramped[o.ID()] || err == nil && host != nil && resting(host)
}

// keepOld lets what an earlier rollout kept stay.
func (c *computer) keepOld(d *engine.Decl, backends map[engine.Address][]*engine.Change) {
	if c.pin(d) != nil {
		return
	}
	ids := c.keptReplicas(d)
	for _, a := range c.members[d.Address] {
		for _, b := range backends[a] {
			c.keepSome(b, func(o engine.Object) bool { return ids[o.Attr("replica_id")] })
		}
	}
	if c.kept == nil {
		c.kept = map[string]bool{}
	}
	maps.Copy(c.kept, ids)
}

// standsBy reports whether a backend that is not wanted stays: that of a replica that is
// suspended has left, and this one is of the old replica that is kept beside it.
func (c *computer) standsBy(o engine.Object) bool {
	_, replica := o.Address.Membership()
	ch := c.changeOf(replica)
	return ch != nil && resting(ch) && c.kept[o.Attr("replica_id")] && c.stands(o)
}

// ofKept reports whether a backend is of an old replica that is kept.
func (c *computer) ofKept(backend *engine.Object) bool {
	_, replica := backend.Address.Membership()
	return slices.ContainsFunc(c.objects[replica], func(o engine.Object) bool {
		return !o.Kept.IsZero() && o.ID() == backend.Attr("replica_id")
	})
}

// keptReplicas lets the replicas that an earlier rollout kept stay, as long as
// their time is not over and there is room for them, and returns their ids. On a
// machine that is suspended they stay until it is resumed: nothing there can be ended.
func (c *computer) keptReplicas(d *engine.Decl) map[string]bool {
	ids := map[string]bool{}
	for _, a := range c.members[d.Address] {
		if ch := c.changeOf(a); ch != nil {
			c.keepSome(ch, func(o engine.Object) bool {
				m, err := engine.ParseAddress(o.Attr("machine"))
				host := c.changeOf(m)
				ids[o.ID()] = err == nil && (host != nil && resting(host) || o.Kept.After(c.in.Now) && c.placement.Reserve(d.Address, m))
				return ids[o.ID()]
			})
		}
	}
	return ids
}

// keepSome moves what is kept of a change's leftovers to where it stays.
func (c *computer) keepSome(ch *engine.Change, stays func(engine.Object) bool) {
	var rest []engine.Object
	for _, o := range ch.Leftovers {
		if c.stands(o) && stays(o) {
			ch.Kept = append(ch.Kept, o)
		} else {
			rest = append(rest, o)
		}
	}
	ch.Leftovers = rest
}

// stands reports whether an object is there and works, and what it needs stays.
func (c *computer) stands(o engine.Object) bool {
	if o.Lifecycle != engine.Ready || c.in.Observed[o.Key()].Presence != engine.Present {
		return false
	}
	for _, n := range o.Needs {
		if o.Address.Kind == engine.KindBackend && n.Kind == engine.KindFunction {
			continue // its replica is the kept one
		}
		addrs := []engine.Address{n}
		if members, ok := c.members[n]; ok {
			addrs = members
		}
		for _, a := range addrs {
			if ch := c.changeOf(a); ch == nil || ch.Action == engine.Replace || ch.Action == engine.Delete || ch.Hold != "" && !resting(ch) {
				return false
			}
		}
	}
	return true
}

// warnOfRevision tells that what the spec asks for was given up before.
func (c *computer) warnOfRevision(d *engine.Decl) {
	if c.pin(d) != nil || len(c.in.Recorded.Revisions) == 0 {
		return
	}
	moving := c.moving(d)
	if len(moving) == 0 {
		return
	}
	digest := engine.DigestOf(moving[0].Planned)
	for _, r := range c.in.Recorded.Revisions {
		if r.Function == d.Address && r.Digest == digest && digest != "" && !r.Current {
			c.diags = append(c.diags, warning(r, &d.Source)...)
		}
	}
}

func warning(r engine.Revision, source *engine.Range) engine.Diagnostics {
	d := engine.Diagnostic{Severity: engine.Warning, Address: r.Function, Source: source}
	switch r.Verdict {
	case engine.Bad:
		d.Summary = "Revision that is not good"
		d.Detail = fmt.Sprintf("The spec asks for revision %d of %s again, which run %d found not to be good: %s. Applying this tries it once more.", r.Number, r.Function, r.Run, r.Why)
	case engine.RolledBack:
		d.Summary = "Revision that was rolled back"
		d.Detail = fmt.Sprintf("The spec still asks for revision %d of %s, which was rolled back. Applying this brings it in again; change the spec to stay where you are.", r.Number, r.Function)
	default:
		return nil
	}
	return engine.Diagnostics{d}
}
