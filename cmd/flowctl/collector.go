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

// paceCollector sets when the collector comes, unless the environment does.
func paceCollector() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(gcAtFirst)
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) { debug.SetGCPercent(gcAfterward) })
}
