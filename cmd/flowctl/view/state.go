package view

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// State renders recorded objects.
func State(objects []engine.Object, s Style) string {
	var b strings.Builder
	for _, o := range objects {
		fmt.Fprintf(&b, "%s %s\n", s.dim("#"), s.bold(o.Address.String())+s.dim(fmt.Sprintf(" generation %d, %s, provider %s", o.Gen, o.Lifecycle, o.Provider)))
		writeObject(&b, o)
		b.WriteByte('\n')
	}
	if len(objects) == 0 {
		return "The state is empty.\n"
	}
	return b.String()
}

func writeObject(b *strings.Builder, o engine.Object) {
	v := engine.Mark(o.Value, o.Sensitive)
	width := 0
	var shown []engine.Attribute
	for _, a := range engine.ValueSchema(o.Address.Kind).Attributes {
		if a.Meta {
			continue
		}
		x, _ := v.GetAttr(a.Name).Unmark()
		if x.IsNull() || a.Repeated && x.LengthInt() == 0 {
			continue
		}
		shown = append(shown, a)
		width = max(width, len(a.Name))
	}
	for _, a := range shown {
		x := v.GetAttr(a.Name)
		if a.Block != nil && x != cty.NilVal {
			x = trim(x, a.Block)
		}
		fmt.Fprintf(b, "  %-*s = %s\n", width, a.Name, block(x, "  "))
	}
}

// JSONState is a state in JSON.
type JSONState struct {
	FormatVersion string                     `json:"format_version"`
	Lineage       string                     `json:"lineage"`
	Serial        int64                      `json:"serial"`
	Open          int                        `json:"open_operations"`
	Objects       []JSONObject               `json:"objects"`
	Outputs       map[string]JSONOutputValue `json:"outputs"`
}

// JSONObject is one recorded object.
type JSONObject struct {
	Address    string           `json:"address"`
	Generation int              `json:"generation"`
	Provider   string           `json:"provider"`
	Lifecycle  string           `json:"lifecycle"`
	Operation  string           `json:"operation"`
	Needs      []engine.Address `json:"needs"`
	Value      json.RawMessage  `json:"value"`
	Sensitive  []string         `json:"sensitive,omitempty"`
}

// StateJSON converts a state; sensitive values are left out.
func StateJSON(snap engine.Snapshot) JSONState {
	j := JSONState{FormatVersion: FormatVersion, Lineage: snap.Lineage, Serial: snap.Serial, Open: len(snap.Open), Objects: []JSONObject{}, Outputs: OutputsJSON(snap.Outputs)}
	for _, o := range snap.Objects {
		needs := o.Needs
		if needs == nil {
			needs = []engine.Address{}
		}
		j.Objects = append(j.Objects, JSONObject{o.Address.String(), o.Gen, o.Provider, o.Lifecycle.String(), o.Operation, needs, ObjectJSON(o.Value, o.Sensitive), o.Sensitive})
	}
	return j
}
