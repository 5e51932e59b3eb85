package docker_test

import (
	"sync"
	"testing"

	"github.com/flowctl/flowctl/engine"
)

// A provider that has asked an engine nothing yet is asked several things at
// once, as every plan does. The race detector watches.
func TestFirstCallsAtOnce(t *testing.T) {
	l := newLab(t)
	for range 10 {
		d := l.provider(t)
		var wg sync.WaitGroup
		for _, o := range []engine.Object{l.host, l.image, l.host, l.image} {
			wg.Go(func() {
				if obs, err := d.Read(t.Context(), o); err != nil || obs.Presence != engine.Present {
					t.Errorf("read %s: %v, %v", o.Address, obs.Presence, err)
				}
			})
		}
		wg.Wait()
	}
}
