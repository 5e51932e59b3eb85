// Package spec turns a flow's HCL files into engine.Desired.
//
// Read gathers the files and variables of a flow into a Bundle, which is all
// that a plan depends on and what a saved plan keeps. Load parses, checks and
// cross-checks a Bundle, and reports every fault that it finds at once, each
// with the narrowest place in the source and what to write instead. It reads
// nothing but what the functions file and templatefile ask for, and keeps that
// in the Bundle.
//
// The language's blocks are not listed here: their attributes come from the
// schemas of engine.BlockSchema, which the language reference is made of, too.
// What a reference such as vm.node[0].address becomes is not known when a spec
// is loaded; a Decl's Config is evaluated again whenever more is known. Names
// are checked once per expression (examine), values once per instance (eval):
// flows may have tens of thousands of instances. No text makes Load panic.
//
// Start with load.go, which names the steps. walker.go and reference.go find the
// names in an expression; decode.go makes a value of a block's body; config.go
// and resources.go evaluate it; order.go sorts. testdata holds what is said of
// bad flows and what good ones mean; go test -update rewrites it.
//
// Defaults that depend on state, and providers, are not known here.
package spec
