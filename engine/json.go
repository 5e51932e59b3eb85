package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"

	"github.com/zclconf/go-cty/cty"
)

// MarshalValue writes an object value as JSON, without its null and unknown
// attributes, sorted by name. It writes what cty's own JSON would, and is there
// because states hold many values: cty's takes four times as long.
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
	return appendMap(make([]byte, 0, 256), attrs)
}

func appendMap(b []byte, m map[string]cty.Value) ([]byte, error) {
	b = append(b, '{')
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, k)
		b = append(b, ':')
		var err error
		if b, err = appendValue(b, m[k]); err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
	}
	return append(b, '}'), nil
}

func appendString(b []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return append(append(append(b, '"'), s...), '"')
	}
	quoted, err := json.Marshal(s)
	if err != nil {
		panic("bug: " + err.Error())
	}
	return append(b, quoted...)
}

func appendValue(b []byte, v cty.Value) ([]byte, error) {
	if v.IsMarked() {
		return nil, fmt.Errorf("bug: a marked value cannot be recorded")
	}
	if v.IsNull() {
		return append(b, "null"...), nil
	}
	t := v.Type()
	switch {
	case t == cty.String:
		return appendString(b, v.AsString()), nil
	case t == cty.Number:
		return AppendNumber(b, v.AsBigFloat()), nil
	case t == cty.Bool:
		if v.True() {
			return append(b, "true"...), nil
		}
		return append(b, "false"...), nil
	case t.IsMapType() || t.IsObjectType():
		return appendMap(b, v.AsValueMap())
	case t.IsListType() || t.IsTupleType() || t.IsSetType():
		b = append(b, '[')
		for i, e := range v.AsValueSlice() {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendValue(b, e); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	default:
		return nil, fmt.Errorf("a value of type %s cannot be recorded", t.FriendlyName())
	}
}

// UnmarshalValue is the inverse of MarshalValue for a kind: attributes that are
// missing are null, those that the kind's schema does not have are dropped.
func UnmarshalValue(k Kind, text []byte) (cty.Value, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var raw map[string]any
	if err := d.Decode(&raw); err != nil {
		return cty.NilVal, err
	}
	t := ValueSchema(k).Type()
	v, err := objectOf(raw, t)
	if err != nil {
		return cty.NilVal, err
	}
	return typed(t, v), nil
}

// typed returns v, whose type is equal to t, with t itself for its type: cty makes a
// type for each object, which is as large as the object, and here many are kept.
func typed(t cty.Type, v cty.Value) cty.Value {
	return cty.ListVal([]cty.Value{cty.NullVal(t), v}).Index(cty.NumberIntVal(1)) // a list has one type for all
}

func objectOf(raw map[string]any, t cty.Type) (v cty.Value, err error) {
	v = ObjectOf(func(attrs map[string]cty.Value) {
		for name, at := range t.AttributeTypes() {
			x, ok := raw[name]
			if !ok || x == nil {
				attrs[name] = cty.NullVal(at)
				continue
			}
			attr, bad := valueOf(x, at)
			if bad != nil {
				err = fmt.Errorf("%s: %w", name, bad)
				return
			}
			attrs[name] = attr
		}
	})
	return v, err
}

// valueOf converts decoded JSON to a type.
func valueOf(x any, t cty.Type) (cty.Value, error) {
	switch x := x.(type) {
	case nil:
		return cty.NullVal(t), nil
	case string:
		if t == cty.String {
			return cty.StringVal(x), nil
		}
	case bool:
		if t == cty.Bool {
			return cty.BoolVal(x), nil
		}
	case json.Number:
		if t == cty.Number {
			if n, err := x.Int64(); err == nil {
				return number(n), nil
			}
			return cty.ParseNumberVal(x.String())
		}
	case map[string]any:
		if t.IsObjectType() {
			return objectOf(x, t)
		}
		if t.IsMapType() {
			return mapOf(x, t.ElementType())
		}
	case []any:
		if t.IsListType() {
			return listOf(x, t.ElementType())
		}
	}
	return cty.NilVal, fmt.Errorf("%v is no %s", x, t.FriendlyName())
}

// small are the numbers from 0 that most attributes are: one of each will do.
var small = func() (all [256]cty.Value) {
	for n := range all {
		all[n] = cty.NumberIntVal(int64(n))
	}
	return all
}()

func number(n int64) cty.Value {
	if n >= 0 && n < int64(len(small)) {
		return small[n]
	}
	return cty.NumberIntVal(n)
}

func mapOf(x map[string]any, t cty.Type) (cty.Value, error) {
	if len(x) == 0 {
		return cty.MapValEmpty(t), nil
	}
	vals := make(map[string]cty.Value, len(x))
	for k, e := range x {
		v, err := valueOf(e, t)
		if err != nil {
			return cty.NilVal, fmt.Errorf("%q: %w", k, err)
		}
		vals[k] = v
	}
	return cty.MapVal(vals), nil
}

func listOf(x []any, t cty.Type) (cty.Value, error) {
	if len(x) == 0 {
		return cty.ListValEmpty(t), nil
	}
	vals := make([]cty.Value, len(x))
	for i, e := range x {
		v, err := valueOf(e, t)
		if err != nil {
			return cty.NilVal, fmt.Errorf("element %d: %w", i, err)
		}
		vals[i] = v
	}
	return cty.ListVal(vals), nil
}

// AppendNumber writes a number as decimal digits, without an exponent. Whole
// ones, which most are, are a hundred times cheaper than what big.Float does.
func AppendNumber(b []byte, f *big.Float) []byte {
	if n, accuracy := f.Int64(); accuracy == big.Exact && (n != 0 || !f.Signbit()) {
		return strconv.AppendInt(b, n, 10)
	}
	return f.Append(b, 'f', -1)
}
