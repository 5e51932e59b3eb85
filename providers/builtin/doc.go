// Package builtin makes what needs no outside system: scaling rules, which are
// records for the loop, and the user's own tasks, which are commands and
// requests.
package builtin
