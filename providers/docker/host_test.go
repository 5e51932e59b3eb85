package docker_test

import (
	"os"
	"testing"

	"github.com/flowctl/flowctl/engine"
)

// What a host offers is the same before it is made as afterwards.
func TestCapacityOfAHost(t *testing.T) {
	l := newLab(t)
	o := engine.Object{Address: engine.Addr(engine.KindHost, "other"), Value: want(engine.KindHost, engine.Host{Engine: os.Getenv(engineVar)})}
	got, err := l.Capacity(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	made := engine.MustDecode[engine.Host](l.host.Value)
	if got.CPU == 0 || got.CPU != made.CPUs || got.Memory != made.Memory {
		t.Errorf("%v cores and %s, want %v and %s", got.CPU, got.Memory, made.CPUs, made.Memory)
	}
}
