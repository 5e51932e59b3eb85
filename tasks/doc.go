// Package tasks says what each kind of step does, in terms of providers:
// provision and deploy make objects, stitch joins replicas to frontends and
// takes them out, tune records rules; all of them come down to a provider's
// Apply and Delete with the right value at the right time.
//
// Runner is an exec.Runner. Before it creates or changes something it evaluates
// the configuration again if the plan had to leave something unknown, and checks
// that the action is still the one that was planned. After it has made a
// replica it waits until that is healthy. After an error it asks the provider
// what exists, so that nothing is lost; if nobody can say, the operation stays
// open in the journal.
//
// Observe reads the world for a plan, and recovers what interrupted runs left.
//
// Order, attempts and parallelism are not known here.
package tasks
