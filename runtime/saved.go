package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/tasks"
	"github.com/zclconf/go-cty/cty"
)

// savedFormat is the version of the format of a saved plan.
const savedFormat = 1

// SavedPlan is a plan in a file: everything that it was made from, so that apply
// makes the very same plan again, and refuses to go on if it is not the same.
// It holds the values of variables and may so hold secrets.
type SavedPlan struct {
	Format  int              `json:"format"`
	Version string           `json:"flowctl"` // of the program that made it
	Made    time.Time        `json:"made"`
	Flow    string           `json:"flow"`
	Bundle  json.RawMessage  `json:"bundle"` // the spec, as the caller reads it
	Lineage string           `json:"lineage"`
	Serial  int64            `json:"serial"`
	Destroy bool             `json:"destroy"`
	Targets []engine.Address `json:"targets,omitempty"`
	Replace []engine.Address `json:"replace,omitempty"`
	Seen    []savedSight     `json:"seen,omitempty"` // what was not as recorded
	Adopted []savedObject    `json:"adopted,omitempty"`
	Resolve []engine.Outcome `json:"resolve,omitempty"`
	Digest  string           `json:"digest"` // of the plan
	View    json.RawMessage  `json:"view"`   // for 'flowctl show'
}

type savedObject struct {
	Address   engine.Address   `json:"address"`
	Gen       int              `json:"gen"`
	Provider  string           `json:"provider"`
	Value     json.RawMessage  `json:"value"`
	Sensitive []string         `json:"sensitive,omitempty"`
	Private   []byte           `json:"private,omitempty"`
	Needs     []engine.Address `json:"needs,omitempty"`
	Operation string           `json:"operation,omitempty"`
	Lifecycle engine.Lifecycle `json:"lifecycle"`
	Kept      time.Time        `json:"kept,omitzero"`
}

type savedSight struct {
	Object   savedObject     `json:"object"`
	Presence engine.Presence `json:"presence"`
	Why      string          `json:"why,omitempty"`
	Detour   string          `json:"detour,omitempty"`
}

func saveObject(o engine.Object) (savedObject, error) {
	v, err := engine.MarshalValue(o.Value)
	return savedObject{o.Address, o.Gen, o.Provider, v, o.Sensitive, o.Private, o.Needs, o.Operation, o.Lifecycle, o.Kept}, err
}

func (s savedObject) object() (engine.Object, error) {
	v, err := engine.UnmarshalValue(s.Address.Kind, s.Value)
	return engine.Object{
		Address: s.Address, Gen: s.Gen, Provider: s.Provider, Value: v, Sensitive: s.Sensitive, Private: s.Private,
		Needs: s.Needs, Operation: s.Operation, Lifecycle: s.Lifecycle, Kept: s.Kept,
	}, err
}

// Save returns a plan as a file's content. bundle is the spec as the caller will
// read it again; view is what shows the plan without making it again.
func Save(p Planned, bundle, view json.RawMessage, version string, now time.Time) ([]byte, error) {
	s := SavedPlan{
		Format: savedFormat, Version: version, Made: p.Request.Now.UTC(), Flow: p.Plan.Flow, Bundle: bundle,
		Lineage: p.Plan.Lineage, Serial: p.Plan.Serial, Destroy: p.Request.Destroy,
		Targets: p.Request.Targets, Replace: p.Request.Replace, Resolve: p.Found.Resolved,
		Digest: Digest(p.Plan), View: view,
	}
	recorded := map[engine.Key]engine.Object{}
	for _, o := range p.Snapshot.Objects {
		recorded[o.Key()] = o
	}
	for _, k := range slices.SortedFunc(maps.Keys(p.Found.Observed), engine.Key.Compare) {
		obs := p.Found.Observed[k]
		if was, ok := recorded[k]; ok && obs.Presence == engine.Present && obs.Object.Value.RawEquals(was.Value) && obs.Object.Lifecycle == was.Lifecycle && obs.Detour == "" {
			continue
		}
		o, err := saveObject(obs.Object)
		if err != nil {
			return nil, err
		}
		s.Seen = append(s.Seen, savedSight{o, obs.Presence, obs.Why, obs.Detour})
	}
	for _, a := range p.Found.Adopted {
		o, err := saveObject(a)
		if err != nil {
			return nil, err
		}
		s.Adopted = append(s.Adopted, o)
	}
	return json.Marshal(s)
}

// IsSaved reports whether a file's content looks like a saved plan.
func IsSaved(content []byte) bool {
	head := bytes.TrimSpace(content[:min(len(content), 64)])
	return bytes.HasPrefix(head, []byte(`{"format":`)) && bytes.Contains(head, []byte(`"flowctl":`))
}

// ReadSaved reads a file's content.
func ReadSaved(content []byte) (SavedPlan, error) {
	var s SavedPlan
	if err := json.Unmarshal(content, &s); err != nil {
		return s, fmt.Errorf("the file is not a saved plan: %w", err)
	}
	if s.Format != savedFormat {
		return s, fmt.Errorf("the plan was saved in format %d by flowctl %s, this one reads format %d: make a new plan", s.Format, s.Version, savedFormat)
	}
	return s, nil
}

// Restore makes the saved plan again from the state as it is now, and wraps
// ErrStale when that is not the same plan any more.
func (f *Flow) Restore(ctx context.Context, s SavedPlan, desired engine.Desired) (Planned, engine.Diagnostics, error) {
	p := Planned{Request: Request{Desired: desired, Destroy: s.Destroy, Targets: s.Targets, Replace: s.Replace, Now: s.Made}}
	p.Found = tasks.Found{Observed: map[engine.Key]engine.Observation{}, Resolved: s.Resolve}
	if f.Store != nil {
		var err error
		if p.Snapshot, err = f.Store.Snapshot(ctx); err != nil {
			return p, nil, err
		}
	}
	if s.Lineage != "" && s.Lineage != p.Snapshot.Lineage || s.Serial != p.Snapshot.Serial {
		return p, nil, fmt.Errorf("%w: it was made from serial %d of the state, which is at %d now; make a new plan", ErrStale, s.Serial, p.Snapshot.Serial)
	}
	for _, sight := range s.Seen {
		o, err := sight.Object.object()
		if err != nil {
			return p, nil, fmt.Errorf("saved plan: %s: %w", sight.Object.Address, err)
		}
		p.Found.Observed[o.Key()] = engine.Observation{Object: o, Presence: sight.Presence, Why: sight.Why, Detour: sight.Detour}
	}
	for _, a := range s.Adopted {
		o, err := a.object()
		if err != nil {
			return p, nil, fmt.Errorf("saved plan: %s: %w", a.Address, err)
		}
		p.Found.Adopted = append(p.Found.Adopted, o)
	}
	diags := f.recompute(ctx, &p)
	if !diags.HasErrors() && Digest(p.Plan) != s.Digest {
		return p, diags, fmt.Errorf("%w: it was made by flowctl %s or from files that have changed since, and would come out differently now; make a new plan", ErrStale, s.Version)
	}
	return p, diags, nil
}

// Digest identifies what a plan does: two plans with the same digest do the
// same. What state they were made from is no part of it.
func Digest(p engine.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v\n", p.Flow, p.Destroy)
	for _, c := range p.Changes {
		fmt.Fprintf(&b, "%s %s %d %s %d %v %q %v %d\n", c.Address, c.Action, c.Gen, c.Provider, c.Phase, c.CreateFirst, c.Hold, c.ReplacePaths, c.Window)
		if c.Action == engine.NoOp && len(c.Leftovers) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\t%s\n", text(c.Planned))
		if c.From != nil {
			fmt.Fprintf(&b, "\tfrom %s\n", c.From.Key())
		}
		for _, o := range c.Leftovers {
			fmt.Fprintf(&b, "\tleft %s\n", o.Key())
		}
		for _, n := range c.Needs {
			fmt.Fprintf(&b, "\tneeds %s %d\n", n.Target, n.Kind)
		}
	}
	for _, r := range p.Rollouts {
		fmt.Fprintf(&b, "rollout %v\n", r)
	}
	for _, o := range p.Outputs {
		fmt.Fprintf(&b, "output %s %s\n", o.Name, text(o.After))
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// text writes a value in a form that is the same for the same value.
func text(v cty.Value) string {
	if v == cty.NilVal {
		return "-"
	}
	return v.GoString()
}
