// Package sim is a substrate in memory: machines, replicas, frontends that are
// nothing but records, with latency, failures and drift to order. It serves
// tests, benchmarks and simulation, and whoever wants to try a spec without
// making anything.
//
// It is a strict world: a replica can only be made on a machine that is there,
// a machine cannot be removed from under its replicas, nor a replica from behind
// its frontend. So a run in the wrong order fails here, before it breaks
// something real.
//
// Start with World; New makes a provider of it. A provider with a folder keeps
// its world in a log there, so that it outlives the process; a killed process
// loses nothing that was made.
package sim
