package api

import (
	"context"
	"encoding/json"
	"errors"
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
	Samples   func(ctx context.Context, q state.Span) ([]state.Rollup, error)
}

// stale is how old a status may be: the controller publishes one at each
// evaluation, or says what hinders it.
const stale = 10 * time.Minute

// Handler answers requests: those of routes.
func Handler(s Source, now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	reg := prometheus.NewRegistry()
	reg.MustRegister(&collector{s})
	metrics := promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	serve := map[string]http.HandlerFunc{
		"/healthz":         func(w http.ResponseWriter, _ *http.Request) { s.health(w, now()) },
		"/metrics":         metrics.ServeHTTP,
		"/v1/status":       func(w http.ResponseWriter, _ *http.Request) { write(w, StatusOf(s.Flow, s.Status())) },
		"/v1/events":       s.events,
		"/v1/decisions":    s.decisions,
		"/v1/samples":      s.samples,
		"/v1/openapi.json": describe,
	}
	for _, r := range routes {
		mux.HandleFunc("GET "+r.path, serve[r.path])
	}
	return mux
}

func (s Source) health(w http.ResponseWriter, now time.Time) {
	st := s.Status()
	switch {
	case st.Trouble != "":
		http.Error(w, st.Trouble, http.StatusServiceUnavailable)
	case now.Sub(st.At) > stale:
		http.Error(w, "nothing was decided since "+st.At.Format(time.RFC3339), http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
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
	if until, err = instant(r, "until"); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
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

// instant is a parameter that is a time; zero if it is not given.
func instant(r *http.Request, name string) (time.Time, error) {
	v := r.FormValue(name)
	if v == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil {
		return t, fmt.Errorf("%s=%q is no time such as 2026-01-02T15:04:05Z", name, v)
	}
	return t, nil
}

// samples answers with what was measured. Without from, it is the last hour, or with
// a step of a minute the last day.
func (s Source) samples(w http.ResponseWriter, r *http.Request) {
	q := state.Span{Series: state.Series{Of: r.FormValue("of"), Metric: r.FormValue("metric")}, Step: state.Second}
	back := time.Hour
	switch v := r.FormValue("step"); v {
	case "", "1s":
	case "1m":
		q.Step, back = state.Minute, 24*time.Hour
	default:
		http.Error(w, fmt.Sprintf("step=%q is neither 1s nor 1m", v), http.StatusBadRequest)
		return
	}
	var errs [2]error
	q.From, errs[0] = instant(r, "from")
	q.Until, errs[1] = instant(r, "until")
	if err := errors.Join(errs[:]...); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if q.From.IsZero() {
		end := q.Until
		if end.IsZero() {
			end = s.Status().At
		}
		q.From = end.Add(-back)
	}
	all, err := s.Samples(r.Context(), q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	list := make([]Sample, 0, len(all))
	for _, x := range all {
		list = append(list, Sample{x.Of, x.Metric, x.At, x.Step.Seconds(), x.Count, x.Min, x.Max, x.Mean, x.Last, x.Units})
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
