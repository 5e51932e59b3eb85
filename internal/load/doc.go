// Package load drives HTTP load at a server and says how it was answered. It
// backs `flowctl load` and the tests of the promise that no request fails
// while replicas come and go.
//
// The driver is open-loop: a [Shape] gives the rate at every instant, its
// integral gives the instants at which requests arrive ([Shape.Arrivals]), and
// each is sent at its instant whether or not the earlier ones were answered.
// Latency counts from the scheduled arrival, so a server that stalls for a
// second shows that second in the percentiles of every request it held up
// (closed-loop drivers omit them: "coordinated omission", Gil Tene, wrk2).
//
// Invariants:
//   - An arrival is sent, or counted as dropped when MaxInFlight requests are
//     out already. It is never delayed in silence; what the driver itself was
//     late by is in Tick.LagMs.
//   - sent = done + cut + in flight; done = ok + failed; the ticks add up to
//     the report.
//   - Same Shape and same seed: same arrivals and same values of {n}.
//   - Targets are loopback addresses, or private ones when the caller says so.
//     Every connection is checked, not the name alone.
//
// Start at [Run]; [Preset] fills a Config for a [Mode]. Line, Summary and CSV
// turn results into text. What is not here: flags and exit codes (see
// Report.Failed), TLS client certificates, HTTP/2, redirects (a 3xx is an
// answer like any other), what is in the bodies.
//
// net/http sends a GET again by itself when a kept-alive connection turns out
// to be closed before the first byte of the answer; such a request counts once.
package load
