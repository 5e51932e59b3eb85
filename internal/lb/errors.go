package lb

import (
	"errors"
	"fmt"
	"net/http"
)

// Errors that a caller of Client may branch on, besides daemon.ErrNotRunning.
var (
	// ErrStaleVersion: the snapshot is older than the one in force, or has its
	// version but other content.
	ErrStaleVersion = errors.New("stale snapshot version")
	// ErrInvalid: the snapshot has faults, see Snapshot.Validate.
	ErrInvalid = errors.New("invalid snapshot")
	// ErrNotDraining: the backend is in service, so waiting for it to drain
	// would have no end.
	ErrNotDraining = errors.New("backend is not draining")
)

// NotDrainedError says that time ran out before a backend was drained.
type NotDrainedError struct {
	Frontend string `json:"frontend"`
	Backend  string `json:"backend"`
	InFlight int64  `json:"in_flight"` // requests; on TCP connections
}

func (e *NotDrainedError) Error() string {
	return fmt.Sprintf("backend %s of frontend %s is not drained: %d in flight", e.Backend, e.Frontend, e.InFlight)
}

// reason is why the data plane answered, or ended, a request itself.
type reason int

const (
	badRequest reason = iota
	noRoute
	bodyTooLarge
	bodyTimeout
	queueFull
	queueTimeout
	upstreamFailed
	timedOut
	clientGone
	panicked
	numReasons
)

// proxyError is an answer of the data plane's own.
type proxyError struct {
	reason reason
	status int
	text   string // for the client; short, without inside knowledge
}

func (e *proxyError) Error() string { return e.text }

var (
	errNoRoute      = &proxyError{noRoute, http.StatusNotFound, "no route"}
	errQueueFull    = &proxyError{queueFull, http.StatusServiceUnavailable, "no backend free, queue full"}
	errQueueTimeout = &proxyError{queueTimeout, http.StatusServiceUnavailable, "no backend free in time"}
	errClosing      = &proxyError{queueTimeout, http.StatusServiceUnavailable, "shutting down"}
	errTotal        = &proxyError{timedOut, http.StatusGatewayTimeout, "request took too long"}
	errHeaderTime   = &proxyError{timedOut, http.StatusGatewayTimeout, "backend took too long"}
	errStalled      = &proxyError{timedOut, http.StatusGatewayTimeout, "answer stood still"}
	errCut          = &proxyError{upstreamFailed, http.StatusBadGateway, "backend left"}
	errUpstream     = &proxyError{upstreamFailed, http.StatusBadGateway, "backend failed"}
	errClientGone   = &proxyError{clientGone, 499, "client gone"}
	errBodySlow     = &proxyError{bodyTimeout, http.StatusRequestTimeout, "body stood still"}
	errBodyLarge    = &proxyError{bodyTooLarge, http.StatusRequestEntityTooLarge, "body too large"}
	errBodyBad      = &proxyError{badRequest, http.StatusBadRequest, "malformed body"}
	errPanic        = &proxyError{panicked, http.StatusInternalServerError, "internal error"}
)
