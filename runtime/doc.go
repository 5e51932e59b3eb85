// Package runtime ties the rooms together: it observes, plans and applies a
// flow. There is one way to change the world, and it is here: the pipeline that
// the command line uses is the one that the reconcile loop uses.
//
//	snapshot ─► recover, observe ─► plan.Compute ─► check ─► graph.Build ─► exec
//
// Start with Flow: Plan makes a Planned, Apply carries it out. A Planned can be
// saved (SavedPlan) and is refused when the state has moved on.
//
// What a spec says is not known here, nor how anything is shown.
package runtime
