package engine

import (
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"sync"

	"github.com/zclconf/go-cty/cty"
)

// Decode fills the struct that into points to from a value of its schema.
// Unknown and null attributes leave the field's zero value; marks are ignored.
func Decode(v cty.Value, into any) error {
	target := reflect.ValueOf(into).Elem()
	v, _ = v.UnmarkDeep()
	if v.IsNull() || !v.IsKnown() {
		return nil
	}
	return decodeObject(v, target)
}

// MustDecode decodes a value that the engine itself has checked.
func MustDecode[T any](v cty.Value) T {
	var t T
	if err := Decode(v, &t); err != nil {
		panic("bug: " + err.Error())
	}
	return t
}

func decodeObject(v cty.Value, target reflect.Value) error {
	s := schemaOf(target.Type())
	for i := range s.Attributes {
		a := &s.Attributes[i]
		if !v.Type().HasAttribute(a.Name) {
			continue
		}
		if err := decodeValue(v.GetAttr(a.Name), target.FieldByIndex(a.field)); err != nil {
			return fmt.Errorf("attribute %s: %w", a.Name, err)
		}
	}
	return nil
}

func decodeValue(v cty.Value, f reflect.Value) error {
	if v.IsNull() || !v.IsKnown() {
		return nil
	}
	switch f.Type() {
	case reflect.TypeFor[Size]():
		n, err := ParseSize(v.AsString())
		f.SetInt(int64(n))
		return err
	case reflect.TypeFor[Duration]():
		d, err := ParseDuration(v.AsString())
		f.SetInt(int64(d))
		return err
	case reflect.TypeFor[Address]():
		a, err := ParseAddress(v.AsString())
		f.Set(reflect.ValueOf(a))
		return err
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(v.AsString())
	case reflect.Bool:
		f.SetBool(v.True())
	case reflect.Int, reflect.Int64:
		n, _ := v.AsBigFloat().Int64()
		f.SetInt(n)
	case reflect.Float64:
		n, _ := v.AsBigFloat().Float64()
		f.SetFloat(n)
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
		return decodeObject(v, f.Elem())
	case reflect.Struct:
		return decodeObject(v, f)
	case reflect.Slice:
		return decodeSlice(v, f)
	case reflect.Map:
		return decodeMap(v, f)
	default:
		panic("bug: cannot decode into " + f.Type().String())
	}
	return nil
}

func decodeSlice(v cty.Value, f reflect.Value) error {
	out := reflect.MakeSlice(f.Type(), v.LengthInt(), v.LengthInt())
	i := 0
	for _, e := range v.Elements() {
		if err := decodeValue(e, out.Index(i)); err != nil {
			return err
		}
		i++
	}
	f.Set(out)
	return nil
}

func decodeMap(v cty.Value, f reflect.Value) error {
	out := reflect.MakeMapWithSize(f.Type(), v.LengthInt())
	for k, e := range v.Elements() {
		elem := reflect.New(f.Type().Elem()).Elem()
		if err := decodeValue(e, elem); err != nil {
			return fmt.Errorf("key %q: %w", k.AsString(), err)
		}
		out.SetMapIndex(reflect.ValueOf(k.AsString()), elem)
	}
	f.Set(out)
	return nil
}

// Encode is the inverse of Decode: the value of struct v under its schema,
// without meta attributes. Zero strings, numbers, lists and maps become null
// when the attribute has no default and is not required, since the spec says
// "not set" by leaving out.
func Encode(v any) cty.Value {
	r := reflect.ValueOf(v)
	if r.Kind() == reflect.Pointer {
		r = r.Elem()
	}
	return encodeObject(r)
}

func encodeObject(r reflect.Value) cty.Value {
	s := schemaOf(r.Type())
	attrs := make(map[string]cty.Value, len(s.Attributes))
	for i := range s.Attributes {
		a := &s.Attributes[i]
		if a.Meta {
			continue
		}
		f := r.FieldByIndex(a.field)
		if f.IsZero() && !a.Required && a.Default == cty.NilVal && f.Kind() != reflect.Bool {
			attrs[a.Name] = cty.NullVal(a.Type)
			if a.Repeated {
				attrs[a.Name] = cty.ListValEmpty(a.Type.ElementType())
			}
			continue
		}
		attrs[a.Name] = encodeValue(f, a.Type)
	}
	return cty.ObjectVal(attrs)
}

func encodeValue(f reflect.Value, t cty.Type) cty.Value {
	switch x := f.Interface().(type) {
	case Size:
		return cty.StringVal(x.String())
	case Duration:
		return cty.StringVal(x.String())
	case Address:
		return cty.StringVal(x.String())
	}
	switch f.Kind() {
	case reflect.String:
		return cty.StringVal(f.String())
	case reflect.Bool:
		return cty.BoolVal(f.Bool())
	case reflect.Int, reflect.Int64:
		return cty.NumberIntVal(f.Int())
	case reflect.Float64:
		return cty.NumberVal(new(big.Float).SetFloat64(f.Float()))
	case reflect.Pointer:
		return encodeObject(f.Elem())
	case reflect.Struct:
		return encodeObject(f)
	case reflect.Slice:
		vals := make([]cty.Value, f.Len())
		for i := range vals {
			vals[i] = encodeValue(f.Index(i), t.ElementType())
		}
		if len(vals) == 0 {
			return cty.ListValEmpty(t.ElementType())
		}
		return cty.ListVal(vals)
	case reflect.Map:
		vals := map[string]cty.Value{}
		for it := f.MapRange(); it.Next(); {
			vals[it.Key().String()] = encodeValue(it.Value(), t.ElementType())
		}
		if len(vals) == 0 {
			return cty.MapValEmpty(t.ElementType())
		}
		return cty.MapVal(vals)
	default:
		panic("bug: cannot encode " + f.Type().String())
	}
}

// Merge returns value v with those attributes replaced that differ in the
// struct that after points to (or is) from what v decodes to. What has not
// changed keeps its spelling, null or zero.
func Merge(v cty.Value, after any) cty.Value {
	r := reflect.ValueOf(after)
	if r.Kind() == reflect.Pointer {
		r = r.Elem()
	}
	before := reflect.New(r.Type())
	if err := Decode(v, before.Interface()); err != nil {
		return encodeObject(r)
	}
	changed := map[string]cty.Value{}
	encoded := encodeObject(r)
	for i := range schemaOf(r.Type()).Attributes {
		a := &schemaOf(r.Type()).Attributes[i]
		if a.Meta {
			continue
		}
		was, is := before.Elem().FieldByIndex(a.field), r.FieldByIndex(a.field)
		if !v.GetAttr(a.Name).IsKnown() || !reflect.DeepEqual(was.Interface(), is.Interface()) {
			changed[a.Name] = encoded.GetAttr(a.Name)
		}
	}
	if len(changed) == 0 {
		return v
	}
	return With(v, changed)
}

// With returns object v with some attributes set to other values.
func With(v cty.Value, attrs map[string]cty.Value) cty.Value {
	return ObjectOf(func(all map[string]cty.Value) {
		if v.IsKnown() && !v.IsNull() {
			for name := range v.Type().AttributeTypes() {
				all[name] = v.GetAttr(name)
			}
		}
		maps.Copy(all, attrs)
	})
}

// scratch are maps to fill before an object is made of them, which copies them.
var scratch = sync.Pool{New: func() any { return map[string]cty.Value{} }}

// ObjectOf returns the object with the attributes that fill sets.
func ObjectOf(fill func(attrs map[string]cty.Value)) cty.Value {
	attrs := scratch.Get().(map[string]cty.Value)
	fill(attrs)
	v := cty.ObjectVal(attrs)
	clear(attrs)
	scratch.Put(attrs)
	return v
}
