package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// The collector of a command that loads a spec, prints and ends first comes when the
// heap has grown to this share of 4 MiB, when many of them have ended, and from then
// on as Go has it: plans of 10,000 are done a tenth sooner than with gcPercent, in as
// much memory.
const (
	gcAtFirst   = 800
	gcAfterward = 75
)

// paceCollector sets when the collector comes, unless the environment does.
func paceCollector() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(gcAtFirst)
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) { debug.SetGCPercent(gcAfterward) })
}
