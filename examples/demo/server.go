package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// statusClientGone is what nginx logs for a client that left; nobody reads it but /metrics.
const statusClientGone = 499

// server is what both roles have in common.
type server struct {
	options
	log      *slog.Logger
	started  time.Time
	sick     *saboteur
	mux      *http.ServeMux
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	ready    func(context.Context) error // the tier behind, for /readyz; may be nil
	stopping chan struct{}               // closed by stop; ends streams
	settled  chan struct{}               // closed when the work from before stop is done

	mu      sync.Mutex
	stopped bool
	earlier int                   // requests at work that began before stop
	fresh   map[net.Conn]struct{} // connections without a request yet
}

func newServer(o options, log *slog.Logger) *server {
	s := &server{
		options: o, log: log, started: time.Now(), sick: &saboteur{faults: o.faults},
		mux: http.NewServeMux(), registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "demo_requests_total", Help: "Work requests answered, by route and status."}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "demo_request_duration_seconds", Help: "Time to answer work requests, by route.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16)}, []string{"route"}), // 1 ms to 33 s
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "demo_requests_in_flight", Help: "Work requests being answered now."}),
		stopping: make(chan struct{}), settled: make(chan struct{}), fresh: map[net.Conn]struct{}{},
	}
	s.registry.MustRegister(s.requests, s.seconds, s.inFlight,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	s.mux.HandleFunc("GET /healthz", s.healthz)
	s.mux.HandleFunc("GET /readyz", s.readyz)
	s.work("/events", s.events)
	if o.role == "web" {
		addWeb(s)
	} else {
		addFib(s)
	}
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Replica", s.replica)
	w.Header().Set("Cache-Control", "no-store")
	if s.isStopping() {
		w.Header().Set("Connection", "close") // HTTP/2 turns it into a GOAWAY
	}
	s.mux.ServeHTTP(w, r)
}

// work adds a route whose requests are measured, drained and made to fail.
func (s *server) work(route string, h http.HandlerFunc) {
	label := prometheus.Labels{"route": route}
	s.mux.Handle("GET "+route, promhttp.InstrumentHandlerInFlight(s.inFlight,
		promhttp.InstrumentHandlerDuration(s.seconds.MustCurryWith(label),
			promhttp.InstrumentHandlerCounter(s.requests.MustCurryWith(label),
				http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer s.begin()()
					if s.starting() {
						s.fail(w, http.StatusServiceUnavailable, "starting")
					} else if s.sick.request() {
						s.fail(w, http.StatusInternalServerError, "failing on purpose (-fail-rate)")
					} else {
						h(w, r)
					}
				})))))
}

func (s *server) starting() bool { return time.Since(s.started) < s.slowStart }

// healthz says whether this process is well, whatever is behind it.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	switch {
	case s.isStopping():
		s.fail(w, http.StatusServiceUnavailable, "stopping")
	case s.starting():
		s.fail(w, http.StatusServiceUnavailable, "starting")
	default:
		s.answer(w, s.who())
	}
}

// readyz says, besides, whether the tier behind answers.
func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	if s.ready != nil && !s.isStopping() && !s.starting() {
		if err := s.ready(r.Context()); err != nil {
			s.fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
	}
	s.healthz(w, r)
}

// identity is in every answer.
type identity struct {
	Replica  string `json:"replica"`
	Role     string `json:"role"`
	Greeting string `json:"greeting,omitempty"`
	Banner   string `json:"banner,omitempty"`
}

func (s *server) identity() identity {
	return identity{Replica: s.replica, Role: s.role, Greeting: s.greeting, Banner: s.banner}
}

type whoAnswer struct {
	identity
	Version string  `json:"version"`
	PID     int     `json:"pid"`
	UptimeS float64 `json:"uptime_s"`
}

func (s *server) who() whoAnswer {
	return whoAnswer{s.identity(), version(), os.Getpid(), time.Since(s.started).Seconds()}
}

func (s *server) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("client left", "err", err)
	}
}

func (s *server) fail(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	s.answer(w, struct {
		identity
		Error string `json:"error"`
	}{s.identity(), why})
}

// events streams one event a second until the client leaves or the server stops.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for seq := 1; ; seq++ {
		data, err := json.Marshal(struct {
			identity
			Seq int       `json:"seq"`
			At  time.Time `json:"at"`
		}{s.identity(), seq, time.Now().UTC()})
		if err != nil {
			panic("bug: " + err.Error())
		}
		if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", seq, data); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.stopping:
			fmt.Fprint(w, "event: stop\ndata: {}\n\n")
			return
		case <-tick.C:
		}
	}
}
