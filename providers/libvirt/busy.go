package libvirt

import (
	"context"
	"strings"
	"time"

	"github.com/flowctl/flowctl/providers"
)

// busyPatience is how long a pool may be filled by others before something that waits
// for it is given up, to be tried again later: as long as a large disk takes.
const busyPatience = 2 * time.Minute

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
