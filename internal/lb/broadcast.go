package lb

import "sync"

// broadcast wakes all who wait for it, as often as it is given.
type broadcast struct {
	mu sync.Mutex // guards ch
	ch chan struct{}
}

func (s *broadcast) init() { s.ch = make(chan struct{}) }

// wait returns a channel that the next send closes.
func (s *broadcast) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

func (s *broadcast) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}
