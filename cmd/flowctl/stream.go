package main

import (
	"errors"
	"io"
	"syscall"
)

// stream remembers the first error of writing, so that nobody takes half of an
// output for the whole.
type stream struct {
	io.Writer
	err error
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if err != nil && s.err == nil {
		s.err = err
	}
	return n, err
}

// readerGone reports whether nothing more can be written: a command that goes on and
// on ends.
func (a *app) readerGone() bool {
	s, ok := a.out.(*stream)
	return ok && s.err != nil
}

// lost returns why the output is not whole. A reader that has gone away has read
// all that it wanted.
func (s *stream) lost() error {
	if errors.Is(s.err, syscall.EPIPE) {
		return nil
	}
	return s.err
}
