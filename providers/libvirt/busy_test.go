package libvirt

import (
	"context"
	"errors"
	"testing"

	"github.com/flowctl/flowctl/providers"
)

// errBusy is what libvirt says while another machine's seed is written.
var errBusy = errors.New("refresh pool default: internal error: pool 'default' has asynchronous jobs running")

func TestAPoolThatIsFilledIsWaitedFor(t *testing.T) {
	asked := 0
	err := unbusy(t.Context(), func() error {
		if asked++; asked < 4 {
			return errBusy
		}
		return nil
	})
	if err != nil || asked != 4 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	other := errors.New("the pool is gone")
	if err := unbusy(t.Context(), func() error { return other }); !errors.Is(err, other) || providers.Retryable(err) {
		t.Errorf("another error comes out as %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := unbusy(over, func() error { return errBusy }); !errors.Is(err, errBusy) || !providers.Retryable(err) {
		t.Errorf("a pool that stays busy is no passing fault: %v", err)
	}
}
