// Package docs makes the language reference of what the language is made of:
// the schemas of engine and spec, the functions of spec, and the factories of
// the providers. A description, a default or a bound is written once, in the
// tag of its field, and read here.
//
// language.md.tmpl holds the text around the tables, and the examples;
// functions.txt says what each function of the language does. Start with
// Language.
//
// The tests keep the folder docs true: generated pages are as they would be
// made now, every HCL example loads, every shown output is what the command
// prints, every JSON field, command and flag is there, every link leads
// somewhere. To make everything anew:
//
//	go generate ./internal/docs
package docs

//go:generate go test . -run TestPages -update
