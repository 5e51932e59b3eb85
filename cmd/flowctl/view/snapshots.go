package view

import "time"

// JSONSnapshots is what 'flowctl snapshot list -json' prints.
type JSONSnapshots struct {
	FormatVersion string         `json:"format_version"`
	Snapshots     []JSONSnapshot `json:"snapshots"`
}

// JSONSnapshot is one snapshot of a machine.
type JSONSnapshot struct {
	Address string    `json:"address"`
	Name    string    `json:"name"`
	Taken   time.Time `json:"taken"`
	State   string    `json:"state"`   // what the machine was: the provider's word
	Current bool      `json:"current"` // the machine has gone on from this one
}
