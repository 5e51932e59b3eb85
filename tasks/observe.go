package tasks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

// Found is what Observe and Recover found out.
type Found struct {
	Observed map[engine.Key]engine.Observation
	Adopted  []engine.Object  // made by an interrupted run, and not recorded by it
	Resolved []engine.Outcome // operations of interrupted runs whose outcome is known now
	Open     []engine.Intent  // those that nobody could tell about
	Warnings engine.Diagnostics
}

// Observe reads every recorded object, some at a time.
func Observe(ctx context.Context, source Source, objects []engine.Object, parallelism int) (Found, error) {
	f := Found{Observed: make(map[engine.Key]engine.Observation, len(objects))}
	err := f.look(ctx, source, objects, objects, parallelism)
	f.Warnings = unreachable(objects, f.Observed)
	return f, err
}

// look reads objects. Machines that carry others' are read first, of all that is
// known.
func (f *Found) look(ctx context.Context, source Source, objects, all []engine.Object, parallelism int) error {
	var g ground
	if borne(all) {
		var err error
		if g, err = survey(ctx, source, all, parallelism); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	machines := clusters{machine: among(all)}
	return each(ctx, objects, parallelism, func(o engine.Object) {
		obs, ok := g.of(o)
		if !ok {
			obs = look(ctx, source, o, machines)
		}
		mu.Lock()
		defer mu.Unlock()
		f.Observed[o.Key()] = obs
	})
}

// unreachable warns of what could not be read, once for each reason.
func unreachable(objects []engine.Object, seen map[engine.Key]engine.Observation) engine.Diagnostics {
	var diags engine.Diagnostics
	by := map[string][]engine.Address{}
	var reasons []string
	for _, o := range objects {
		obs := seen[o.Key()]
		if obs.Presence != engine.Unreachable {
			continue
		}
		if by[obs.Why] == nil {
			reasons = append(reasons, obs.Why)
		}
		by[obs.Why] = append(by[obs.Why], o.Address)
	}
	for _, why := range reasons {
		diags = append(diags, engine.Diagnostic{
			Severity: engine.Warning, Summary: "Not reachable", Address: by[why][0],
			Detail: fmt.Sprintf("%s could not be read, so nothing is planned for that: %s.", engine.List(by[why]), strings.TrimSuffix(why, ".")),
		})
	}
	return diags
}

// each calls f for every object, a bounded number at a time, until ctx ends.
func each(ctx context.Context, objects []engine.Object, parallelism int, f func(engine.Object)) error {
	queue := make(chan engine.Object)
	var wg sync.WaitGroup
	for range min(max(1, parallelism), max(1, len(objects))) {
		wg.Go(func() {
			for o := range queue {
				f(o)
			}
		})
	}
	for _, o := range objects {
		select {
		case queue <- o:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	close(queue)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// look reads one object. What seems to be gone is read twice before it counts as
// gone.
func look(ctx context.Context, source Source, o engine.Object, c clusters) engine.Observation {
	p, err := provide(ctx, source, o.Address, o.Provider, c)
	if err != nil {
		return engine.Observation{Object: o, Presence: engine.Unreachable, Why: err.Error()}
	}
	for try := 0; ; try++ {
		obs, err := p.Read(ctx, o)
		switch {
		case err != nil && try == 0 && providers.Retryable(err):
		case err != nil:
			return engine.Observation{Object: o, Presence: engine.Unreachable, Why: cmp.Or(obs.Why, err.Error())}
		case obs.Presence == engine.Gone && try == 0:
		default:
			obs.Object = complete(obs.Object, o)
			return obs
		}
	}
}

// complete gives an observed object what only the state knows.
func complete(got, recorded engine.Object) engine.Object {
	got.Provider, got.Sensitive, got.Needs = recorded.Provider, recorded.Sensitive, recorded.Needs
	got.Private, got.Operation, got.Lifecycle, got.Kept = recorded.Private, recorded.Operation, recorded.Lifecycle, recorded.Kept
	if got.Address.Kind == engine.KindFunction && recorded.Value != cty.NilVal && recorded.Lifecycle == engine.Unverified {
		// Nobody sees whether its program has taken over the files that are there.
		got.Value = engine.With(got.Value, map[string]cty.Value{"file": recorded.Value.GetAttr("file")})
	}
	return got
}

// Recover asks for what interrupted operations have left. An object that was
// made and never recorded is adopted; whatever an interrupted operation touched
// is unverified until the next apply has looked after it, but for a machine that was
// to go back to a snapshot: suspended as it was for that, it waits to be resumed.
func Recover(ctx context.Context, source Source, snap engine.Snapshot, parallelism int) (Found, error) {
	if len(snap.Open) == 0 {
		return Found{Observed: map[engine.Key]engine.Observation{}}, ctx.Err()
	}
	recorded := map[engine.Key]engine.Object{}
	for _, o := range snap.Objects {
		recorded[o.Key()] = o
	}
	byKey := map[engine.Key]engine.Intent{}
	var objects []engine.Object
	var f Found
	for _, in := range snap.Open {
		if !in.Op.Touches() { // its plan is made again
			f.Resolved = append(f.Resolved, outcome(in, "interrupted"))
			continue
		}
		o := engine.Object{
			Address: in.Address, Gen: in.Gen, Provider: in.Provider, Value: in.Planned,
			Needs: in.Needs, Operation: in.Operation, Lifecycle: engine.Unverified,
		}
		if known, ok := recorded[o.Key()]; ok {
			o.Value, o.Needs, o.Sensitive = known.Value, known.Needs, known.Sensitive
			if in.Op == engine.OpUpdate && in.Address.Kind == engine.KindFunction && in.Planned.GetAttr("file").IsWhollyKnown() {
				o.Value = untaken(known.Value, in.Planned, known.Value) // nobody knows how far it came
			}
		}
		if _, again := byKey[o.Key()]; !again {
			objects = append(objects, o)
		}
		byKey[o.Key()] = in
	}
	f.Observed = map[engine.Key]engine.Observation{}
	err := f.look(ctx, source, objects, append(slices.Clone(objects), snap.Objects...), parallelism)
	for _, o := range objects {
		in := byKey[o.Key()]
		if known, ok := recorded[o.Key()]; ok && in.Op == engine.OpRevert {
			o.Lifecycle = known.Lifecycle
		}
		f.resolve(in, o)
	}
	f.Resolved = append(f.Resolved, doubles(snap.Open, byKey, f.Observed)...)
	return f, err
}

// doubles resolves earlier operations on an object that a later one tells about.
func doubles(open []engine.Intent, last map[engine.Key]engine.Intent, seen map[engine.Key]engine.Observation) []engine.Outcome {
	var out []engine.Outcome
	for _, in := range open {
		k := engine.Key{Address: in.Address, Gen: in.Gen}
		if in.Op.Touches() && in.Operation != last[k].Operation && seen[k].Presence != engine.Unreachable {
			out = append(out, outcome(in, overtaken))
		}
	}
	return out
}

// overtaken is what became of an operation when a later one on its object ended.
const overtaken = "interrupted; a later operation went on"

// Overtaken resolves the operations that nobody could tell about, but on whose
// objects a run has carried out steps since.
func (f *Found) Overtaken(done map[engine.Key]bool) []engine.Outcome {
	var out []engine.Outcome
	for _, in := range f.Open {
		if done[engine.Key{Address: in.Address, Gen: in.Gen}] {
			out = append(out, outcome(in, overtaken))
		}
	}
	return out
}

func outcome(in engine.Intent, err string) engine.Outcome {
	return engine.Outcome{Operation: in.Operation, Address: in.Address, Gen: in.Gen, Op: in.Op, Err: err, Attempts: 1, Started: in.At, Ended: in.At}
}

// resolve decides what one interrupted operation has left.
func (f *Found) resolve(in engine.Intent, o engine.Object) {
	obs := f.Observed[o.Key()]
	switch obs.Presence {
	case engine.Unreachable:
		f.Open = append(f.Open, in)
		f.Warnings = append(f.Warnings, engine.Diagnostic{
			Severity: engine.Warning, Summary: "Interrupted operation not resolved", Address: in.Address,
			Detail: fmt.Sprintf("Run %d was interrupted while it was about to %s %s, and what it left could not be found out: %s.", in.Run, in.Op, in.Address, obs.Why),
		})
		return
	case engine.Gone:
		f.Resolved = append(f.Resolved, outcome(in, "interrupted; nothing of it exists"))
		return
	}
	if in.Op == engine.OpRevert {
		f.Warnings = append(f.Warnings, engine.Diagnostic{
			Severity: engine.Warning, Summary: "Restore interrupted", Address: in.Address,
			Detail: fmt.Sprintf("Run %d was interrupted while it was about to %s %s, which may be what it was before or what the snapshot has. Restore it again, or let it go on as it is, with 'flowctl resume %[3]s'.", in.Run, in.Op, in.Address),
		})
	}
	f.Resolved = append(f.Resolved, outcome(in, "interrupted; it exists"))
	found := obs.Object
	found.Provider, found.Needs, found.Sensitive = o.Provider, o.Needs, o.Sensitive
	found.Operation, found.Lifecycle = in.Operation, o.Lifecycle
	if !found.Value.IsWhollyKnown() {
		found.Value = nulled(found.Value)
	}
	obs.Object = found
	f.Observed[found.Key()] = obs
	f.Adopted = append(f.Adopted, found)
}

// Check asks the providers what would make a plan fail. Findings carry the
// place in the spec.
func Check(ctx context.Context, source Source, p engine.Plan) engine.Diagnostics {
	var diags engine.Diagnostics
	for i := range p.Changes {
		c := &p.Changes[i]
		if c.Action != engine.Create && c.Action != engine.Update && c.Action != engine.Replace {
			continue
		}
		prov, err := provide(ctx, source, c.Address, c.Provider, clusters{machine: planned(p)})
		if err != nil {
			diags = append(diags, engine.Diagnostic{Summary: "Provider not usable", Detail: err.Error() + ".", Address: c.Address, Source: &c.Source})
			continue
		}
		for _, d := range checkReload(prov, c) {
			d.Source = &c.Source
			diags = append(diags, d)
		}
		checker, ok := providers.As[providers.Checker](prov)
		if !ok {
			continue
		}
		for _, d := range checker.Check(ctx, c.Address, c.Planned, c.Prior) {
			if d.Source == nil {
				d.Source = &c.Source
			}
			diags = append(diags, d)
		}
	}
	return dedupe(append(diags, checkRollouts(ctx, source, p)...))
}

// checkRollouts finds frontends whose provider cannot move requests between
// backends.
func checkRollouts(ctx context.Context, source Source, p engine.Plan) engine.Diagnostics {
	var diags engine.Diagnostics
	for _, r := range p.Rollouts {
		for _, f := range r.Fronts {
			prov, err := source.Get(ctx, f.Provider)
			if err != nil {
				continue // it is reported with the frontend, if that changes, or by the task
			}
			if _, ok := providers.As[providers.Shifter](prov); !ok {
				diags = append(diags, engine.Diagnostic{
					Summary: "Frontend that cannot switch", Address: r.Function,
					Detail: fmt.Sprintf("%s is updated by %q, which moves requests between its old and its new replicas at once, and the provider %q of %s cannot do that. Write strategy = \"rolling\".", r.Function, r.Policy.Strategy, f.Provider, f.Frontend),
				})
			}
		}
	}
	return diags
}

// dedupe reports a finding about all instances of a group once.
func dedupe(ds engine.Diagnostics) engine.Diagnostics {
	type key struct {
		summary string
		group   engine.Address
		source  engine.Range
	}
	seen := map[key]bool{}
	return slices.DeleteFunc(ds, func(d engine.Diagnostic) bool {
		k := key{summary: d.Summary, group: d.Address.Group()}
		if d.Source != nil {
			k.source = *d.Source
		}
		again := seen[k]
		seen[k] = true
		return again
	})
}
