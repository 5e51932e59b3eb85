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
	typ      cty.Type
	defaults *typeexpr.Defaults
	opts     variableBlock
	fallback *hclsyntax.Attribute // default
	given    *given
}

// given is a value from outside.
type given struct {
	value cty.Value
	from  string
	rng   *hcl.Range // nil if it comes from no file
}

// variableBlock is a variable block, without type, default and validation.
type variableBlock struct {
	Description string `flow:"description,meta" doc:"What the variable is for."`
	Sensitive   bool   `flow:"sensitive,meta" default:"false" doc:"Hide the value, and everything that is made of it."`
	Nullable    bool   `flow:"nullable,meta" default:"true" doc:"Whether null is a value; if not, null means the default."`
}

func (l *loader) declareVariable(blk *hclsyntax.Block) {
	name := blk.Labels[0]
	if first, ok := l.variables[name]; ok {
		l.fault(blk.DefRange(), "Duplicate variable", fmt.Sprintf("The variable %q is declared twice, first at %s. Rename one.", name, first.block.DefRange()))
		return
	}
	v := &variable{name: name, block: blk, typ: cty.DynamicPseudoType}
	l.variables[name] = v
}

// evalScope gives values to the variables and locals: the scope that everything
// else is evaluated in.
func (l *loader) evalScope() {
	l.scope = &hcl.EvalContext{
		Variables: map[string]cty.Value{"flow": l.flowObject()},
		Functions: l.functions(),
	}
	l.assignVariables()
	vars := map[string]cty.Value{}
	for _, name := range slices.Sorted(maps.Keys(l.variables)) {
		vars[name] = l.variableValue(l.variables[name])
	}
	l.scope.Variables["var"] = cty.ObjectVal(vars)
	for _, name := range slices.Sorted(maps.Keys(l.variables)) {
		l.validateVariable(l.variables[name], vars[name])
	}
	l.scope.Variables["local"] = cty.ObjectVal(l.localValues())
}

func (l *loader) flowObject() cty.Value {
	name := cty.StringVal("")
	if l.flow != nil {
		name = cty.StringVal(l.flow.Labels[0])
	}
	return cty.ObjectVal(map[string]cty.Value{"name": name, "dir": cty.StringVal(l.bundle.Dir)})
}

// assignVariables decodes the variable blocks and collects their values, weakest
// first: environment, variable files in order, options.
func (l *loader) assignVariables() {
	for _, name := range slices.Sorted(maps.Keys(l.variables)) {
		l.decodeVariable(l.variables[name])
	}
	for _, a := range l.bundle.Env {
		if v := l.variables[a.Name]; v != nil {
			l.assign(v, a)
		}
	}
	for _, f := range l.bundle.VarFiles {
		l.assignFile(f)
	}
	for _, a := range l.bundle.Args {
		v := l.variables[a.Name]
		if v == nil {
			known := slices.Sorted(maps.Keys(l.variables))
			l.diags = append(l.diags, engine.Diagnostic{
				Summary: "Unknown variable",
				Detail:  fmt.Sprintf("The option -var %s=… sets a variable that the flow does not declare.%s", a.Name, didYouMean(a.Name, known, "")),
			})
			continue
		}
		l.assign(v, a)
	}
}

// assign takes a value from a string: as it is for a string variable, as an
// expression for all others.
func (l *loader) assign(v *variable, a Assignment) {
	if v.typ == cty.String || v.typ == cty.DynamicPseudoType {
		v.given = &given{value: cty.StringVal(a.Value), from: a.From}
		return
	}
	expr, ds := hclsyntax.ParseExpression([]byte(a.Value), a.From, hcl.InitialPos)
	val := cty.DynamicVal
	if !ds.HasErrors() {
		val, ds = expr.Value(nil)
	}
	if ds.HasErrors() {
		l.diags = append(l.diags, engine.Diagnostic{
			Summary: "Invalid value for variable",
			Detail:  fmt.Sprintf("The %s is %q, which is no %s: %s.", a.From, a.Value, v.typ.FriendlyName(), ds[0].Detail),
		})
		return
	}
	v.given = &given{value: val, from: a.From}
}

func (l *loader) assignFile(f File) {
	file, ds := hclsyntax.ParseConfig(f.Bytes, f.Name, hcl.InitialPos)
	l.add(ds)
	if file == nil {
		return
	}
	body := file.Body.(*hclsyntax.Body)
	for _, blk := range body.Blocks {
		l.fault(blk.DefRange(), "Block in a variable file", "A variable file has only lines such as name = value. Put blocks into the spec.")
	}
	for _, a := range attributes(body) {
		v := l.variables[a.Name]
		if v == nil {
			l.warn(a.NameRange, "Unknown variable", fmt.Sprintf("The flow declares no variable %q; the line has no effect.%s", a.Name, didYouMean(a.Name, slices.Sorted(maps.Keys(l.variables)), "")))
			continue
		}
		val, ds := a.Expr.Value(nil)
		l.add(ds)
		if !ds.HasErrors() {
			v.given = &given{value: val, from: f.Name, rng: a.Expr.Range().Ptr()}
		}
	}
}

func (l *loader) decodeVariable(v *variable) {
	body, typ := split(v.block.Body, "type")
	body, v.fallback = split(body, "default")
	copied := *body
	copied.Blocks = nil
	for _, nested := range body.Blocks {
		if nested.Type != "validation" {
			l.fault(nested.TypeRange, "Unknown block type", fmt.Sprintf("A variable has no %q blocks.%s", nested.Type, didYouMean(nested.Type, []string{"validation"}, "")))
		}
	}
	engine.Decode(l.static(&copied, engine.SchemaOf[variableBlock](), &hcl.EvalContext{}), &v.opts)
	if typ == nil {
		return
	}
	t, defaults, ds := typeexpr.TypeConstraintWithDefaults(typ.Expr)
	if ds.HasErrors() {
		l.fault(typ.Expr.Range(), "Invalid type", "This is no type. Write string, number, bool, list(string), map(string), object({ name = string }) or any, without quotes.")
		return
	}
	v.typ, v.defaults = t, defaults
}

// variableValue returns the value of a variable, DynamicVal if it has none.
func (l *loader) variableValue(v *variable) cty.Value {
	val, where, rng := cty.NilVal, "", v.block.DefRange().Ptr()
	switch {
	case v.given != nil:
		val, where = v.given.value, v.given.from
		rng = v.given.rng
	case v.fallback != nil:
		d, ds := v.fallback.Expr.Value(&hcl.EvalContext{Functions: l.scope.Functions})
		l.add(ds)
		if ds.HasErrors() {
			return cty.DynamicVal
		}
		val, where, rng = d, "default", v.fallback.Expr.Range().Ptr()
	default:
		l.fault(v.block.DefRange(), "Variable without a value", fmt.Sprintf("The variable %q has no default and was not set. Set it with -var '%s=…', in %s, or with %s%s.", v.name, v.name, AutoVars, EnvPrefix, v.name))
		return l.hide(v, cty.UnknownVal(v.typ))
	}
	if v.defaults != nil && !val.IsNull() {
		val = v.defaults.Apply(val)
	}
	converted, err := convert.Convert(val, v.typ)
	if err != nil || converted.IsNull() && !v.opts.Nullable {
		problem := "it must not be null"
		if err != nil {
			problem = err.Error()
		}
		d := engine.Diagnostic{
			Summary: "Invalid value for variable",
			Detail:  fmt.Sprintf("The value of variable %q (%s) does not fit its type %s: %s.", v.name, where, v.typ.FriendlyName(), problem),
		}
		if rng != nil {
			d.Source = at(*rng)
		}
		l.diags = append(l.diags, d)
		return l.hide(v, cty.UnknownVal(v.typ))
	}
	return l.hide(v, converted)
}

func (l *loader) hide(v *variable, val cty.Value) cty.Value {
	if v.opts.Sensitive {
		return val.Mark(engine.Sensitive)
	}
	return val
}

// validateVariable evaluates the validation blocks of a variable.
func (l *loader) validateVariable(v *variable, val cty.Value) {
	for _, blk := range v.block.Body.Blocks {
		if blk.Type != "validation" {
			continue
		}
		cond, msg := blk.Body.Attributes["condition"], blk.Body.Attributes["error_message"]
		if cond == nil || msg == nil || len(blk.Body.Attributes) != 2 {
			l.fault(blk.DefRange(), "Invalid validation", "A validation block has two attributes: condition, which is true for good values, and error_message, which says what is wrong with others.")
			continue
		}
		if !val.IsKnown() {
			continue
		}
		ok, ds := cond.Expr.Value(l.scope)
		l.add(ds)
		text, ds2 := msg.Expr.Value(l.scope)
		l.add(ds2)
		if ds.HasErrors() || ds2.HasErrors() {
			continue
		}
		ok, _ = ok.Unmark()
		text, _ = text.Unmark()
		if ok.Type() != cty.Bool || ok.IsNull() || !ok.IsKnown() || text.Type() != cty.String {
			l.fault(cond.Expr.Range(), "Invalid validation", "The condition must be true or false, and the error_message a string.")
			continue
		}
		if ok.False() {
			d := engine.Diagnostic{Summary: "Invalid value for variable", Detail: fmt.Sprintf("The value of variable %q is refused: %s", v.name, text.AsString()), Source: at(cond.Expr.Range())}
			if v.given != nil && v.given.rng != nil {
				d.Source = at(*v.given.rng)
			}
			l.diags = append(l.diags, d)
		}
	}
}
