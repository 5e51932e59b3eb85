package lb

import (
	"context"
	"errors"
	"net/http"
)

// failure is how a try failed.
type failure int

const (
	failedConnect failure = iota // nothing was sent
	failedReset                  // the connection was lost before an answer
	failedTimeout                // no answer in time
	failedBroken                 // something of an answer came, but not its whole head
	failedOurs                   // the client, or a limit of the whole request: no fault of the backend
)

// classify says how a try failed that ended with err.
func (x *exchange) classify(err error) failure {
	var dial *dialError
	switch {
	case x.Err() != nil, x.body != nil && x.body.failed.Load() != nil:
		return failedOurs
	case errors.As(err, &dial):
		return failedConnect
	case isTimeout(err):
		return failedTimeout
	case errors.As(err, new(*brokenAnswer)):
		return failedBroken
	default:
		return failedReset
	}
}

// blame is the answer for a request that failed with err.
func (x *exchange) blame(err error) *proxyError {
	var own *proxyError
	if x.body != nil {
		if e := x.body.failed.Load(); e != nil {
			return e
		}
	}
	switch {
	case errors.As(context.Cause(x), &own):
		return own // a limit of ours ended it
	case x.Err() != nil:
		return errClientGone
	case errors.As(err, &own):
		return own
	case isTimeout(err):
		return errHeaderTime
	default:
		return errUpstream
	}
}

// mayRetry reports whether a request may be tried again after a failure: when
// nothing was sent, or when it may arrive twice and can be sent in full again.
func mayRetry(f failure, method string, replayable bool) bool {
	switch f {
	case failedConnect:
		return replayable
	case failedReset:
		return replayable && idempotent(method)
	default:
		return false
	}
}

// idempotent as in RFC 9110 section 9.2.2.
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// budgetWindow is the number of seconds over which retries are held against
// requests.
const budgetWindow = 10

// withinBudget reports whether one more retry is within the budget, given what
// happened in the last budgetWindow seconds (Finagle's RetryBudget).
func withinBudget(requests, retries uint64, r Retry) bool {
	allowed := float64(requests)*float64(max(0, r.BudgetPercent))/100 + float64(max(0, r.MinPerSecond)*budgetWindow)
	return float64(retries+1) <= allowed
}

// spendRetry takes one retry out of the frontend's budget, or says that there is
// none.
func (f *frontend) spendRetry(r Retry) bool {
	now := f.clock.now()
	if !withinBudget(f.counters.requests.last(now, budgetWindow, true), f.counters.retries.last(now, budgetWindow, true), r) {
		return false
	}
	f.counters.retries.add(now)
	return true
}
