// Package daemon starts, finds and stops the background processes of a flow:
// machine agents and the frontend data plane.
//
// A daemon owns one folder. In it lie its pid file, its log and its control
// socket. The pid file is locked (flock) for as long as the process lives, so
// "is it running" is a question to the kernel and not to a number that may have
// been given to somebody else; a killed process needs no cleaning up.
//
// Start here: Spawn (the parent), Claim and Ready (the child), Find (anybody).
// What a daemon does is not here.
package daemon
