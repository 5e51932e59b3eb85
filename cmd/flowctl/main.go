// Command flowctl plans and applies flows: machines, functions, frontends and
// scaling rules, declared in HCL.
//
// main wires; args, view and the rooms of the engine do the work. Start with
// app.go and the command of your choice.
package main

import (
	"os"
	"runtime/debug"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/view"
)

// gcPercent keeps the heap closer to what is alive than Go does by itself. In a
// command, which makes what it needs, prints, and ends, fresh pages from the kernel
// cost more than collecting does: plans of 10,000 are as soon done with 75 as with
// 200, in a quarter less memory. The long-lived processes set their own.
const gcPercent = 75

func main() {
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ(), now: time.Now, exe: exe,
		inTTY: view.IsTerminal(os.Stdin), outTTY: view.IsTerminal(os.Stdout), errTTY: view.IsTerminal(os.Stderr),
	}
	os.Exit(a.run(os.Args[1:]))
}
