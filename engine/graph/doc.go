// Package graph turns a plan into steps in topological order, and draws plans
// and runs.
//
// The order keeps traffic whole and never leaves one thing standing on another
// that is not there:
//
//   - What a resource needs is made before it. What stands on it, or referred to
//     it, is deleted or changed before it is deleted.
//   - A replica waits for a frontend that it calls until that serves: for all of
//     its backends when they are made, for none that comes back or is more when
//     others of the same function serve.
//   - A replacement with CreateFirst is made before the old object goes; its
//     backends follow: new replica, healthy, in the frontend, old one out of the
//     frontend, drained, stopped. Without, it is the other way round.
//   - No more replicas of one function than Change.Window are under way at once. One that
//     does not serve for another reason counts where old ones leave first.
//   - A frontend that changes its routes does so when the new backends are in
//     and before old ones leave.
//   - A task gates the later phases.
//
// Gates (steps that do nothing) stand for groups, so that the number of edges
// stays linear in the number of resources.
//
// Start with Build. Nothing is executed here.
package graph
