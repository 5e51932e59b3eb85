// Package agent is the machine of the embedded "local" substrate: one process
// that runs replicas as ordinary child processes of this computer, keeps them
// running, measures them and keeps their logs.
//
// Serve is the agent; it owns one folder (internal/daemon) and is asked over
// the socket in it, through Client. Start makes a machine: it starts an agent in
// the background. The folder holds machine.json (what the machine is) and
// replicas/NAME with the log, the private working directory and the sessions of
// each replica.
//
// Invariants:
//   - One goroutine, supervisor.run, owns the replicas. What blocks (fork, files,
//     cgroups, a slow stop) happens in workers that post their results to it.
//   - Every process is forked by the one thread of forker, which also reaps.
//     The kernel kills a replica when that thread dies, so also on kill -9.
//   - Each process carries FLOWCTL_MACHINE=<id of the folder>: Sweep finds by it
//     what a dead agent left behind.
//   - A replica is never restarted by an update of its spec. What can change
//     under a running process changes; the rest is refused with ErrReplace.
//   - At start nothing old is resurrected: the engine decides what runs.
//
// Start reading at serve.go, then supervisor.go (requests), lifecycle.go (states)
// and process.go (one life). Placement, health checks and load balancing are not
// here; neither is a container: a replica sees the files and the network of the
// user that runs the agent.
package agent
