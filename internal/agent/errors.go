package agent

import (
	"errors"
	"fmt"
	"net/http"
)

// What a caller can tell apart. An agent that is not there wraps
// daemon.ErrNotRunning.
var (
	// ErrNotFound: the machine has no replica of that name.
	ErrNotFound = errors.New("no such replica")
	// ErrInvalid: this can never run as it is written; trying again is useless.
	ErrInvalid = errors.New("invalid")
	// ErrReplace: the change needs a new process.
	ErrReplace = errors.New("needs a replacement")
	// ErrBusy: the replica is being stopped or changed; try again.
	ErrBusy = errors.New("busy")
)

// fault is an error of one of the kinds above, with a text for the operator.
type fault struct {
	kind error
	text string
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.kind }

func invalidf(format string, args ...any) error {
	return &fault{ErrInvalid, fmt.Sprintf(format, args...)}
}

func notFound(name string) error {
	return &fault{ErrNotFound, fmt.Sprintf("this machine has no replica %q", name)}
}

// problem is an error on the wire.
type problem struct {
	Error string `json:"error"`
	Code  string `json:"code,omitempty"`
}

// kinds maps the errors that cross the wire to their codes.
var kinds = []struct {
	err    error
	code   string
	status int
}{
	{ErrNotFound, "not_found", http.StatusNotFound},
	{ErrInvalid, "invalid", http.StatusUnprocessableEntity},
	{ErrReplace, "replace", http.StatusConflict},
	{ErrBusy, "busy", http.StatusServiceUnavailable},
}

func problemOf(err error) (int, problem) {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.status, problem{err.Error(), k.code}
		}
	}
	return http.StatusInternalServerError, problem{Error: err.Error()}
}

func (p problem) err() error {
	for _, k := range kinds {
		if p.Code == k.code {
			return &fault{k.err, p.Error}
		}
	}
	return errors.New(p.Error)
}
