// Package plan computes what must change: desired, recorded and observed in,
// an engine.Plan out. It is pure and deterministic: the same input gives the
// same plan, to the byte.
//
// Blocks are planned each after those that it refers to, so that an expression
// sees what its resources will be: known where the plan can tell, unknown where
// only apply will. Replicas are placed before anything is compared, for their
// machine is part of their value; frontends get one backend for each replica
// that they balance to, and those are resources, too: joining and leaving a
// frontend are changes like all others, in order with them.
//
// Start with Compute; change.go decides about one resource.
package plan
