// Package control is the loop: it watches a flow, decides about the sizes that its
// scaling blocks own, and re-plans, through the same planner and executor as
// apply. What has drifted is repaired on the way.
//
// Tick decides and never waits; what it orders is carried out beside it, one run
// at a time. An order that cannot be carried out now, since somebody else changes
// the flow, stays until it can. A rule sees what was ordered as capacity that is
// about to come.
//
// The spec is the one that was applied last: an apply changes the rules of a
// running controller, and no other command does. Start with Controller.
package control
