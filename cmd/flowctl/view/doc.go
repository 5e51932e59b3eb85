// Package view renders what commands return: for people or as JSON. Functions
// here are pure: values in, text out; only Terminal writes.
//
// docs/json.md describes the JSON forms. Their fields are stable: some may be
// added, none changes its meaning or goes away within one format_version.
package view
