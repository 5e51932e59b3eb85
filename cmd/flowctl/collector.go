package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// The collector of a command that loads a spec, prints and ends first comes when the
// heap has grown to this share of 4 MiB, when many of them have ended, and from then
// on somewhat sooner than in the long-lived processes, since it works beside two cores
// that fill the heap: plans of 10,000 are done a tenth sooner than with gcPercent alone.
const (
	gcAtFirst   = 800
	gcAfterward = 60
)

// gcServing is the percentage of a controller, which rests most of the time and is there
// for long: marking more often costs it a twentieth of a core where it has 10,000
// replicas, and saves it more than a fifth of its memory.
const gcServing = 25

// spareMemory has the collector come as often as a controller can well bear, unless the
// environment says how often.
func spareMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcServing)
	}
}

// paceCollector sets when the collector comes, unless the environment does.
func paceCollector() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(gcAtFirst)
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) { debug.SetGCPercent(gcAfterward) })
}
