// Package decide says how large something that scales should be. Decide is one
// pure function: live, dry-run, explain and simulate all call it, and the same
// input gives the same output.
//
// In this order, each stage leaves its mark in the Decision:
//
//  1. A metric is what its samples of the window come to, or missing.
//  2. Each metric asks for a size by its target, unless it is within tolerance.
//     Replicas that start count as capacity, and carry no load yet. A forecast
//     may raise what it asks for.
//  3. The largest wins, or the formula; steps add to the size. While something
//     is missing, nothing shrinks.
//  4. What rests is woken, or rests, if Min is 0. Schedules are floor and cap.
//  5. A burst asks for its peak until it is over.
//  6. Stabilisation: it grows to the least that was wanted in a window, and
//     shrinks to the most.
//  7. Cooldown, then the limit per time, by direction.
//  8. Bounds, room on the machines, mode.
//
// The rule for averages with replicas that start or are not measured is that of
// the horizontal autoscaler of Kubernetes (replica_calculator.go); the burst is
// the panic mode of Knative's (pkg/autoscaler/scaling).
package decide
