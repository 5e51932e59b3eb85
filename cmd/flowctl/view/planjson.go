package view

import (
	"encoding/json"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// JSONPlan is a plan in JSON.
type JSONPlan struct {
	FormatVersion string                `json:"format_version"`
	Flow          string                `json:"flow"`
	Lineage       string                `json:"lineage,omitempty"`
	Serial        int64                 `json:"serial"`
	Destroy       bool                  `json:"destroy"`
	Changes       bool                  `json:"changes"` // what exit status 2 of -detailed-exitcode says
	Summary       JSONSummary           `json:"summary"`
	Resources     []JSONChange          `json:"resource_changes"` // without no-ops
	Outputs       map[string]JSONOutput `json:"output_changes"`
	Placement     []JSONPlacing         `json:"placement"`
	Sizes         []JSONSize            `json:"sizes"`
	Rollouts      []JSONRollout         `json:"rollouts,omitempty"`
	Diagnostics   []JSONDiagnostic      `json:"diagnostics"`
}

// JSONSummary counts changes.
type JSONSummary struct {
	Add     int                    `json:"add"`
	Change  int                    `json:"change"`
	Replace int                    `json:"replace"`
	Destroy int                    `json:"destroy"`
	Run     int                    `json:"run"`
	Suspend int                    `json:"suspend,omitempty"`
	Resume  int                    `json:"resume,omitempty"`
	Restart int                    `json:"restart,omitempty"`
	Capture int                    `json:"snapshot,omitempty"`
	Revert  int                    `json:"restore,omitempty"`
	Discard int                    `json:"delete_snapshot,omitempty"`
	Phases  map[string]JSONSummary `json:"phases,omitempty"`
}

// JSONChange is one resource's change.
type JSONChange struct {
	Address      string          `json:"address"`
	Kind         string          `json:"kind"`
	Action       string          `json:"action"`
	CreateFirst  bool            `json:"create_first,omitempty"`
	Phase        string          `json:"phase"`
	Provider     string          `json:"provider"`
	Why          string          `json:"why,omitempty"`
	Hold         string          `json:"hold,omitempty"`
	Changed      []string        `json:"changed,omitempty"`
	Replace      []string        `json:"replace,omitempty"`
	Reload       *string         `json:"reload,omitempty"`        // how a replica takes over its new files
	Before       json.RawMessage `json:"before"`                  // null for a new one
	After        json.RawMessage `json:"after"`                   // null for one that goes
	AfterUnknown []string        `json:"after_unknown,omitempty"` // attributes known after apply
	Sensitive    []string        `json:"sensitive,omitempty"`     // attributes left out of before and after
	Snapshot     string          `json:"snapshot,omitempty"`      // of an order about one: its name
	From         string          `json:"from,omitempty"`          // the warm machine that it is made of
	Leftovers    int             `json:"leftovers,omitempty"`
}

// JSONOutput is an output's change.
type JSONOutput struct {
	Before    json.RawMessage `json:"before,omitempty"`
	After     json.RawMessage `json:"after,omitempty"`
	Unknown   bool            `json:"after_unknown,omitempty"`
	Sensitive bool            `json:"sensitive,omitempty"`
}

// JSONPlacing tells where a replica goes.
type JSONPlacing struct {
	Replica string `json:"replica"`
	Machine string `json:"machine"`
	Was     string `json:"was,omitempty"`
	Why     string `json:"why,omitempty"`
}

// JSONSize is a size that the spec does not say.
type JSONSize struct {
	Group  string `json:"group"`
	Size   int    `json:"size"`
	Min    int    `json:"min"`
	Max    int    `json:"max"`
	ByHand bool   `json:"by_hand"`
}

// JSONRollout tells how a new revision of a function comes in, other than one
// replica after the other.
type JSONRollout struct {
	Function  string      `json:"function"`
	Strategy  string      `json:"strategy"`
	Back      bool        `json:"back,omitempty"`
	Replicas  int         `json:"replicas"`
	Frontends []string    `json:"frontends"`
	Steps     []JSONStage `json:"steps,omitempty"`
	Kept      int         `json:"kept,omitempty"`
}

// JSONStage is one step of a canary.
type JSONStage struct {
	Percent  int `json:"percent"`
	Replicas int `json:"replicas"`
}

func rolloutJSON(r engine.Rollout) JSONRollout {
	j := JSONRollout{Function: r.Function.String(), Strategy: r.Strategy, Back: r.Back, Replicas: len(r.Replicas), Frontends: []string{}}
	for _, f := range r.Fronts {
		j.Frontends = append(j.Frontends, f.Frontend.String())
	}
	for _, s := range r.Stages {
		j.Steps = append(j.Steps, JSONStage(s))
	}
	for _, k := range r.Kept {
		if k.Address.Kind == engine.KindFunction {
			j.Kept++
		}
	}
	return j
}

// PlanJSON converts a plan.
func PlanJSON(p engine.Plan, ds engine.Diagnostics, sources *Sources) JSONPlan {
	all, phases := p.Summarise()
	j := JSONPlan{
		FormatVersion: FormatVersion, Flow: p.Flow, Lineage: p.Lineage, Serial: p.Serial, Destroy: p.Destroy,
		Changes: !p.Empty(), Summary: SummaryJSON(all), Resources: []JSONChange{}, Outputs: map[string]JSONOutput{},
		Placement: []JSONPlacing{}, Sizes: []JSONSize{}, Diagnostics: JSONDiagnostics(ds, sources),
	}
	j.Summary.Phases = map[string]JSONSummary{}
	for ph, n := range phases {
		j.Summary.Phases[ph.String()] = SummaryJSON(n)
	}
	for _, c := range p.Changes {
		if c.Action != engine.NoOp || c.Hold != "" || len(c.Leftovers) > 0 {
			j.Resources = append(j.Resources, changeJSON(c))
		}
	}
	for _, o := range p.Outputs {
		if o.Changed() {
			j.Outputs[o.Name] = outputJSON(o)
		}
	}
	for _, pl := range p.Placings {
		j.Placement = append(j.Placement, JSONPlacing{pl.Replica.String(), pl.Machine.String(), pl.Was.String(), pl.Why})
	}
	for _, r := range p.Rollouts {
		j.Rollouts = append(j.Rollouts, rolloutJSON(r))
	}
	for _, g := range p.Sizes {
		j.Sizes = append(j.Sizes, JSONSize{g.Group.String(), g.Size, g.Bounds.Min, g.Bounds.Max, g.ByHand})
	}
	return j
}

// SummaryJSON converts counts.
func SummaryJSON(n engine.Summary) JSONSummary {
	return JSONSummary{Add: n.Add, Change: n.Change, Replace: n.Replace, Destroy: n.Destroy, Run: n.Run, Suspend: n.Suspend, Resume: n.Resume, Restart: n.Restart, Capture: n.Capture, Revert: n.Revert, Discard: n.Discard}
}

func changeJSON(c engine.Change) JSONChange {
	j := JSONChange{
		Address: c.Address.String(), Kind: string(c.Address.Kind), Action: c.Action.String(), CreateFirst: c.CreateFirst,
		Phase: c.Phase.String(), Provider: c.Provider, Why: c.Why, Hold: c.Hold, Changed: c.Changed, Replace: c.ReplacePaths,
		Before: json.RawMessage("null"), After: json.RawMessage("null"), Sensitive: c.Sensitive, Snapshot: c.Snapshot, Leftovers: len(c.Leftovers),
	}
	if c.From != nil {
		j.From = c.From.Address.String()
	}
	if c.Reload != nil {
		text := c.Reload.String()
		j.Reload = &text
	}
	if c.Prior != nil {
		j.Sensitive = merged(c.Sensitive, c.Prior.Sensitive)
		j.Before = ObjectJSON(c.Prior.Value, j.Sensitive)
	}
	if c.Planned != cty.NilVal && c.Action != engine.Delete {
		j.After = ObjectJSON(c.Planned, j.Sensitive)
		for name, a := range c.Planned.AsValueMap() {
			if !a.IsWhollyKnown() {
				j.AfterUnknown = append(j.AfterUnknown, name)
			}
		}
		j.AfterUnknown = merged(j.AfterUnknown, nil)
	}
	return j
}

// ObjectJSON writes an object value without what is sensitive, null or unknown.
func ObjectJSON(v cty.Value, sensitive []string) json.RawMessage {
	attrs := v.AsValueMap()
	for _, name := range sensitive {
		attr, key, inside := strings.Cut(name, ".")
		a, ok := attrs[attr]
		if !ok {
			continue
		}
		if !inside || !a.IsKnown() || a.IsNull() || !a.Type().IsMapType() {
			delete(attrs, attr)
			continue
		}
		entries := a.AsValueMap()
		delete(entries, key)
		attrs[attr] = cty.MapValEmpty(a.Type().ElementType())
		if len(entries) > 0 {
			attrs[attr] = cty.MapVal(entries)
		}
	}
	b, err := engine.MarshalValue(cty.ObjectVal(attrs))
	if err != nil {
		panic("bug: " + err.Error())
	}
	return b
}

func outputJSON(o engine.OutputChange) JSONOutput {
	j := JSONOutput{Sensitive: o.Sensitive}
	if o.Sensitive {
		return j
	}
	if o.Before != cty.NilVal {
		j.Before = ValueJSON(o.Before)
	}
	if o.After != cty.NilVal {
		if j.Unknown = !o.After.IsWhollyKnown(); !j.Unknown {
			j.After = ValueJSON(o.After)
		}
	}
	return j
}

// ValueJSON writes a known value of any type.
func ValueJSON(v cty.Value) json.RawMessage {
	bare, _ := v.UnmarkDeep()
	b, err := ctyjson.SimpleJSONValue{Value: bare}.MarshalJSON()
	if err != nil {
		panic("bug: " + err.Error())
	}
	return b
}
