package spec

import (
	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Options is what Load must know besides the flow itself.
type Options struct {
	// Providers maps the name of each provider to the schema of its settings.
	Providers map[string]*engine.Schema
	// Runners maps the name of each provider whose machines another's functions
	// run on to that other.
	Runners map[string]string
	// Warmers tells which providers keep machines ready; nil means that all do.
	Warmers map[string]bool
	// DefaultProvider makes what names no provider.
	DefaultProvider string
	// Builtin makes tasks and scaling rules; Balancer makes frontends that name
	// no provider.
	Builtin, Balancer string
	// Named, if not nil, is called with the flow's name as soon as it is known,
	// before most of what there is to load.
	Named func(flow string)
}

// loader reads one flow.
type loader struct {
	opts   Options
	bundle Bundle
	report
	source
	*program
	ledger
	desired engine.Desired
}

// source is the text of a flow, sorted.
type source struct {
	flow      *hclsyntax.Block
	variables map[string]*variable
	outputs   map[string]*hclsyntax.Block
	providers []*hclsyntax.Block
	blocks    []*block                          // resource blocks in source order
	index     map[engine.Kind]map[string]*block // the same by kind and name
	rejected  map[string]bool                   // the names of blocks that could not be filed
	unread    bool                              // a variable file does not parse, so that variables may lack a value
}

// program is what the Configs of a Desired evaluate with. Once the flow is
// loaded, it is only read, so that this may happen concurrently.
type program struct {
	scope  *hcl.EvalContext // var, local, flow and the functions
	locals map[string]*local
	refs   map[string]cty.Value                 // kind → object of block references
	exprs  map[hclsyntax.Expression]*expression // what is known of each expression
	meant  map[named]bool                       // attributes that are misspelt, which is reported
	fixed  map[*hclsyntax.Block]cty.Value       // nested blocks that are the same for all instances
}

// ledger is what blocks must know of others while they are declared and checked.
type ledger struct {
	lookup    *hcl.EvalContext                 // the scope with each, which changes from instance to instance
	eaches    map[string]*forEach              // for_each that are a local or a variable
	settings  map[string]bool                  // providers that are set up, as "name" or "name.alias"
	groups    map[engine.Address]*instance     // block instances by address
	owners    map[engine.Address]*owner        // scaling blocks by what they scale
	sizes     map[engine.Address]engine.Bounds // of groups that are in order
	machines  map[engine.Address]int           // groups that are in order, by place in Desired.Machines
	protocols map[engine.Address]string        // of functions
	fronts    []front
}

func newLoader(b Bundle, opts Options) *loader {
	if b.Assets == nil {
		b.Assets = &Assets{}
	}
	return &loader{
		opts: opts, bundle: b,
		report: report{seen: map[finding]bool{}},
		source: source{
			variables: map[string]*variable{}, outputs: map[string]*hclsyntax.Block{},
			index: map[engine.Kind]map[string]*block{}, rejected: map[string]bool{},
		},
		program: &program{
			locals: map[string]*local{}, exprs: map[hclsyntax.Expression]*expression{}, fixed: map[*hclsyntax.Block]cty.Value{},
			meant: map[named]bool{},
		},
		ledger: ledger{
			eaches: map[string]*forEach{}, settings: map[string]bool{}, groups: map[engine.Address]*instance{},
			owners: map[engine.Address]*owner{}, sizes: map[engine.Address]engine.Bounds{},
			machines: map[engine.Address]int{}, protocols: map[engine.Address]string{},
		},
	}
}

// Load checks a flow and returns what it asks for. With errors, the Desired is
// incomplete and must not be used. Everything that is wrong is reported at
// once, but for text that does not parse: what stands in it is anyone's guess.
func Load(b Bundle, opts Options) (engine.Desired, engine.Diagnostics) {
	l := newLoader(b, opts)
	l.desired.Runners = opts.Runners
	if l.collect() {
		l.evalScope()
		l.loadFlow()
		l.loadProviders()
		l.expandBlocks()
		l.validateVariables()
		l.examineBlocks()
		l.declare()
		l.loadOutputs()
		l.order()
		l.check()
	}
	sortDiags(l.diags)
	return l.desired, l.diags
}

// FlowName returns the name of the flow in b, or "" if it has none. It needs no
// more than the flow block to be in order.
func FlowName(b Bundle) string {
	for _, f := range b.Files {
		if tooDeep(f) != nil {
			continue
		}
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

// flowBlock is the flow block.
type flowBlock struct {
	Description string `flow:"description,meta" doc:"What the flow is for."`
	Provider    string `flow:"provider,meta" doc:"The provider of everything that names none; local, if not set."`
	Parallelism int    `flow:"parallelism,meta" min:"1" max:"1000" doc:"How many tasks run at once; 10, if not set. The option -parallelism is stronger."`

	Limits *engine.Limits `flow:"limits,meta" doc:"How many of them of one phase, or on one provider."`
}

func (l *loader) loadFlow() {
	if l.flow == nil {
		if len(l.bundle.Files) > 0 {
			start := engine.Pos{Line: 1, Column: 1}
			l.add(engine.Diagnostic{
				Summary: "Flow without a name",
				Detail:  "No file has a flow block. Write one line such as: flow \"my-app\" {}",
				Source:  &engine.Range{Filename: l.bundle.Files[0].Name, Start: start, End: start},
			})
		}
		return
	}
	l.desired.Flow, l.desired.Dir = l.flow.Labels[0], l.bundle.Dir
	if l.opts.Named != nil {
		l.opts.Named(l.desired.Flow)
	}
	var f flowBlock
	l.static(l.flow.Body, engine.SchemaOf[flowBlock](), "flow", where{known: "The flow block is read before anything is made"}, &f)
	l.desired.Description, l.desired.Parallelism = f.Description, f.Parallelism
	if f.Provider != "" {
		l.opts.DefaultProvider = f.Provider
	}
	if f.Limits != nil {
		l.desired.Limits = *f.Limits
	}
}
