// Package rule makes of a scaling block what decides: times are parsed, defaults
// are filled in, the formula is compiled. Whatever is senseless in a block is
// found here, once, for the spec that is checked and for the loop that runs.
//
// Start with Of. The defaults of nested blocks are those of the struct tags in
// engine; there are no others.
package rule
