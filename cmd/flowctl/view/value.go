package view

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

const (
	unknownText   = "(known after apply)"
	sensitiveText = "(sensitive value)"
)

// inline renders a value on one line.
func inline(v cty.Value) string {
	if v.IsMarked() {
		return sensitiveText
	}
	switch {
	case !v.IsKnown():
		return unknownText
	case v.IsNull():
		return "null"
	}
	t := v.Type()
	switch {
	case t == cty.String:
		return quote(v.AsString())
	case t == cty.Number:
		return string(engine.AppendNumber(nil, v.AsBigFloat()))
	case t == cty.Bool:
		return strconv.FormatBool(v.True())
	case t.IsListType() || t.IsTupleType() || t.IsSetType():
		var parts []string
		for _, e := range v.AsValueSlice() {
			parts = append(parts, inline(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case t.IsMapType() || t.IsObjectType():
		m := v.AsValueMap()
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !t.IsObjectType() || !m[k].IsKnown() || !m[k].IsNull() {
				parts = append(parts, name(k)+" = "+inline(m[k]))
			}
		}
		if len(parts) == 0 {
			return "{}"
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	}
	return t.FriendlyName()
}

// name writes a map key as HCL would, with quotes only where they are needed.
func name(k string) string {
	for i, r := range k {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r != '-' && (r < '0' || r > '9')) {
			return strconv.Quote(k)
		}
	}
	if k == "" {
		return `""`
	}
	return k
}

// quote writes a string in quotes; control characters cannot disturb a terminal.
func quote(s string) string { return strconv.Quote(s) }

// Value renders an output's value, over several lines where that helps.
func Value(v cty.Value) string { return block(v, "") }

// block renders collections that hold collections over several lines.
func block(v cty.Value, indent string) string {
	if v.IsMarked() || !v.IsKnown() || v.IsNull() || !nested(v) && len(inline(v)) < 72 {
		return inline(v)
	}
	t := v.Type()
	inner := indent + "  "
	var b strings.Builder
	switch {
	case t.IsListType() || t.IsTupleType() || t.IsSetType():
		b.WriteString("[\n")
		for _, e := range v.AsValueSlice() {
			fmt.Fprintf(&b, "%s%s,\n", inner, block(e, inner))
		}
		b.WriteString(indent + "]")
	case t.IsMapType() || t.IsObjectType():
		m := v.AsValueMap()
		width := 0
		for k := range m {
			width = max(width, len(name(k)))
		}
		b.WriteString("{\n")
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !t.IsObjectType() || !m[k].IsKnown() || !m[k].IsNull() {
				fmt.Fprintf(&b, "%s%-*s = %s\n", inner, width, name(k), block(m[k], inner))
			}
		}
		b.WriteString(indent + "}")
	default:
		return inline(v)
	}
	return b.String()
}

// nested reports whether a collection holds collections.
func nested(v cty.Value) bool {
	t := v.Type()
	if !t.IsCollectionType() && !t.IsTupleType() && !t.IsObjectType() {
		return false
	}
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		if et := e.Type(); et.IsCollectionType() || et.IsTupleType() || et.IsObjectType() {
			return true
		}
	}
	return false
}
