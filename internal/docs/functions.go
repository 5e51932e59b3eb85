package docs

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/spec"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// functionsText has a line for each function, with its name, its meaning and an
// example, apart by " | ". Lines that begin with "## " begin a group.
//
//go:embed functions.txt
var functionsText string

// functionTables lists the functions by group, each with what its example
// comes to.
func functionTables() (string, error) {
	left := spec.FunctionNames()
	var b strings.Builder
	t := table{}
	end := func() { b.WriteString(t.String()) }
	for line := range strings.Lines(functionsText) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			end()
			fmt.Fprintf(&b, "\n### functions: %s\n\n", title)
			t = table{head: []string{"Function", "Meaning", "Example", "Result"}}
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) != 3 {
			return "", fmt.Errorf("functions.txt: %q is no name, meaning and example", line)
		}
		f, ok := left[parts[0]]
		if !ok {
			return "", fmt.Errorf("functions.txt: there is no function %q, or it has two lines", parts[0])
		}
		delete(left, parts[0])
		result, err := resultOf(parts[2])
		if err != nil {
			return "", err
		}
		t.row(code(signature(parts[0], f)), parts[1], code(parts[2]), result)
	}
	end()
	if len(left) > 0 {
		return "", fmt.Errorf("functions.txt says nothing of %q", slices.Sorted(maps.Keys(left)))
	}
	return strings.TrimPrefix(b.String(), "\n"), nil
}

// signature writes a function with its parameters.
func signature(name string, f function.Function) string {
	var params []string
	for _, p := range f.Params() {
		params = append(params, p.Name)
	}
	if p := f.VarParam(); p != nil {
		params = append(params, p.Name+"…")
	}
	return name + "(" + strings.Join(params, ", ") + ")"
}

// resultOf evaluates an example as the language does. The files that examples
// read are not there: what those give is told in words.
func resultOf(example string) (string, error) {
	if strings.Contains(example, "file") {
		return "", nil
	}
	text := "flow \"f\" {}\noutput \"o\" {\n  sensitive = true\n  value = " + example + "\n}\n"
	d, diags := spec.Load(spec.Bundle{Files: []spec.File{{Name: example, Bytes: []byte(text)}}, Assets: &spec.Assets{}}, Options())
	if diags.HasErrors() {
		return "", diags.Err()
	}
	v, diags := d.Outputs[0].Config.Eval(nothing{})
	if diags.HasErrors() {
		return "", diags.Err()
	}
	bare, marked := v.Unmark()
	if len(marked) > 0 {
		return "hidden", nil
	}
	if !bare.IsWhollyKnown() {
		return "", errors.New("not known: " + example)
	}
	b, err := ctyjson.SimpleJSONValue{Value: bare}.MarshalJSON()
	return code(string(b)), err
}

// nothing is a world in which nothing exists.
type nothing struct{}

// Value implements engine.Values.
func (nothing) Value(engine.Address) cty.Value { return cty.DynamicVal }
