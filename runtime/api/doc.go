// Package api is how others look at a controller: over the private socket in its
// folder, and over TCP where it is told to listen. It only reads.
//
// routes.go lists what can be asked for; openapi.json, which it answers, too, is made
// of that and of the types in json.go.
//
// Start with Handler.
package api
