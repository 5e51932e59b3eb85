package docs

import "github.com/flowctl/flowctl/engine"

// The blocks of a flow that are no resources. Package spec has the same types,
// which it does not export; a test compares the tags. Where spec takes any
// expression, the type here is that of its value.

type flowBlock struct {
	Description string `flow:"description,meta" doc:"What the flow is for."`
	Provider    string `flow:"provider,meta" doc:"The provider of everything that names none; local, if not set."`
	Parallelism int    `flow:"parallelism,meta" min:"1" max:"1000" doc:"How many tasks run at once; 10, if not set. The option -parallelism is stronger."`

	Limits *engine.Limits `flow:"limits,meta" doc:"How many of them of one phase, or on one provider."`
}

type variableBlock struct {
	Description string `flow:"description,meta" doc:"What the variable is for."`
	Sensitive   bool   `flow:"sensitive,meta" default:"false" doc:"Hide the value, and everything that is made of it."`
	Nullable    bool   `flow:"nullable,meta" default:"true" doc:"Whether null is a value; if not, null means the default."`
}

type validationBlock struct {
	Condition bool   `flow:"condition,meta" doc:"True for good values."`
	Message   string `flow:"error_message,meta" doc:"What is wrong with others."`
}

type outputBlock struct {
	Description string `flow:"description,meta" doc:"What the value is."`
	Sensitive   bool   `flow:"sensitive,meta" default:"false" doc:"Hide the value."`
}
