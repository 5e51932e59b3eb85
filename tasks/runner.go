package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

// Source gives providers by name.
type Source interface {
	Get(ctx context.Context, name string) (providers.Provider, error)
}

// Runner carries out the steps of one plan. It is safe for concurrent use by
// steps that do not need each other.
type Runner struct {
	providers Source
	probe     *netProber
	plan      engine.Plan
	now       func() time.Time
	members   map[engine.Address][]engine.Address        // instances by group
	still     map[string]string                          // providers of the machines that stand still and go, by their ids
	brought   func() map[engine.Address][]*engine.Change // deliveries by the group of machines that they come to

	mu      sync.Mutex
	objects map[engine.Address]engine.Object // what stands for each resource now
	kept    map[engine.Address]bool          // replacements that turned out to be needless
}

// NewRunner returns a runner for a plan.
func NewRunner(p engine.Plan, source Source, now func() time.Time) *Runner {
	r := &Runner{
		providers: source, probe: newNetProber(), plan: p, now: now, members: map[engine.Address][]engine.Address{},
		still: map[string]string{}, objects: map[engine.Address]engine.Object{}, kept: map[engine.Address]bool{},
		brought: sync.OnceValue(func() map[engine.Address][]*engine.Change { return byGroup(p) }),
	}
	for _, c := range p.Changes {
		if c.Prior != nil {
			r.objects[c.Address] = *c.Prior
			if c.Still && (c.Action == engine.Delete || c.Action == engine.Replace) {
				r.still[c.Prior.ID()] = c.Prior.Provider
			}
		}
		if g := c.Address.Group(); g != c.Address && c.Action != engine.Delete {
			r.members[g] = append(r.members[g], c.Address)
		}
	}
	return r
}

// Value implements engine.Values with what exists now.
func (r *Runner) Value(a engine.Address) cty.Value {
	if a.Kind.Sized() && a == a.Group() {
		vals := make([]cty.Value, len(r.members[a]))
		for i, m := range r.members[a] {
			vals[i] = r.Value(m)
		}
		return cty.TupleVal(vals)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok := r.objects[a]
	if !ok {
		return cty.DynamicVal
	}
	return engine.Mark(o.Value, o.Sensitive)
}

// Object returns what stands for a resource now.
func (r *Runner) Object(a engine.Address) (engine.Object, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok := r.objects[a]
	return o, ok
}

// clusters makes clusters of the machines that there are now.
func (r *Runner) clusters() clusters {
	return clusters{machine: r.Object, leaves: func(a engine.Address) bool {
		c := r.plan.Find(a)
		return c != nil && c.Action == engine.Delete
	}}
}

// Intend describes a step for the journal.
func (r *Runner) Intend(s engine.Step) engine.Intent {
	if !s.Op.Touches() {
		return engine.Intent{Address: s.Address, Gen: s.Gen, Op: s.Op, Provider: s.Provider}
	}
	c := r.change(s)
	in := engine.Intent{Address: s.Address, Gen: s.Gen, Op: s.Op, Provider: s.Provider}
	if c.Noted { // whoever looks into it asks the object's own
		in.Provider = c.Provider
	}
	in.Needs = engine.NeedsOf(c.Needs)
	if s.Op != engine.OpDelete {
		in.Planned = c.Planned
	} else if o := old(c, s.Gen); o != nil {
		in.Planned, in.Needs = o.Value, o.Needs
	}
	return in
}

func (r *Runner) change(s engine.Step) *engine.Change {
	c := r.plan.Find(s.Address)
	if c == nil {
		panic("bug: no change for step " + s.Name())
	}
	return c
}

// old returns the object of that generation that a change deletes.
func old(c *engine.Change, gen int) *engine.Object {
	for i := range c.Leftovers {
		if c.Leftovers[i].Gen == gen {
			return &c.Leftovers[i]
		}
	}
	if c.Prior != nil && c.Prior.Gen == gen {
		return c.Prior
	}
	return nil
}

// Run makes one attempt at a step. Its error tells nothing sensitive.
func (r *Runner) Run(ctx context.Context, s engine.Step, operation string) (engine.Result, error) {
	switch s.Op {
	case engine.OpJudge:
		return r.judge(ctx, s)
	case engine.OpShift:
		return engine.Result{}, r.shift(ctx, s)
	}
	result, err := r.attempt(ctx, s, operation)
	return result, r.redact(r.change(s), err)
}

func (r *Runner) attempt(ctx context.Context, s engine.Step, operation string) (engine.Result, error) {
	c := r.change(s)
	switch s.Op {
	case engine.OpSuspend, engine.OpResume, engine.OpRestart, engine.OpCapture, engine.OpRevert, engine.OpDiscard:
		return r.obey(ctx, c, s, operation)
	case engine.OpKeep:
		return r.keepOld(c, s.Gen), nil
	}
	p, err := provide(ctx, r.providers, s.Address, s.Provider, r.clusters())
	if err != nil {
		return engine.Result{}, err
	}
	if s.Op == engine.OpDelete {
		return r.remove(ctx, p, c, s, operation)
	}
	want, err := r.wanted(ctx, p, c)
	if err != nil {
		return engine.Result{}, err
	}
	switch {
	case want.needless:
		return r.keep(c)
	case want.inPlace:
		return r.apply(ctx, p, c, c.Prior.Gen, want, operation)
	default:
		return r.apply(ctx, p, c, s.Gen, want, operation)
	}
}

// wanted is what a change comes down to, now that all it refers to is known.
type wanted struct {
	value    cty.Value
	hidden   []string
	needless bool // nothing differs after all
	inPlace  bool // a replacement that turned out not to need a new object
}

// wanted evaluates what is wanted of a resource and compares it with what the
// plan foresaw.
func (r *Runner) wanted(ctx context.Context, p providers.Provider, c *engine.Change) (wanted, error) {
	w := wanted{value: c.Planned, hidden: c.Sensitive}
	if !open(c) {
		return w, nil
	}
	v, err := r.evaluate(c)
	if err != nil {
		return w, err
	}
	w.value, w.hidden = engine.Unmark(v)
	w.hidden = engine.Hides(c.Address.Kind, w.hidden)
	if c.Prior == nil || c.Action == engine.Create {
		w.value = unfilled(c.Address.Kind, w.value)
		return w, nil
	}
	d := engine.Difference(c.Address.Kind, c.Prior.Value, w.value)
	d.Address, d.Prior = c.Address, c.Prior
	if ref, ok := providers.As[providers.Refiner](p); ok && c.Provider == c.Prior.Provider {
		d = ref.Refine(d)
	}
	return w, r.compare(c, d, &w)
}

// compare decides what a planned update or replacement is now that the values
// are known: the same, or less.
func (r *Runner) compare(c *engine.Change, d engine.Proposal, w *wanted) error {
	forced := c.Prior.Lifecycle == engine.Tainted || c.Why != "" && len(c.ReplacePaths) == 0 || slices.Contains(c.ReplacePaths, "provider")
	switch {
	case c.Action == engine.Update && len(d.ReplacePaths) > 0:
		return providers.Permanent(fmt.Errorf("the plan was to change it in place, but now that everything is known %v would need a new object: run apply again", d.ReplacePaths))
	case forced || c.Action == engine.Replace && len(d.ReplacePaths) > 0:
		if c.Action == engine.Replace {
			w.value = unfilled(c.Address.Kind, w.value)
		} else {
			w.value = d.Want
		}
	case len(d.Changed) == 0:
		w.needless = !c.Broken
		w.inPlace = c.Broken && c.Action == engine.Replace
		w.value = d.Want
	default:
		w.inPlace = c.Action == engine.Replace
		w.value = d.Want
	}
	return nil
}

// open reports whether the plan left something unknown that is not the
// provider's to fill in.
func open(c *engine.Change) bool {
	if c.Config == nil {
		return false
	}
	for _, a := range engine.ValueSchema(c.Address.Kind).Attributes {
		if a.Meta || a.Computed && a.Name != "machine_id" {
			continue
		}
		if !c.Planned.GetAttr(a.Name).IsWhollyKnown() {
			return true
		}
	}
	return false
}

// unfilled makes the attributes that the provider fills in unknown.
func unfilled(k engine.Kind, v cty.Value) cty.Value {
	fill := map[string]cty.Value{}
	for _, a := range engine.ValueSchema(k).Attributes {
		if a.Computed && !a.Meta && v.GetAttr(a.Name).IsNull() {
			fill[a.Name] = cty.UnknownVal(a.Type)
		}
	}
	return engine.With(v, fill)
}

// evaluate computes a configuration with what exists now.
func (r *Runner) evaluate(c *engine.Change) (cty.Value, error) {
	v, diags := c.Config.Eval(r)
	if err := diags.Err(); err != nil {
		return v, providers.Permanent(fmt.Errorf("now that everything is known: %w", err))
	}
	if c.Address.Kind == engine.KindFunction {
		machine := engine.Object{Value: c.Planned}.Attr("machine")
		a, err := engine.ParseAddress(machine)
		if err != nil {
			return v, fmt.Errorf("bug: replica without a machine: %w", err)
		}
		host := r.Value(a)
		id := cty.UnknownVal(cty.String)
		if host.IsKnown() && host.Type().HasAttribute("id") {
			id = host.GetAttr("id")
		}
		v = engine.With(v, map[string]cty.Value{"machine": cty.StringVal(machine), "machine_id": id})
	}
	bare, _ := v.UnmarkDeep()
	for _, a := range engine.ValueSchema(c.Address.Kind).Attributes {
		if x := bare.GetAttr(a.Name); !a.Meta && !x.IsWhollyKnown() {
			return v, providers.Permanent(fmt.Errorf("bug: %q is still not known although everything that it needs is done", a.Name))
		}
	}
	return v, nil
}

// keep leaves an object as it is.
func (r *Runner) keep(c *engine.Change) (engine.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept[c.Address] = true
	o := *c.Prior
	return engine.Result{Object: &o, Unchanged: true}, nil
}

// apply creates or changes an object and waits until it works.
func (r *Runner) apply(ctx context.Context, p providers.Provider, c *engine.Change, gen int, w wanted, operation string) (engine.Result, error) {
	call := providers.Call{Operation: operation, Address: c.Address, Gen: gen, Want: w.value, Standby: c.Standby, Stock: r.stock(c)}
	if c.Action != engine.Create && c.Prior != nil && c.Prior.Gen == gen {
		call.Prior = c.Prior
	}
	o, taken, err := r.make(ctx, p, c, call)
	if err != nil {
		result, err := r.salvage(ctx, p, c, call, w, o, err)
		if result.Object != nil {
			result.Taken = taken
		}
		return result, err
	}
	o = r.finish(c, w, o)
	if err := r.reload(ctx, p, c, o); err != nil {
		return r.unreloaded(c, o), err
	}
	if err := r.verify(ctx, p, o, call.Prior == nil); err != nil {
		return r.unhealthy(ctx, p, call, o, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.objects[c.Address] = o
	if w.inPlace {
		r.kept[c.Address] = true
	}
	result := engine.Result{Object: &o, Taken: taken}
	if taken != nil {
		result.Note = "it was " + taken.Address.String()
	}
	return result, nil
}

// make makes or changes an object: of a warm one, if the plan says so and that is
// still there. It returns which one that was.
func (r *Runner) make(ctx context.Context, p providers.Provider, c *engine.Change, call providers.Call) (engine.Object, *engine.Key, error) {
	t, ok := providers.As[providers.Taker](p)
	if c.From == nil || call.Prior != nil || !ok {
		o, err := p.Apply(ctx, call)
		return o, nil, err
	}
	o, err := t.Take(ctx, call, *c.From)
	if errors.Is(err, providers.ErrNotFound) {
		o, err = p.Apply(ctx, call)
		return o, nil, err
	}
	k := c.From.Key()
	return o, &k, err
}

// finish completes what a provider returned with what the engine knows.
func (r *Runner) finish(c *engine.Change, w wanted, o engine.Object) engine.Object {
	o.Provider, o.Sensitive, o.Needs, o.Lifecycle = c.Provider, w.hidden, engine.NeedsOf(c.Needs), engine.Ready
	return o
}

// lookTimeout is how long finding out after an error may take.
const lookTimeout = 10 * time.Second

// salvage finds out what exists after a failed Apply.
func (r *Runner) salvage(ctx context.Context, p providers.Provider, c *engine.Change, call providers.Call, w wanted, o engine.Object, failed error) (engine.Result, error) {
	if o.Value == cty.NilVal {
		look, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
		defer cancel()
		obs, err := p.Read(look, call.Object(call.Want))
		switch {
		case err != nil:
			return engine.Result{Unknown: true}, fmt.Errorf("%w; and what exists now could not be found out: %w", failed, err)
		case obs.Presence == engine.Gone:
			return engine.Result{}, failed
		case obs.Presence == engine.Unreachable:
			return engine.Result{Unknown: true}, failed
		}
		o = obs.Object
	}
	o = r.finish(c, w, o)
	o.Operation = call.Operation
	if !o.Value.IsWhollyKnown() {
		o.Value = nulled(o.Value)
	}
	if o.Lifecycle = engine.Tainted; call.Prior != nil {
		o.Lifecycle = engine.Unverified
	}
	return engine.Result{Object: &o}, failed
}

// nulled replaces what is unknown by null, for records.
func nulled(v cty.Value) cty.Value {
	attrs := v.AsValueMap()
	for name, a := range attrs {
		if !a.IsWhollyKnown() {
			attrs[name] = cty.NullVal(a.Type())
		}
	}
	return cty.ObjectVal(attrs)
}

// unhealthy cleans up a new object that does not work; an old one stays, to be
// looked at again.
func (r *Runner) unhealthy(ctx context.Context, p providers.Provider, call providers.Call, o engine.Object, failed error) (engine.Result, error) {
	if call.Prior != nil {
		o.Lifecycle = engine.Unverified
		return engine.Result{Object: &o}, failed
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := p.Delete(clean, o, call.Operation); err != nil {
		o.Lifecycle = engine.Tainted
		return engine.Result{Object: &o}, fmt.Errorf("%w; and removing it failed, too: %w", failed, err)
	}
	return engine.Result{}, failed
}

// remove deletes an object, unless its replacement turned out to be needless.
func (r *Runner) remove(ctx context.Context, p providers.Provider, c *engine.Change, s engine.Step, operation string) (engine.Result, error) {
	o := old(c, s.Gen)
	if o == nil {
		panic("bug: nothing to delete for " + s.Name())
	}
	if isOn(r.still, *o) { // nobody there can be told to end it: it goes with its machine
		return engine.Result{}, nil
	}
	if c.Action == engine.Replace && o.Gen == c.Prior.Gen {
		if keep, err := r.staysAfterAll(ctx, p, c); err != nil || keep {
			return engine.Result{Object: o, Unchanged: true}, err
		}
	}
	err := p.Delete(ctx, *o, operation)
	if err == nil {
		return engine.Result{}, nil
	}
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	obs, rerr := p.Read(look, *o)
	switch {
	case rerr != nil || obs.Presence == engine.Unreachable:
		return engine.Result{Object: o, Unknown: true}, err
	case obs.Presence == engine.Gone:
		return engine.Result{}, nil
	default:
		return engine.Result{Object: o, Unchanged: true}, err
	}
}

// staysAfterAll reports whether the old object of a replacement is to stay: its
// new half has found nothing to do, or will find nothing.
func (r *Runner) staysAfterAll(ctx context.Context, p providers.Provider, c *engine.Change) (bool, error) {
	r.mu.Lock()
	kept := r.kept[c.Address]
	r.mu.Unlock()
	if kept || c.CreateFirst || c.Action != engine.Replace {
		return kept, nil
	}
	if c.Prior.Lifecycle == engine.Tainted {
		return false, nil // what is to come in its place need not be known yet
	}
	for _, n := range c.Needs { // what goes first with what it stands on cannot stay without it
		on := r.plan.Find(n.Target)
		if on == nil || on.Action != engine.Replace || on.CreateFirst || !c.Address.Kind.StandsOn(n.Target.Kind) {
			continue
		}
		if stays, err := r.staysAfterAll(ctx, p, on); err != nil || !stays {
			return false, err
		}
	}
	w, err := r.wanted(ctx, p, c)
	return w.needless || w.inPlace, err
}
