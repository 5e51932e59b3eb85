package spec

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// given is a value of a variable.
type given struct {
	value cty.Value
	from  string
	expr  hclsyntax.Expression // nil if it comes from no file
}

// assignVariables collects the values from outside, weakest first: environment,
// variable files in order, options in order.
func (l *loader) assignVariables() {
	for _, a := range l.bundle.Env {
		if v := l.variables[a.Name]; v != nil { // the environment may serve several flows
			l.assign(v, a)
		}
	}
	for _, f := range l.bundle.VarFiles {
		l.assignFile(f)
	}
	for _, a := range l.bundle.Args {
		v := l.variables[a.Name]
		if v == nil {
			l.add(engine.Diagnostic{
				Summary: "Unknown variable",
				Detail:  fmt.Sprintf("The option -var %s=… sets a variable that the flow does not declare.%s", a.Name, didYouMean(a.Name, slices.Sorted(maps.Keys(l.variables)), "")),
			})
			continue
		}
		l.assign(v, a)
	}
}

// assign takes a value from a string: as it is for a variable of a simple type,
// as an expression for all others.
func (l *loader) assign(v *variable, a Assignment) {
	if v.typ.IsPrimitiveType() || v.typ == cty.DynamicPseudoType {
		v.given = &given{value: cty.StringVal(a.Value), from: a.From}
		return
	}
	text := []byte(a.Value)
	problem := ""
	if deep := tooDeep(File{a.From, text}); deep != nil {
		problem = deep.Detail
	} else if expr, ds := hclsyntax.ParseExpression(text, a.From, hcl.InitialPos); ds.HasErrors() {
		problem = syntaxDiags(ds, text)[0].Detail
	} else if len(expr.Variables()) > 0 {
		problem = "it refers to something. Write text in quotes, as in 'name=[\"a\", \"b\"]'."
	} else if val, ds := evaluate(expr, &hcl.EvalContext{Functions: l.scope.Functions}); ds.HasErrors() {
		problem = ds[0].Detail
	} else {
		v.given = &given{value: val, from: a.From}
		return
	}
	v.given = &given{value: cty.DynamicVal, from: a.From}
	l.add(engine.Diagnostic{
		Summary: "Invalid value for variable",
		Detail:  fmt.Sprintf("The value of variable %q (%s) is no expression: %s", v.name, a.From, problem),
	})
}

func (l *loader) assignFile(f File) {
	body := l.parse(f)
	if body == nil {
		l.unread = true
		return
	}
	for _, blk := range body.Blocks {
		l.fault(blk.DefRange(), "Block in a variable file", "A variable file has only lines such as name = value. Put blocks into the spec.")
	}
	for _, a := range attributes(body) {
		v := l.variables[a.Name]
		if v == nil {
			l.warn(a.NameRange, "Unknown variable", fmt.Sprintf("The flow declares no variable %q; the line has no effect.%s", a.Name, didYouMean(a.Name, slices.Sorted(maps.Keys(l.variables)), "")))
			continue
		}
		v.given = &given{value: cty.DynamicVal, from: f.Name, expr: a.Expr}
		if l.examine(a.Expr, where{fixed: "A variable file gives values, which refer to nothing."}).broken {
			continue
		}
		val, ds := evaluate(a.Expr, &hcl.EvalContext{Functions: l.scope.Functions})
		l.addAll(convertDiags(ds))
		if !ds.HasErrors() {
			v.given.value = val
		}
	}
}
