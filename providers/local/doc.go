// Package local is the embedded substrate: this computer. A vm is a machine
// agent (package agent), a process that supervises replicas as child processes;
// a host is the same for the whole computer. A function names the program with
// exec; images and container ports mean nothing here.
//
// Each machine has a folder, named after its address and generation, beneath
// the provider's: all that the provider knows it finds there, so that nothing is
// lost with the process or with the state.
package local
