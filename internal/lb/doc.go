// Package lb is the embedded data plane: it carries the traffic of a flow's
// frontends to their backends, over HTTP or plain TCP.
//
// The data plane is a process of its own (Serve), so that the death of the
// controller disturbs no request. It is fed full snapshots of the membership
// over a private unix socket (Client.Apply) and keeps the last one on disk: a
// killed data plane that is started again in the same folder serves the same
// backends on the same ports before anybody talks to it.
//
// Invariants:
//   - A change of membership or settings closes no listener and no keep-alive
//     connection of a client.
//   - A backend that WaitDrained reported drained is chosen by nobody any more
//     and has nothing in flight. In-flight is counted before the draining mark
//     is read, and the mark is set before in-flight is read.
//   - A request is sent a second time only if it was never sent, or if it may be
//     sent twice (idempotent, body replayable) and no byte of an answer came.
//   - The path of a request takes no lock that all requests share, unless the
//     request has to wait for a free backend.
//
// Where to start: Snapshot (what is wanted), Serve (the process), Client (who
// talks to it). Inside: server.go applies snapshots, frontend.go owns one
// listener, pool.go its backends, http.go and forward.go one request, tcp.go one
// TCP connection.
//
// Not here: TLS, HTTP/3, PROXY protocol, UDP, handing listeners to a successor.
// An HTTP client that closes its half of the connection is taken to have left,
// as net/http has it.
package lb
