package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/control"
	"github.com/flowctl/flowctl/state"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Source is what the API tells of.
type Source struct {
	Flow      string
	Status    func() control.Status
	Usage     func() map[engine.Address]providers.Usage
	Decisions func(ctx context.Context, rule string, until time.Time, limit int) ([]state.Decision, error)
}

// stale is how old a status may be: the controller publishes one at each
// evaluation, or says what hinders it.
const stale = 10 * time.Minute

// Handler answers requests.
func Handler(s Source, now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	reg := prometheus.NewRegistry()
	reg.MustRegister(&collector{s})
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		st := s.Status()
		switch {
		case st.Trouble != "":
			http.Error(w, st.Trouble, http.StatusServiceUnavailable)
		case now().Sub(st.At) > stale:
			http.Error(w, "nothing was decided since "+st.At.Format(time.RFC3339), http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "ok")
		}
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { write(w, StatusOf(s.Flow, s.Status())) })
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) { s.events(w, r) })
	mux.HandleFunc("GET /v1/decisions", func(w http.ResponseWriter, r *http.Request) { s.decisions(w, r) })
	return mux
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(v)
}

// most is how many decisions one answer holds.
const most = 10_000

func (s Source) decisions(w http.ResponseWriter, r *http.Request) {
	limit, until := 100, time.Time{}
	var err error
	if v := r.FormValue("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 || limit > most {
			http.Error(w, fmt.Sprintf("limit=%q is no number from 1 to %d", v, most), http.StatusBadRequest)
			return
		}
	}
	if v := r.FormValue("until"); v != "" {
		if until, err = time.Parse(time.RFC3339, v); err != nil {
			http.Error(w, fmt.Sprintf("until=%q is no time such as 2026-01-02T15:04:05Z", v), http.StatusBadRequest)
			return
		}
	}
	all, err := s.Decisions(r.Context(), r.FormValue("rule"), until, limit)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	list := []Decision{}
	for _, d := range all {
		one, err := DecisionOf(d)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		list = append(list, one)
	}
	write(w, list)
}

// look is the time between two looks for a new status.
const look = 250 * time.Millisecond

// events tells each new status until the client goes away.
func (s Source) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	tick := time.NewTicker(look)
	defer tick.Stop()
	var last time.Time
	for {
		if st := s.Status(); st.At.After(last) {
			last = st.At
			text, err := json.Marshal(StatusOf(s.Flow, st))
			if err != nil {
				return
			}
			if _, err := fmt.Fprintf(w, "event: status\ndata: %s\n\n", text); err != nil || flush.Flush() != nil {
				return
			}
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
