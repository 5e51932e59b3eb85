package spec

import (
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Options is what Load must know besides the flow itself.
type Options struct {
	// Providers maps the name of each provider to the schema of its settings.
	Providers map[string]*engine.Schema
	// DefaultProvider makes what names no provider.
	DefaultProvider string
	// Builtin makes tasks and scaling rules; Balancer makes frontends that name
	// no provider.
	Builtin, Balancer string
}

// loader holds what is known of a flow while it is loaded.
type loader struct {
	opts   Options
	bundle Bundle
	diags  engine.Diagnostics

	flow      *hclsyntax.Block
	variables map[string]*variable
	locals    map[string]*local
	dynamic   []string // the locals made of resources, each after those that it is made of
	outputs   []*hclsyntax.Block
	providers []*hclsyntax.Block
	blocks    []*block                          // resource blocks in source order
	index     map[engine.Kind]map[string]*block // the same by kind and name
	scope     *hcl.EvalContext                  // var, local, flow and the functions
	refs      map[string]cty.Value              // kind → object of block references
	groups    map[engine.Address]*instance      // block instances by address
	settings  map[string]engine.Setting         // provider settings by "name" or "name.alias"
	bad       map[hclsyntax.Expression]bool     // expressions with faults already reported
	desired   engine.Desired
}

// Load checks a flow and returns what it asks for. With errors, the Desired is
// incomplete and must not be used.
func Load(b Bundle, opts Options) (engine.Desired, engine.Diagnostics) {
	l := &loader{
		opts: opts, bundle: b,
		variables: map[string]*variable{}, locals: map[string]*local{},
		index: map[engine.Kind]map[string]*block{}, groups: map[engine.Address]*instance{},
		settings: map[string]engine.Setting{}, bad: map[hclsyntax.Expression]bool{},
	}
	l.collect()
	l.evalScope()
	l.loadFlow()
	l.loadProviders()
	l.expandBlocks()
	if !l.diags.HasErrors() {
		l.declare()
	}
	l.loadOutputs()
	if !l.diags.HasErrors() {
		l.order()
	}
	if !l.diags.HasErrors() {
		l.check()
	}
	sortDiags(l.diags)
	return l.desired, l.diags
}

// FlowName returns the name of the flow in b, or "" if it has none. It needs no
// more than the flow block to be in order.
func FlowName(b Bundle) string {
	for _, f := range b.Files {
		file, _ := hclsyntax.ParseConfig(f.Bytes, f.Name, hcl.InitialPos)
		if file == nil {
			continue
		}
		for _, blk := range file.Body.(*hclsyntax.Body).Blocks {
			if blk.Type == "flow" && len(blk.Labels) == 1 {
				return blk.Labels[0]
			}
		}
	}
	return ""
}

func (l *loader) fault(r hcl.Range, summary, detail string) {
	l.diags = append(l.diags, engine.Diagnostic{Summary: summary, Detail: detail, Source: at(r)})
}

func (l *loader) warn(r hcl.Range, summary, detail string) {
	l.diags = append(l.diags, engine.Diagnostic{Severity: engine.Warning, Summary: summary, Detail: detail, Source: at(r)})
}

func (l *loader) add(ds hcl.Diagnostics) { l.diags = append(l.diags, convertDiags(ds)...) }

// sortDiags puts findings into the order of the source, those without a place
// first, and drops repetitions.
func sortDiags(ds engine.Diagnostics) {
	slices.SortStableFunc(ds, func(a, b engine.Diagnostic) int {
		switch {
		case a.Source == nil && b.Source == nil:
			return 0
		case a.Source == nil:
			return -1
		case b.Source == nil:
			return 1
		}
		if a.Source.Filename != b.Source.Filename {
			if a.Source.Filename < b.Source.Filename {
				return -1
			}
			return 1
		}
		return a.Source.Start.Byte - b.Source.Start.Byte
	})
}

func (l *loader) loadFlow() {
	if l.flow == nil {
		if len(l.bundle.Files) > 0 && !l.diags.HasErrors() {
			l.diags = append(l.diags, engine.Diagnostic{
				Summary: "Flow without a name",
				Detail:  "No file has a flow block. Write one line such as: flow \"my-app\" {}",
				Source:  &engine.Range{Filename: l.bundle.Files[0].Name, Start: engine.Pos{Line: 1, Column: 1}, End: engine.Pos{Line: 1, Column: 1}},
			})
		}
		return
	}
	l.desired.Flow = l.flow.Labels[0]
	l.desired.Dir = l.bundle.Dir
	v := l.static(l.flow.Body, engine.SchemaOf[flowBlock](), l.scope)
	var f flowBlock
	if engine.Decode(v, &f) == nil {
		l.desired.Description, l.desired.Parallelism = f.Description, f.Parallelism
		if f.Provider != "" {
			l.opts.DefaultProvider = f.Provider
		}
	}
}

// flowBlock is the flow block.
type flowBlock struct {
	Description string `flow:"description,meta" doc:"What the flow is for."`
	Provider    string `flow:"provider,meta" doc:"The provider of everything that names none; local, if not set."`
	Parallelism int    `flow:"parallelism,meta" min:"1" max:"1000" doc:"How many tasks run at once; 10, if not set. The option -parallelism is stronger."`
}

func (l *loader) loadOutputs() {
	seen := map[string]hcl.Range{}
	for _, blk := range l.outputs {
		name := blk.Labels[0]
		if first, ok := seen[name]; ok {
			l.fault(blk.DefRange(), "Duplicate output", "The output "+name+" is declared twice, first at "+first.String()+". Remove or rename one.")
			continue
		}
		seen[name] = blk.DefRange()
		l.loadOutput(name, blk)
	}
}

// outputBlock is an output block; its value may be of any type.
type outputBlock struct {
	Description string `flow:"description,meta" doc:"What the value is."`
	Sensitive   bool   `flow:"sensitive,meta" default:"false" doc:"Hide the value."`
}

func (l *loader) loadOutput(name string, blk *hclsyntax.Block) {
	body, value := split(blk.Body, "value")
	v := l.static(body, engine.SchemaOf[outputBlock](), l.scope)
	var o outputBlock
	if err := engine.Decode(v, &o); err != nil {
		return
	}
	if value == nil {
		l.fault(blk.DefRange(), "Missing value", "The output "+name+" has no value. Write value = and what it should show.")
		return
	}
	inst := &instance{block: &block{}, ctx: l.scope}
	sites, diags := l.sitesOf(value.Expr, nil, inst)
	l.diags = append(l.diags, diags...)
	if diags.HasErrors() || l.refs == nil {
		return
	}
	cfg := &outputConfig{loader: l, expr: value.Expr, inst: inst, sites: sites}
	probe, ds := cfg.Eval(noValues{})
	l.diags = append(l.diags, ds...)
	if probe.ContainsMarked() && !o.Sensitive && hasMark(probe) {
		l.fault(value.Expr.Range(), "Sensitive output", "The output "+name+" shows a sensitive value. Write sensitive = true in the block, or nonsensitive(…) around the value if it may be seen.")
	}
	l.desired.Outputs = append(l.desired.Outputs, engine.OutputDecl{
		Name: name, Description: o.Description, Sensitive: o.Sensitive, Config: cfg, Source: rangeOf(blk.DefRange()),
	})
}

func hasMark(v cty.Value) bool {
	_, marks := v.UnmarkDeep()
	_, ok := marks[engine.Sensitive]
	return ok
}

// split takes one attribute out of a body.
func split(body *hclsyntax.Body, name string) (rest *hclsyntax.Body, attr *hclsyntax.Attribute) {
	copied := *body
	copied.Attributes = hclsyntax.Attributes{}
	for n, a := range body.Attributes {
		if n == name {
			attr = a
			continue
		}
		copied.Attributes[n] = a
	}
	return &copied, attr
}
