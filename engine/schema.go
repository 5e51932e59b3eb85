package engine

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/zclconf/go-cty/cty"
)

// Form says how an attribute is written in a spec, where its cty type alone
// does not tell.
type Form int

// The forms.
const (
	Plain         Form = iota
	SizeForm           // a string such as "512MiB"
	DurationForm       // a string such as "30s"
	ReferenceForm      // a reference to a block, such as function.web; its value is the address
	BlockForm          // a nested block
)

// Attribute is one attribute, nested block or label of a Schema.
type Attribute struct {
	Name      string
	Doc       string
	Type      cty.Type // of its value; sizes, durations and references are strings
	Form      Form
	Required  bool
	Computed  bool      // filled in by the engine or a provider; not writable unless Optional
	Optional  bool      // writable
	Replace   bool      // a change needs a new object
	Sensitive bool      // never shown
	Meta      bool      // belongs to the block, is no part of a resource's value
	Label     bool      // written as the nested block's label
	Default   cty.Value // cty.NilVal if none
	Enum      []string  // allowed values; nil if any
	Rule      Rule      // what else holds for its values; "" if nothing
	Min, Max  *float64  // bounds of a number, seconds of a duration, bytes of a size; nil if none
	Block     *Schema   // of a BlockForm
	Repeated  bool      // a BlockForm that may occur more than once
	Whole     bool      // a number without fraction
	Refs      []Kind    // of a ReferenceForm: the kinds it may refer to; nil for all
	field     []int
}

// Schema is the shape of a block or of a resource's value. It is derived from a
// tagged struct by SchemaOf and shared: do not modify it.
type Schema struct {
	Attributes []Attribute // in the order of the struct
	byName     map[string]int
	goType     reflect.Type
	valueType  cty.Type
}

// Attribute returns the attribute of that name, or nil.
func (s *Schema) Attribute(name string) *Attribute {
	i, ok := s.byName[name]
	if !ok {
		return nil
	}
	return &s.Attributes[i]
}

// Type returns the object type of a value of this schema: all attributes but
// the meta ones.
func (s *Schema) Type() cty.Type { return s.valueType }

var schemas sync.Map // reflect.Type → *Schema

// SchemaOf derives the schema of struct T from its tags:
//
//	flow:"name,required,computed,optional,replace,sensitive,meta,label"
//	doc:"…"  default:"…"  enum:"a|b"  min:"0"  max:"10"  refs:"vm|host"  rule:"env"
//
// Fields without a flow tag are skipped; embedded structs are merged. It panics
// on a tag that it does not understand: that is a bug, and found by any test.
func SchemaOf[T any]() *Schema { return schemaOf(reflect.TypeFor[T]()) }

func schemaOf(t reflect.Type) *Schema {
	if s, ok := schemas.Load(t); ok {
		return s.(*Schema)
	}
	s := &Schema{byName: map[string]int{}, goType: t}
	s.collect(t, nil)
	types := map[string]cty.Type{}
	for i, a := range s.Attributes {
		s.byName[a.Name] = i
		if !a.Meta {
			types[a.Name] = a.Type
		}
	}
	s.valueType = cty.Object(types)
	actual, _ := schemas.LoadOrStore(t, s)
	return actual.(*Schema)
}

func (s *Schema) collect(t reflect.Type, path []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int{}, path...), i)
		if f.Anonymous {
			s.collect(f.Type, at)
			continue
		}
		tag, ok := f.Tag.Lookup("flow")
		if !ok {
			continue
		}
		s.Attributes = append(s.Attributes, attributeOf(f, tag, at))
	}
}

func attributeOf(f reflect.StructField, tag string, path []int) Attribute {
	name, options, _ := strings.Cut(tag, ",")
	a := Attribute{Name: name, Doc: f.Tag.Get("doc"), field: path}
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "":
		case "required":
			a.Required = true
		case "computed":
			a.Computed = true
		case "optional":
			a.Optional = true
		case "replace":
			a.Replace = true
		case "sensitive":
			a.Sensitive = true
		case "meta":
			a.Meta = true
		case "label":
			a.Label = true
		default:
			panic("bug: unknown option " + o + " in the tag of " + f.Name)
		}
	}
	a.Optional = a.Optional || !a.Computed
	a.Type, a.Form, a.Block, a.Repeated = shapeOf(f.Type)
	a.Whole = f.Type.Kind() == reflect.Int || f.Type.Kind() == reflect.Int64
	a.Min, a.Max = bound(f.Tag.Get("min"), a.Form), bound(f.Tag.Get("max"), a.Form)
	if e := f.Tag.Get("enum"); e != "" {
		a.Enum = strings.Split(e, "|")
	}
	if r := f.Tag.Get("refs"); r != "" {
		for k := range strings.SplitSeq(r, "|") {
			a.Refs = append(a.Refs, Kind(k))
		}
	}
	a.Rule = Rule(f.Tag.Get("rule"))
	a.Default = cty.NilVal
	if d, ok := f.Tag.Lookup("default"); ok {
		a.Default = literal(d, a.Type)
	}
	return a
}

// shapeOf maps a Go type to the type and form of an attribute.
func shapeOf(t reflect.Type) (cty.Type, Form, *Schema, bool) {
	switch t {
	case reflect.TypeFor[Size]():
		return cty.String, SizeForm, nil, false
	case reflect.TypeFor[Duration]():
		return cty.String, DurationForm, nil, false
	case reflect.TypeFor[Address]():
		return cty.String, ReferenceForm, nil, false
	case reflect.TypeFor[[]Address]():
		return cty.List(cty.String), ReferenceForm, nil, false
	}
	switch t.Kind() {
	case reflect.String:
		return cty.String, Plain, nil, false
	case reflect.Bool:
		return cty.Bool, Plain, nil, false
	case reflect.Int, reflect.Int64, reflect.Float64:
		return cty.Number, Plain, nil, false
	case reflect.Map:
		e, _, _, _ := shapeOf(t.Elem())
		return cty.Map(e), Plain, nil, false
	case reflect.Pointer:
		b := schemaOf(t.Elem())
		return b.valueType, BlockForm, b, false
	case reflect.Struct: // an object written as an expression
		return schemaOf(t).valueType, Plain, nil, false
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct && t.Elem() != reflect.TypeFor[Address]() {
			b := schemaOf(t.Elem())
			return cty.List(b.valueType), BlockForm, b, true
		}
		e, _, _, _ := shapeOf(t.Elem())
		return cty.List(e), Plain, nil, false
	}
	panic("bug: no schema for Go type " + t.String())
}

func bound(s string, form Form) *float64 {
	if s == "" {
		return nil
	}
	f, err := measure(s, form)
	if err != nil {
		panic("bug: bound " + s + ": " + err.Error())
	}
	return &f
}

// measure reads a bound or a value of a form as a plain number: seconds for a
// duration, bytes for a size.
func measure(s string, form Form) (float64, error) {
	switch form {
	case SizeForm:
		n, err := ParseSize(s)
		return float64(n), err
	case DurationForm:
		d, err := ParseDuration(s)
		return d.Std().Seconds(), err
	default:
		return strconv.ParseFloat(s, 64)
	}
}

func literal(s string, t cty.Type) cty.Value {
	switch t {
	case cty.String:
		return cty.StringVal(s)
	case cty.Bool:
		return cty.BoolVal(s == "true")
	case cty.Number:
		return cty.MustParseNumberVal(s)
	case cty.List(cty.String):
		if s == "" {
			return cty.ListValEmpty(cty.String)
		}
		var vals []cty.Value
		for p := range strings.SplitSeq(s, "|") {
			vals = append(vals, cty.StringVal(p))
		}
		return cty.ListVal(vals)
	}
	panic("bug: default " + s + " for type " + t.FriendlyName())
}

// DefaultsOf returns a T as a block without any attribute would make it. Nested
// blocks are absent.
func DefaultsOf[T any]() T {
	s := SchemaOf[T]()
	set := map[string]cty.Value{}
	for i := range s.Attributes {
		if a := &s.Attributes[i]; a.Default != cty.NilVal {
			set[a.Name] = a.Default
		}
	}
	return MustDecode[T](cty.ObjectVal(set))
}

// Normalise checks a known, non-null value of an attribute against its form,
// bounds, choices and rule and returns it in canonical spelling, so that "1024MiB"
// and "1GiB" are the same. The error is a full sentence about the value.
func (a *Attribute) Normalise(v cty.Value) (cty.Value, error) {
	if a.Type == cty.String && (a.Form == SizeForm || a.Form == DurationForm) {
		s := v.AsString()
		canonical := ""
		if a.Form == SizeForm {
			n, err := ParseSize(s)
			if err != nil {
				return v, err
			}
			canonical = n.String()
		} else {
			d, err := ParseDuration(s)
			if err != nil {
				return v, err
			}
			canonical = d.String()
		}
		f, _ := measure(canonical, a.Form)
		return cty.StringVal(canonical), a.within(f, s)
	}
	if a.Type == cty.Number {
		f, _ := v.AsBigFloat().Float64()
		if a.Whole && !v.AsBigFloat().IsInt() {
			return v, fmt.Errorf("%v is not a whole number", f)
		}
		return v, a.within(f, strconv.FormatFloat(f, 'f', -1, 64))
	}
	if a.Type == cty.String && a.Enum != nil {
		for _, e := range a.Enum {
			if v.AsString() == e {
				return v, nil
			}
		}
		return v, fmt.Errorf("%q is not one of %s", v.AsString(), quoteList(a.Enum))
	}
	return v, a.Rule.check(v)
}

func (a *Attribute) within(f float64, shown string) error {
	switch {
	case a.Min != nil && f < *a.Min:
		return fmt.Errorf("%s is too small: the least is %s", shown, a.show(*a.Min))
	case a.Max != nil && f > *a.Max:
		return fmt.Errorf("%s is too large: the most is %s", shown, a.show(*a.Max))
	}
	return nil
}

func (a *Attribute) show(f float64) string {
	switch a.Form {
	case SizeForm:
		return Size(f).String()
	case DurationForm:
		return Duration(f * 1e9).String()
	default:
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
}

func quoteList(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return strings.Join(quoted, ", ")
}
