package sim

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// waiting is how many events may wait to be taken.
const waiting = 1024

// follow returns what happens from now on, until stop is called. The channel is
// closed when more happened than was taken.
func (w *World) follow() (told <-chan providers.Event, stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := make(chan providers.Event, waiting)
	if w.followers == nil {
		w.followers = map[chan providers.Event]bool{}
	}
	w.followers[c] = true
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.followers, c)
	}
}

// happened tells those who follow. The caller holds mu.
func (w *World) happened(k engine.Key, what string) {
	for c := range w.followers {
		select {
		case c <- providers.Event{At: time.Now(), Address: k.Address, Gen: k.Gen, What: what}:
		default:
			close(c)
			delete(w.followers, c)
		}
	}
}

// Watch implements providers.Watcher.
func (s *Sim) Watch(ctx context.Context) iter.Seq2[providers.Event, error] {
	return func(yield func(providers.Event, error) bool) {
		told, stop := s.world.follow()
		defer stop()
		for {
			select {
			case e, ok := <-told:
				if !ok {
					yield(providers.Event{}, errors.New("more happened in the simulated world than was taken up"))
					return
				}
				if !yield(e, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
