// Package exec carries out the steps of a run: in parallel, each after those
// that it needs, within limits, with attempts and timeouts, journalled.
//
// Frontier is the pure part: which steps are ready, which will never be.
// Executor is the only owner of goroutines. Its one loop touches all state;
// workers send their results to it. Before a step begins, the loop has written
// its intent; before anything that depends on it begins, its outcome. Results
// that arrive together, and the intents of what they make ready, share one
// write: a chain costs one fsync per step, a wide graph less.
//
// A failed step takes down what needs it (upstream_failed) and nothing else.
// What a step does is not known here: that is the Runner's business.
package exec
