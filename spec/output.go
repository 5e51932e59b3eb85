package spec

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// outputBlock is an output block, without its value, which may be of any type.
type outputBlock struct {
	Description string `flow:"description,meta" doc:"What the value is."`
	Sensitive   bool   `flow:"sensitive,meta" default:"false" doc:"Hide the value."`
}

func (l *loader) loadOutputs() {
	for _, name := range slices.Sorted(maps.Keys(l.outputs)) {
		l.loadOutput(name, l.outputs[name])
	}
}

func (l *loader) loadOutput(name string, blk *hclsyntax.Block) {
	var o outputBlock
	_, ok := l.static(blk.Body, engine.SchemaOf[outputBlock](), "output", where{known: "What describes an output is read before anything is made"}, &o, "value")
	value := blk.Body.Attributes["value"]
	if value == nil && l.meant[named{blk.Body, "value"}] {
		return
	}
	if value == nil {
		l.fault(blk.DefRange(), "Missing value", fmt.Sprintf("The output %q has no value. Write value = and what it should show.", name))
		return
	}
	e := l.examine(value.Expr, where{})
	if e.broken || !ok {
		return
	}
	cfg := &outputConfig{program: l.program, name: name, expr: value.Expr, sensitive: o.Sensitive}
	cfg.inputs = inputsOf([]*expression{e})
	for i := range e.uses {
		s := l.siteOf(&e.uses[i], l.scope, nil)
		if s.lost {
			return
		}
		cfg.sites = append(cfg.sites, s)
	}
	_, ds := cfg.Eval(unmade{})
	l.addAll(ds)
	l.desired.Outputs = append(l.desired.Outputs, engine.OutputDecl{
		Name: name, Description: o.Description, Sensitive: o.Sensitive, Config: cfg, Source: rangeOf(blk.DefRange()),
	})
}
