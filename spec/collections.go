package spec

import (
	"fmt"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// lengthFunc counts the elements of a collection or the characters of a string.
var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true, AllowUnknown: true, AllowMarked: true}},
	Type: func(args []cty.Value) (cty.Type, error) {
		if t := args[0].Type(); t == cty.String || t == cty.DynamicPseudoType || t.IsObjectType() {
			return cty.Number, nil
		}
		return stdlib.LengthFunc.ReturnTypeForValues(args)
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		switch t := args[0].Type(); {
		case t == cty.DynamicPseudoType:
			return cty.UnknownVal(cty.Number), nil
		case t == cty.String:
			return stdlib.Strlen(args[0])
		case t.IsObjectType():
			return cty.NumberIntVal(int64(len(t.AttributeTypes()))), nil
		default:
			return stdlib.Length(args[0])
		}
	},
})

// elementsOf lists the elements of a collection, false if it has none.
func elementsOf(v cty.Value) ([]cty.Value, bool) {
	if t := v.Type(); !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
		return nil, false
	}
	return v.AsValueSlice(), true
}

// indexFunc finds an element in a list.
var indexFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}, {Name: "value", Type: cty.DynamicPseudoType, AllowNull: true}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
		elements, ok := elementsOf(args[0])
		if !ok {
			return cty.UnknownVal(t), function.NewArgErrorf(0, "a list is needed")
		}
		for i, e := range elements {
			switch equal, err := stdlib.Equal(e, args[1]); {
			case err != nil:
				return cty.UnknownVal(t), err
			case !equal.IsKnown():
				return cty.UnknownVal(t), nil
			case equal.True():
				return cty.NumberIntVal(int64(i)), nil
			}
		}
		return cty.UnknownVal(t), function.NewArgErrorf(1, "the list has no such element")
	},
})

// oneFunc takes the only element out of a list, null if it is empty.
var oneFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
	Type: func(args []cty.Value) (cty.Type, error) {
		t := args[0].Type()
		switch {
		case t.IsListType() || t.IsSetType():
			return t.ElementType(), nil
		case t.IsTupleType() && t.Length() == 0:
			return cty.DynamicPseudoType, nil
		case t.IsTupleType() && t.Length() == 1:
			return t.TupleElementType(0), nil
		case t.IsTupleType():
			return cty.DynamicPseudoType, function.NewArgErrorf(0, "it has %d elements, not one or none", t.Length())
		default:
			return cty.DynamicPseudoType, function.NewArgErrorf(0, "a list or set is needed")
		}
	},
	Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
		n := args[0].Length()
		if !n.IsKnown() {
			return cty.UnknownVal(t), nil
		}
		switch elements := args[0].AsValueSlice(); len(elements) {
		case 0:
			return cty.NullVal(t), nil
		case 1:
			return elements[0], nil
		default:
			return cty.UnknownVal(t), function.NewArgErrorf(0, "it has %d elements, not one or none", len(elements))
		}
	},
})

// sumFunc adds up numbers.
var sumFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "numbers", Type: cty.List(cty.Number)}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
		total := cty.Zero
		for _, n := range args[0].AsValueSlice() {
			if n.IsNull() {
				return cty.UnknownVal(t), function.NewArgErrorf(0, "an element is null")
			}
			total = total.Add(n)
		}
		return total, nil
	},
})

// boolsFunc makes alltrue and anytrue; an element that is null is not true.
func boolsFunc(all bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "bools", Type: cty.List(cty.Bool)}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
			unknown := false
			for _, b := range args[0].AsValueSlice() {
				switch {
				case !b.IsKnown():
					unknown = true
				case (!b.IsNull() && b.True()) != all:
					return cty.BoolVal(!all), nil
				}
			}
			if unknown {
				return cty.UnknownVal(t), nil
			}
			return cty.BoolVal(all), nil
		},
	})
}

func wholeNumber(arg int, v cty.Value) (int, error) {
	n, problem := wholeIndex(v)
	if problem != "" {
		return 0, function.NewArgError(arg, fmt.Errorf("%s", problem))
	}
	return n, nil
}
