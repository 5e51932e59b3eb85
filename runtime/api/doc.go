// Package api is how others look at a controller: over the private socket in its
// folder, and over TCP where it is told to listen. It only reads.
//
//	GET /healthz            200 while the flow can be looked at, 503 with the reason otherwise
//	GET /metrics            for Prometheus
//	GET /v1/status          what the controller does now
//	GET /v1/events          the same again whenever it changes, as server-sent events
//	GET /v1/decisions       the newest decisions; ?rule=NAME&until=TIME&limit=N
//
// Start with Handler.
package api
