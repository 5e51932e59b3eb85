// Package trial runs flows for real under a load and follows what their
// controllers make of it: what make demo-scale and make bench-reaction show, and
// what tests of the loop check.
//
// Everything is seen from outside: flowctl is run as a command, the load is sent
// by the driver of flowctl load, and what is decided comes from the controller's
// API. Start with Flow; Scale is one whole trial.
package trial
