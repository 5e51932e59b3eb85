package libvirt

import (
	"context"
	"strings"
	"time"

	"github.com/flowctl/flowctl/providers"
)

// unbusy does what libvirt refuses while somebody fills a volume of the pool: again,
// until it does not, or ctx ends.
func unbusy(ctx context.Context, do func() error) error {
	for p := (pause{10 * time.Millisecond, 500 * time.Millisecond}); ; {
		err := do()
		if err == nil || !strings.Contains(err.Error(), "has asynchronous jobs running") {
			return err
		}
		if !p.wait(ctx) {
			return providers.Passing(err)
		}
	}
}
