// Package place decides which machine each replica runs on, and how many
// machines an autoscaled group needs. It is pure: the same input gives the same
// output, whatever the order of its slices.
//
// The rules, strongest first:
//
//  1. A replica stays where it is unless it must move: its machine is gone or
//     too full, or a rule below forbids the place.
//  2. cpu, memory and slots of a machine, max_per_machine, and avoid are never
//     broken.
//  3. colocate: replicas of functions on one data path share machines, one of
//     each, as long as there is room.
//  4. spread: as few replicas of one function on a machine as possible.
//  5. Otherwise machines are filled one after the other (best fit, the largest
//     replicas first), so that others can stay empty.
//
// Largest-first packing needs at most 11/9 of the best possible number of
// machines, plus 6/9 (Dósa 2007, for one dimension).
//
// Start with Compute.
package place
