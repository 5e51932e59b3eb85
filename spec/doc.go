// Package spec turns a flow's HCL files into engine.Desired.
//
// Read gathers the files and variables of a flow into a Bundle, which is all
// that a plan depends on and what a saved plan keeps. Load parses, checks and
// cross-checks a Bundle without touching anything else, and reports every
// fault that it finds at once, each with the place in the source and what to
// write instead.
//
// The language's blocks are not listed here: their attributes come from the
// schemas of engine.BlockSchema, which the language reference is made of, too.
// What a reference such as vm.node[0].address becomes is not known when a spec
// is loaded; a Decl's Config is evaluated again whenever more is known.
//
// Start with load.go. Defaults that depend on state, and providers, are not
// known here.
package spec
