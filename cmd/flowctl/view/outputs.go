package view

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// Outputs renders outputs as "name = value" lines; sensitive ones are hidden.
func Outputs(outputs map[string]engine.OutputValue, indent string) string {
	var b strings.Builder
	width := 0
	for name := range outputs {
		width = max(width, len(name))
	}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		o := outputs[name]
		text := sensitiveText
		if !o.Sensitive {
			text = block(o.Value, indent)
		}
		fmt.Fprintf(&b, "%s%-*s = %s\n", indent, width, name, text)
	}
	return b.String()
}

// Raw writes a string, number or boolean as it is.
func Raw(v cty.Value) string {
	if !v.IsNull() && v.IsKnown() && v.Type() == cty.String {
		return v.AsString()
	}
	return inline(v)
}

// JSONOutputValue is one output's value.
type JSONOutputValue struct {
	Value       json.RawMessage `json:"value,omitempty"` // left out if sensitive
	Sensitive   bool            `json:"sensitive"`
	Description string          `json:"description,omitempty"`
}

// OutputsJSON converts outputs.
func OutputsJSON(outputs map[string]engine.OutputValue) map[string]JSONOutputValue {
	all := map[string]JSONOutputValue{}
	for name, o := range outputs {
		j := JSONOutputValue{Sensitive: o.Sensitive, Description: o.Description}
		if !o.Sensitive {
			j.Value = ValueJSON(o.Value)
		}
		all[name] = j
	}
	return all
}
