package sim

import (
	"fmt"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// shift sets the shares of backends that are there, as providers.Shifter has it.
func (w *World) shift(shares map[engine.Key]int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, share := range shares {
		if _, ok := w.things[k]; !ok {
			continue
		}
		if delete(w.shares, k); share != 100 {
			w.shares[k] = share
		}
		if err := w.write(k, nil); err != nil {
			return err
		}
	}
	w.tell(Event{Op: "shift"})
	return nil
}

// Share is the share of a backend as it was shifted to; 100 if it never was.
func (w *World) Share(k engine.Key) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.share(k)
}

func (w *World) share(k engine.Key) int {
	if share, ok := w.shares[k]; ok {
		return share
	}
	return 100
}

func (w *World) detour(k engine.Key) string {
	switch share := w.Share(k); share {
	case 100:
		return ""
	case 0:
		return "it stands by, without requests"
	default:
		return fmt.Sprintf("a rollout left it with a share of %d %% of the requests", share)
	}
}

// Count has f say what became of the requests to a backend, given its replica and
// its share. There are none if nobody says.
func (w *World) Count(f func(backend, replica engine.Object, share int) providers.Tally) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts = f
}

func (w *World) tally(backends []engine.Key) providers.Tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	var t providers.Tally
	for _, k := range backends {
		if thing, ok := w.things[k]; ok && w.counts != nil {
			b := thing.object(k)
			on, _ := keyOf(b.Attr("replica_id"))
			t.Add(w.counts(b, w.things[on].object(on), w.share(k)))
		}
	}
	return t
}
