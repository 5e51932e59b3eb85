package spec

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// variable is one variable block.
type variable struct {
	name     string
	block    *hclsyntax.Block
	typ      cty.Type // without optional attributes
	wanted   cty.Type // with them
	defaults *typeexpr.Defaults
	opts     variableBlock
	fallback *hclsyntax.Attribute // default
	checks   []*hclsyntax.Block   // validation
	given    *given
	value    cty.Value // unknown if it has none
}

func newVariable(name string, blk *hclsyntax.Block) *variable {
	return &variable{name: name, block: blk, typ: cty.DynamicPseudoType, wanted: cty.DynamicPseudoType}
}

// variableBlock is a variable block, without type, default and validation.
type variableBlock struct {
	Description string `flow:"description,meta" doc:"What the variable is for."`
	Sensitive   bool   `flow:"sensitive,meta" default:"false" doc:"Hide the value, and everything that is made of it."`
	Nullable    bool   `flow:"nullable,meta" default:"true" doc:"Whether null is a value; if not, null means the default."`
}

// validationBlock is a validation block; both of its attributes may be of any
// form.
type validationBlock struct {
	Condition string `flow:"condition,meta" doc:"True for good values."`
	Message   string `flow:"error_message,meta" doc:"What is wrong with others."`
}

// evalScope gives values to the variables and locals: the scope that everything
// else is evaluated in.
func (l *loader) evalScope() {
	l.scope = &hcl.EvalContext{
		Variables: map[string]cty.Value{"flow": l.flowObject()},
		Functions: l.functions(),
	}
	l.lookup = l.scope.NewChild()
	l.lookup.Variables = map[string]cty.Value{}
	names := slices.Sorted(maps.Keys(l.variables))
	for _, name := range names {
		l.decodeVariable(l.variables[name])
	}
	l.assignVariables()
	vars := make(map[string]cty.Value, len(names))
	for _, name := range names {
		v := l.variables[name]
		v.value = l.variableValue(v)
		if v.opts.Sensitive {
			v.value = v.value.Mark(engine.Sensitive)
			l.desired.Hidden = append(l.desired.Hidden, name)
		}
		vars[name] = v.value
	}
	l.scope.Variables["var"] = cty.ObjectVal(vars)
	l.scope.Variables["local"] = cty.ObjectVal(l.localValues())
}

func (l *loader) flowObject() cty.Value {
	name := cty.StringVal("")
	if l.flow != nil {
		name = cty.StringVal(l.flow.Labels[0])
	}
	return cty.ObjectVal(map[string]cty.Value{"name": name, "dir": cty.StringVal(l.bundle.Dir)})
}

const constantDefault = "A default stands for itself and refers to nothing. Write the value, or leave the default out and compute one in locals."

func (l *loader) decodeVariable(v *variable) {
	attrs := v.block.Body.Attributes
	v.fallback = attrs["default"]
	body := *v.block.Body
	body.Blocks = nil
	for _, nested := range v.block.Body.Blocks {
		if nested.Type == "validation" {
			v.checks = append(v.checks, nested)
			continue
		}
		body.Blocks = append(body.Blocks, nested)
	}
	l.static(&body, engine.SchemaOf[variableBlock](), "variable", where{fixed: "What describes a variable stands for itself and refers to nothing."}, &v.opts, "type", "default", "validation")
	if t := attrs["type"]; t != nil {
		l.decodeType(v, t.Expr)
	}
	if v.fallback != nil && l.examine(v.fallback.Expr, where{fixed: constantDefault}).broken {
		v.fallback = nil
		v.given = &given{value: cty.DynamicVal}
	}
}

func (l *loader) decodeType(v *variable, expr hclsyntax.Expression) {
	t, defaults, ds := typeexpr.TypeConstraintWithDefaults(expr)
	if ds.HasErrors() {
		rng := expr.Range()
		if ds[0].Subject != nil {
			rng = *ds[0].Subject
		}
		better, word := "", ""
		if n, _ := fmt.Sscanf(ds[0].Detail, "The keyword %q", &word); n == 1 {
			if n := nearest(word, []string{"string", "number", "bool", "list", "set", "map", "object", "tuple", "any"}); n != "" {
				better = fmt.Sprintf(" Did you mean %s?", n)
			}
		}
		l.fault(rng, "Invalid type", "This is no type."+better+" Write string, number, bool, list(string), map(string), object({ name = string }) or any, without quotes.")
		return
	}
	v.typ, v.wanted, v.defaults = t.WithoutOptionalAttributesDeep(), t, defaults
}

// variableValue returns the value of a variable, an unknown one if it has none.
func (l *loader) variableValue(v *variable) cty.Value {
	if v.given == nil && v.fallback == nil {
		if l.unread {
			return cty.UnknownVal(v.typ)
		}
		l.fault(v.block.DefRange(), "Variable without a value", fmt.Sprintf("The variable %q has no default and was not set. Set it with -var '%s=…', in %s, or with %s%s.", v.name, v.name, AutoVars, EnvPrefix, v.name))
		return cty.UnknownVal(v.typ)
	}
	if v.given != nil {
		val, ok := l.fit(v, *v.given)
		if !ok || !val.IsNull() || v.opts.Nullable {
			return val
		}
		if v.fallback == nil {
			l.refuse(v, *v.given, ", and its value must not be null")
			return cty.UnknownVal(v.typ)
		}
	}
	d, ds := evaluate(v.fallback.Expr, &hcl.EvalContext{Functions: l.scope.Functions})
	l.addAll(convertDiags(ds))
	if ds.HasErrors() {
		return cty.UnknownVal(v.typ)
	}
	g := given{value: d, from: "default", expr: v.fallback.Expr}
	val, ok := l.fit(v, g)
	if ok && val.IsNull() && !v.opts.Nullable {
		l.refuse(v, g, ", and its value must not be null")
	}
	return val
}

// fit brings a value into the variable's type.
func (l *loader) fit(v *variable, g given) (cty.Value, bool) {
	val := g.value
	if v.defaults != nil && !val.IsNull() {
		val = v.defaults.Apply(val)
	}
	converted, err := convert.Convert(val, v.wanted)
	if err == nil {
		return converted, true
	}
	problem := ", but its value, which is sensitive and not shown, is none"
	if !v.opts.Sensitive {
		worst, path := misfit(val, v.wanted)
		problem = mismatch(worst, path, err)
	}
	l.refuse(v, g, problem)
	return cty.UnknownVal(v.typ), false
}

// refuse reports that a value does not suit a variable.
func (l *loader) refuse(v *variable, g given, problem string) {
	d := engine.Diagnostic{
		Summary: "Invalid value for variable",
		Detail:  fmt.Sprintf("The variable %q has type %s%s (%s).", v.name, typeexpr.TypeString(v.wanted), problem, g.from),
	}
	if g.expr != nil {
		d.Source = sourceOf(g.expr.Range())
	}
	l.add(d)
}

// validateVariables evaluates the validation blocks of the variables.
func (l *loader) validateVariables() {
	for _, name := range slices.Sorted(maps.Keys(l.variables)) {
		for _, blk := range l.variables[name].checks {
			l.validate(l.variables[name], blk)
		}
	}
}

func (l *loader) validate(v *variable, blk *hclsyntax.Block) {
	_, ok := l.static(blk.Body, engine.SchemaOf[validationBlock](), "validation", where{known: "A variable is checked before anything is made"}, nil)
	cond, msg := blk.Body.Attributes["condition"], blk.Body.Attributes["error_message"]
	if cond == nil || msg == nil {
		l.fault(blk.DefRange(), "Invalid validation", "A validation block has two attributes: condition, which is true for good values, and error_message, which says what is wrong with others.")
		return
	}
	if !ok || !v.value.IsWhollyKnown() {
		return
	}
	good, ds := evaluate(cond.Expr, l.scope)
	text, more := evaluate(msg.Expr, l.scope)
	if ds = append(ds, more...); ds.HasErrors() {
		l.addAll(convertDiags(ds))
		return
	}
	good, _ = good.Unmark()
	text, marks := text.Unmark()
	switch {
	case !good.IsKnown() || !text.IsKnown(): // made of something that has a fault of its own
	case good.Type() != cty.Bool || good.IsNull():
		l.fault(cond.Expr.Range(), "Invalid validation", "The condition must be true or false.")
	case text.Type() != cty.String || text.IsNull():
		l.fault(msg.Expr.Range(), "Invalid validation", "The error_message must be a string.")
	case good.False() && len(marks) > 0:
		l.invalid(v, cond, "its error_message is made of something sensitive and not shown.")
	case good.False():
		l.invalid(v, cond, text.AsString())
	}
}

func (l *loader) invalid(v *variable, cond *hclsyntax.Attribute, problem string) {
	rng := cond.Expr.Range()
	switch {
	case v.given != nil && v.given.expr != nil:
		rng = v.given.expr.Range()
	case v.given == nil && v.fallback != nil:
		rng = v.fallback.Expr.Range()
	}
	l.fault(rng, "Invalid value for variable", fmt.Sprintf("The value of variable %q is refused: %s", v.name, problem))
}
