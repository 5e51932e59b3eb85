package engine

import (
	"encoding/json"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// MarshalValue writes an object value as JSON, without its null and unknown
// attributes.
func MarshalValue(v cty.Value) ([]byte, error) {
	if v == cty.NilVal || v.IsNull() || !v.IsKnown() {
		return []byte("{}"), nil
	}
	attrs := v.AsValueMap()
	for name, a := range attrs {
		if a.IsNull() || !a.IsWhollyKnown() {
			delete(attrs, name)
		}
	}
	bare := cty.ObjectVal(attrs)
	return ctyjson.Marshal(bare, bare.Type())
}

// UnmarshalValue is the inverse of MarshalValue for a kind: attributes that are
// missing are null, those that the kind's schema does not have are dropped.
func UnmarshalValue(k Kind, text []byte) (cty.Value, error) {
	t := ValueSchema(k).Type()
	v, err := ctyjson.Unmarshal(text, t)
	if err == nil {
		return v, nil
	}
	var raw map[string]json.RawMessage
	if json.Unmarshal(text, &raw) != nil {
		return cty.NilVal, err
	}
	for name := range raw {
		if !t.HasAttribute(name) {
			delete(raw, name)
		}
	}
	known, merr := json.Marshal(raw)
	if merr != nil {
		return cty.NilVal, err
	}
	return ctyjson.Unmarshal(known, t)
}
