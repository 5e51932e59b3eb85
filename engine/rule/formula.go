package rule

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// Formula is an expression for the number of wanted replicas.
type Formula struct {
	Text string
	expr hclsyntax.Expression
}

// Inputs are what a formula may name.
type Inputs struct {
	Values   map[string]float64 // of the metrics that are measured
	Wants    map[string]int     // how many replicas each of them asks for
	Replicas int
}

// functions are those that a formula may call.
var functions = map[string]function.Function{
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "coalesce": stdlib.CoalesceFunc, "floor": stdlib.FloorFunc,
	"log": stdlib.LogFunc, "max": stdlib.MaxFunc, "min": stdlib.MinFunc, "pow": stdlib.PowFunc,
}

// formula compiles the formula of the block.
func (b *builder) formula() *Formula {
	text := b.from.Formula
	if text == "" {
		return nil
	}
	f, err := parseFormula(text, b.names())
	if err != nil {
		b.problem("", 0, "formula", "Invalid formula", "%s.", err)
		return nil
	}
	return f
}

// parseFormula compiles a formula and checks every name and type in it, as far
// as that can be without values.
func parseFormula(text string, metrics []string) (*Formula, error) {
	expr, ds := hclsyntax.ParseExpression([]byte(text), "formula", hcl.InitialPos)
	if ds.HasErrors() {
		return nil, said(ds)
	}
	unknown := map[string]cty.Value{}
	for _, m := range metrics {
		if m == "wants" || m == "replicas" {
			return nil, fmt.Errorf("the name %q has a meaning of its own in a formula, so no metric may have it", m)
		}
		unknown[m] = cty.UnknownVal(cty.Number)
	}
	ctx := &hcl.EvalContext{Functions: functions, Variables: maps.Clone(unknown)}
	ctx.Variables["wants"] = cty.ObjectVal(unknown)
	ctx.Variables["replicas"] = cty.UnknownVal(cty.Number)
	for _, t := range expr.Variables() {
		if _, ok := ctx.Variables[t.RootName()]; !ok {
			return nil, fmt.Errorf("there is no %q: a formula may name %s", t.RootName(), strings.Join(slices.Sorted(maps.Keys(ctx.Variables)), ", "))
		}
	}
	v, ds := expr.Value(ctx)
	if ds.HasErrors() {
		return nil, said(ds)
	}
	if _, err := convert.Convert(v, cty.Number); err != nil || v.IsNull() {
		return nil, fmt.Errorf("it comes to no number")
	}
	return &Formula{text, expr}, nil
}

// said is the first finding as a sentence without its end.
func said(ds hcl.Diagnostics) error {
	text, _, _ := strings.Cut(ds[0].Detail, "\n")
	return fmt.Errorf("%s", strings.TrimRight(text, ". "))
}

// Eval returns how many replicas the formula asks for. The error says why it
// cannot tell, such as that it needs a metric that is missing.
func (f *Formula) Eval(in Inputs, metrics []Metric) (float64, error) {
	vars, wants := map[string]cty.Value{}, map[string]cty.Value{}
	for _, m := range metrics {
		vars[m.Name], wants[m.Name] = cty.NullVal(cty.Number), cty.NullVal(cty.Number)
		if v, ok := in.Values[m.Name]; ok {
			vars[m.Name] = cty.NumberFloatVal(v)
		}
		if n, ok := in.Wants[m.Name]; ok {
			wants[m.Name] = cty.NumberIntVal(int64(n))
		}
	}
	vars["wants"], vars["replicas"] = cty.ObjectVal(wants), cty.NumberIntVal(int64(in.Replicas))
	v, ds := f.expr.Value(&hcl.EvalContext{Functions: functions, Variables: vars})
	if ds.HasErrors() {
		return 0, said(ds)
	}
	v, err := convert.Convert(v, cty.Number)
	if err != nil || v.IsNull() || !v.IsKnown() {
		return 0, fmt.Errorf("it comes to no number")
	}
	n, _ := v.AsBigFloat().Float64()
	if math.IsInf(n, 0) {
		return 0, fmt.Errorf("it comes to infinity")
	}
	return n, nil
}
