// Package control is the loop: it watches a flow, decides about the sizes that its
// scaling blocks own, and re-plans, through the same planner and executor as
// apply. What has drifted is repaired on the way.
//
// One goroutine owns all that is known and decides; it never waits. What it orders is
// planned beside it, one plan after the other and without asking a provider, and
// each part of a plan that has nothing to do with the others (plan.Parts) becomes a
// run of its own. Runs overlap unless one changes what another changes or needs; the
// plan of one knows what those under way do. They share the flow's lock, which is
// held while any of them is under way.
//
// Two levels: replicas go to machines that work now, at once; those without a place
// stay ordered until the machines, which are ordered at the same tick, are up. An
// order that cannot be carried out stays until it can, or until another is given. A
// run that finds that something it rests on has changed since it was planned is
// dropped, and planned again. A rule sees what was ordered as capacity that is about
// to come.
//
// The spec is the one that was applied last: an apply changes the rules of a
// running controller, and no other command does. Start with Controller.
package control
