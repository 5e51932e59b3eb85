package lb

import (
	"sync/atomic"
	"time"
)

// Stats is a reading of the data plane. Counters count from Started on.
type Stats struct {
	Version   uint64          `json:"version"` // of the snapshot in force
	PID       int             `json:"pid"`
	Started   time.Time       `json:"started"`
	At        time.Time       `json:"at"`
	Frontends []FrontendStats `json:"frontends"` // by name
}

// FrontendStats is what the clients of a frontend see.
type FrontendStats struct {
	Name   string `json:"name"`
	Listen string `json:"listen,omitempty"`
	Error  string `json:"error,omitempty"` // as in AppliedFrontend
	Conns  int64  `json:"conns"`           // open client connections
	// Requests counts those that were begun; on TCP they are connections.
	Requests uint64  `json:"requests"`
	RPS1     float64 `json:"rps_1s"`  // of the last whole second
	RPS10    float64 `json:"rps_10s"` // of the last ten whole seconds
	InFlight int64   `json:"in_flight"`
	Queued   int64   `json:"queued"` // of those in flight, waiting for a backend
	// Latency is from the head of a request to the end of its answer, waiting
	// and retries included, streams excepted; over the last 10 to 20 seconds.
	Latency Latency `json:"latency"`
	// Status counts the answers of backends that were passed on, by class.
	Status StatusClasses `json:"status"`
	// Errors are the requests that the data plane answered itself, or ended.
	Errors   ProxyErrors    `json:"errors"`
	Retries  uint64         `json:"retries"`
	BytesIn  uint64         `json:"bytes_in"`  // from clients, heads included
	BytesOut uint64         `json:"bytes_out"` // to clients
	Backends []BackendStats `json:"backends"`  // by id; those leaving come last
}

// BackendStats is what one backend does.
type BackendStats struct {
	ID      string  `json:"id"`
	Group   string  `json:"group,omitempty"`
	Address string  `json:"address"`
	State   string  `json:"state"`  // Joining … Standby
	Weight  float64 `json:"weight"` // at the moment, see SlowStart
	// Requests counts tries: a retried request counts on each backend it went to.
	Requests uint64  `json:"requests"`
	RPS1     float64 `json:"rps_1s"`
	RPS10    float64 `json:"rps_10s"`
	InFlight int64   `json:"in_flight"`
	// Latency is from choosing the backend to the head of its answer (TCP: to
	// the connection), over the last 10 to 20 seconds.
	Latency  Latency       `json:"latency"`
	Status   StatusClasses `json:"status"`
	Errors   BackendErrors `json:"errors"`
	BytesIn  uint64        `json:"bytes_in"`  // from the backend, heads included
	BytesOut uint64        `json:"bytes_out"` // to the backend
	// Answers are the latencies of all its answers, if they were asked for.
	Answers Histogram `json:"answers,omitempty"`
}

// Latency are quantiles, each within 5 % of a value that occurred.
type Latency struct {
	Count uint64   `json:"count"`
	P50   Duration `json:"p50"`
	P95   Duration `json:"p95"`
	P99   Duration `json:"p99"`
}

// StatusClasses counts answers by the first digit of their status.
type StatusClasses struct {
	C1xx uint64 `json:"1xx"` // 101 only
	C2xx uint64 `json:"2xx"`
	C3xx uint64 `json:"3xx"`
	C4xx uint64 `json:"4xx"`
	C5xx uint64 `json:"5xx"`
}

// ProxyErrors counts what the data plane did not pass on, by reason.
type ProxyErrors struct {
	BadRequest   uint64 `json:"bad_request"`    // 400, 405, 431: malformed or refused
	NoRoute      uint64 `json:"no_route"`       // 404
	BodyTooLarge uint64 `json:"body_too_large"` // 413
	BodyTimeout  uint64 `json:"body_timeout"`   // 408: the client's body stood still
	QueueFull    uint64 `json:"queue_full"`     // 503
	QueueTimeout uint64 `json:"queue_timeout"`  // 503
	Upstream     uint64 `json:"upstream"`       // 502, or an answer cut short
	Timeout      uint64 `json:"timeout"`        // 504
	ClientGone   uint64 `json:"client_gone"`    // the client went away first
	Panic        uint64 `json:"panic"`          // 500: a bug of ours
}

// BackendErrors counts failures of a backend.
type BackendErrors struct {
	Connect uint64 `json:"connect"` // refused, unreachable or too slow to connect
	Timeout uint64 `json:"timeout"` // no answer in time
	Reset   uint64 `json:"reset"`   // connection lost before the end of the answer
	Gateway uint64 `json:"gateway"` // answered 502, 503 or 504
	Ejected uint64 `json:"ejected"` // times taken out of choice
}

// Failed counts the requests that failed by no fault of the client: answered with
// a status from 500, by a backend or by the data plane.
func (f FrontendStats) Failed() uint64 {
	e := f.Errors
	return f.Status.C5xx + e.QueueFull + e.QueueTimeout + e.Upstream + e.Timeout + e.Panic
}

// Failed counts the tries that failed: answered with a status from 500, or not.
func (b BackendStats) Failed() uint64 {
	return b.Status.C5xx + b.Errors.Connect + b.Errors.Timeout + b.Errors.Reset
}

// frontendCounters and backendCounters are counted while requests run.
type frontendCounters struct {
	requests          rates
	retries           rates
	inFlight          atomic.Int64
	latency           window
	status            [6]atomic.Uint64
	errors            [numReasons]atomic.Uint64
	bytesIn, bytesOut atomic.Uint64
}

type backendCounters struct {
	requests                         rates
	latency                          window
	answers                          histogram // the latencies of all
	status                           [6]atomic.Uint64
	connect, timeout, reset, gateway atomic.Uint64
	ejected                          atomic.Uint64
	bytesIn, bytesOut                atomic.Uint64
}

func statusClasses(n *[6]atomic.Uint64) StatusClasses {
	return StatusClasses{C1xx: n[1].Load(), C2xx: n[2].Load(), C3xx: n[3].Load(), C4xx: n[4].Load(), C5xx: n[5].Load()}
}

func countStatus(n *[6]atomic.Uint64, status int) {
	if class := status / 100; class >= 1 && class <= 5 {
		n[class].Add(1)
	}
}

func (c *frontendCounters) proxyErrors() ProxyErrors {
	n := func(r reason) uint64 { return c.errors[r].Load() }
	return ProxyErrors{
		BadRequest: n(badRequest), NoRoute: n(noRoute), BodyTooLarge: n(bodyTooLarge), BodyTimeout: n(bodyTimeout),
		QueueFull: n(queueFull), QueueTimeout: n(queueTimeout), Upstream: n(upstreamFailed), Timeout: n(timedOut),
		ClientGone: n(clientGone), Panic: n(panicked),
	}
}

// stats reads the pool's backends; with answers, also how long each took over all
// its answers.
func (p *pool) stats(answers bool) []BackendStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.now()
	all := []BackendStats{}
	for _, b := range p.backends {
		s := b.stats(now, p.cfg)
		if answers {
			s.Answers = b.counters.answers.export()
		}
		all = append(all, s)
	}
	sortBy(all, func(s BackendStats) string { return s.ID })
	var leaving []BackendStats
	for b := range p.leaving {
		leaving = append(leaving, b.stats(now, p.cfg))
	}
	sortBy(leaving, func(s BackendStats) string { return s.ID })
	return append(all, leaving...)
}

func (b *backend) stats(now int64, cfg *config) BackendStats {
	c := &b.counters
	part, _ := b.standing.warmth(now, cfg.SlowStart.limit())
	s := BackendStats{
		ID: b.id, Group: b.group, Address: b.addr, State: b.standing.state(now), Weight: part * float64(b.weight),
		Requests: c.requests.total.Load(), RPS1: float64(c.requests.last(now, 1, false)), RPS10: float64(c.requests.last(now, 10, false)) / 10,
		InFlight: b.inFlight.Load(), Latency: c.latency.latency(now), Status: statusClasses(&c.status),
		Errors: BackendErrors{
			Connect: c.connect.Load(), Timeout: c.timeout.Load(), Reset: c.reset.Load(),
			Gateway: c.gateway.Load(), Ejected: c.ejected.Load(),
		},
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
	}
	if b.draining.Load() {
		s.State, s.Weight = Drained, 0
		switch {
		case b.standby:
			s.State = Standby
		case s.InFlight > 0:
			s.State = Draining
		}
	}
	return s
}
