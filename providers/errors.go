package providers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// ErrNotFound is wrapped by Import when there is nothing of that name, and by Take
// when the warm machine is not there.
var ErrNotFound = errors.New("not found")

// Passing marks an error that may go away by itself, so that another attempt
// makes sense.
func Passing(err error) error {
	if err == nil {
		return nil
	}
	return &passing{err}
}

type passing struct{ err error }

func (p *passing) Error() string { return p.err.Error() }
func (p *passing) Unwrap() error { return p.err }

// Permanent marks an error that no further attempt can mend, though its cause
// looks as if it passed.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

// Retryable reports whether another attempt may succeed: after errors marked as
// Passing, time-outs of single calls, and connections refused or broken.
func Retryable(err error) bool {
	var lasting *permanent
	if err == nil || errors.As(err, &lasting) || errors.Is(err, context.Canceled) {
		return false
	}
	var p *passing
	var n net.Error
	switch {
	case errors.As(err, &p):
		return true
	case errors.As(err, &n) && n.Timeout():
		return true
	}
	for _, e := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.EAGAIN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Unsupported is the error for a kind that a provider does not make.
func Unsupported(provider string, what fmt.Stringer) error {
	return Permanent(fmt.Errorf("provider %s does not make %s", provider, what))
}
