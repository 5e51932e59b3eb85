// Package embedded makes frontends and backends of the embedded data plane
// (package lb): one process per flow, which carries the traffic whoever else
// lives or dies. Here is only what it is told: a full snapshot of its membership
// at each change.
//
// A backend is deleted by taking it out of choice, waiting until the data plane
// confirms that nothing is in flight to it (or its drain time is over), and only
// then out of the membership. That is what lets a replica stop without losing a
// request.
package embedded
