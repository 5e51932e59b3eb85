package lb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// The control protocol is HTTP and JSON over the folder's unix socket, which
// only its user can open:
//
//	PUT  /v1/snapshot              Snapshot → Applied
//	GET  /v1/snapshot              → Saved
//	GET  /v1/stats?answers=true    → Stats
//	GET  /v1/drained?frontend=&backend=&wait=1s   → 204, or 409 with in_flight
//	POST /v1/shutdown?grace=10s    → 202
//
// An error is a controlError with a status of 400 or above.

// controlError is an error on its way to a Client.
type controlError struct {
	Kind     string `json:"kind"` // of errorKinds, or "" for others
	Text     string `json:"error"`
	InFlight int64  `json:"in_flight,omitempty"`
}

// errorKinds are the errors that a Client gives back as they were.
var errorKinds = map[string]error{
	"stale_version": ErrStaleVersion, "invalid": ErrInvalid, "not_draining": ErrNotDraining,
}

// kindNotDrained stands for *NotDrainedError.
const kindNotDrained = "not_drained"

// maxSnapshotBytes is far above what thousands of backends need.
const maxSnapshotBytes = 64 << 20

// longestPoll bounds one request for /v1/drained; the Client asks again.
const longestPoll = 30 * time.Second

func (p *plane) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/snapshot", func(w http.ResponseWriter, r *http.Request) {
		var s Snapshot
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSnapshotBytes))
		if err := d.Decode(&s); err != nil {
			reply(w, nil, fmt.Errorf("%w: %w", ErrInvalid, err))
			return
		}
		applied, err := p.apply(s)
		reply(w, applied, err)
	})
	mux.HandleFunc("GET /v1/snapshot", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		saved := p.current
		saved.Applied.Frontends = append([]AppliedFrontend(nil), saved.Applied.Frontends...)
		p.mu.Unlock()
		reply(w, saved, nil)
	})
	mux.HandleFunc("GET /v1/stats", func(w http.ResponseWriter, r *http.Request) {
		reply(w, p.stats(r.FormValue("answers") == "true"), nil)
	})
	mux.HandleFunc("GET /v1/drained", p.serveDrained)
	mux.HandleFunc("POST /v1/shutdown", func(w http.ResponseWriter, r *http.Request) {
		grace, err := time.ParseDuration(r.FormValue("grace"))
		if err != nil {
			reply(w, nil, err)
			return
		}
		select {
		case p.shutdown <- grace:
		default: // asked for already
		}
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

func (p *plane) serveDrained(w http.ResponseWriter, r *http.Request) {
	wait, err := time.ParseDuration(r.FormValue("wait"))
	if err != nil {
		reply(w, nil, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(wait, longestPoll))
	defer cancel()
	if err := p.waitDrained(ctx, r.FormValue("frontend"), r.FormValue("backend")); err != nil {
		reply(w, nil, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// reply writes v or err as JSON.
func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		e := controlError{Text: err.Error()}
		status := http.StatusBadRequest
		for kind, known := range errorKinds {
			if errors.Is(err, known) {
				e.Kind = kind
			}
		}
		if nd, ok := errors.AsType[*NotDrainedError](err); ok {
			e.Kind, e.InFlight, status = kindNotDrained, nd.InFlight, http.StatusConflict
		}
		w.WriteHeader(status)
		v = e
	}
	json.NewEncoder(w).Encode(v)
}
