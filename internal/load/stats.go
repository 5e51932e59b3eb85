package load

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// kind is how one request ended.
type kind int

const (
	kindOK        kind = iota
	kindConnect        // no connection: refused, unreachable, not resolved
	kindReset          // the connection broke before an answer
	kindTimeout        // no whole answer within Request.Timeout
	kindStatus4xx      //
	kindStatus5xx      //
	kindBody           // the answer broke off, or was malformed
	kindOther          // TLS, malformed headers, the driver's own trouble
	kindCut            // not a failure: cut because the run was stopped
)

var kindNames = [...]string{"ok", "connect", "reset", "timeout", "status_4xx", "status_5xx", "body", "other", "cut"}

func (k kind) String() string { return kindNames[k] }

// Failures counts failed requests by kind.
type Failures struct {
	Total     int64 `json:"total"`
	Connect   int64 `json:"connect"`    // no connection: refused, unreachable
	Reset     int64 `json:"reset"`      // the connection broke before an answer
	Timeout   int64 `json:"timeout"`    // no whole answer in time
	Status4xx int64 `json:"status_4xx"` //
	Status5xx int64 `json:"status_5xx"` //
	Body      int64 `json:"body"`       // the answer broke off
	Other     int64 `json:"other"`      // anything else
}

// of is the counter of a kind; nil for what is not a failure.
func (f *Failures) of(k kind) *int64 {
	switch k {
	case kindOK, kindCut:
		return nil
	case kindConnect:
		return &f.Connect
	case kindReset:
		return &f.Reset
	case kindTimeout:
		return &f.Timeout
	case kindStatus4xx:
		return &f.Status4xx
	case kindStatus5xx:
		return &f.Status5xx
	case kindBody:
		return &f.Body
	case kindOther:
		return &f.Other
	default:
		panic(fmt.Sprintf("bug: kind %d", int(k)))
	}
}

// Counts are numbers of requests.
type Counts struct {
	Sent     int64            `json:"sent"`
	Done     int64            `json:"done"`    // answered or failed
	OK       int64            `json:"ok"`      // answered below 400, to the end
	Failures Failures         `json:"failed"`  //
	Dropped  int64            `json:"dropped"` // arrived when MaxInFlight were out, so never sent
	Cut      int64            `json:"cut"`     // cut by the end of ctx and its grace
	Replicas map[string]int64 `json:"replicas"`
}

// Latency is of requests that were answered, whatever the status, or timed
// out, from their scheduled arrival. Those dropped or without a connection are
// not in it. Values are within 0.1 %; all are 0 when there was no answer.
type Latency struct {
	P50Ms float64 `json:"p50_ms"`
	P90Ms float64 `json:"p90_ms"`
	P95Ms float64 `json:"p95_ms"`
	P99Ms float64 `json:"p99_ms"`
	MaxMs float64 `json:"max_ms"`
}

// Tick is what happened since the tick before, about a second ago; the last
// one of a run may be shorter.
type Tick struct {
	ElapsedS  float64 `json:"elapsed_s"`  // since the start
	WantedRPS float64 `json:"wanted_rps"` // the mean of the shape
	RPS       float64 `json:"rps"`        // requests done a second; in a shorter tick, done
	Counts
	Latency
	InFlight int64   `json:"in_flight"` // now
	LagMs    float64 `json:"lag_ms"`    // the latest that the driver itself sent anything
}

// Report is a whole run.
type Report struct {
	Mode      Mode    `json:"mode"`
	ElapsedS  float64 `json:"elapsed_s"`
	WantedRPS float64 `json:"wanted_rps"` // the mean of the shape
	RPS       float64 `json:"rps"`        // the mean of requests done
	Counts
	Latency
	PeakInFlight int64    `json:"peak_in_flight"`
	LagMs        float64  `json:"lag_ms"`
	Errors       []Sample `json:"errors"` // the first few of each kind
}

// Failed is the number of requests that failed; dropped and cut ones did not.
func (r Report) Failed() int64 { return r.Failures.Total }

// Sample is one failure.
type Sample struct {
	ElapsedS float64 `json:"elapsed_s"`
	Kind     string  `json:"kind"` // a field of Failures
	Replica  string  `json:"replica"`
	Message  string  `json:"message"`
}

const (
	samplesPerKind = 3
	maxReplicas    = 1000 // names kept apart; further ones count as otherReplica
	otherReplica   = "(other)"
)

// tally adds up results: one for each tick, one for the report.
type tally struct {
	Counts
	hist *hdrhistogram.Histogram // microseconds
}

func newTally() *tally {
	return &tally{Counts: Counts{Replicas: map[string]int64{}}, hist: hdrhistogram.New(1, time.Hour.Microseconds(), 3)}
}

func (t *tally) add(r result) {
	if r.kind == kindCut {
		t.Cut++
		return
	}
	t.Done++
	if f := t.Failures.of(r.kind); f != nil {
		*f++
		t.Failures.Total++
	} else {
		t.OK++
	}
	switch r.kind {
	case kindConnect, kindReset, kindOther:
	default:
		us := min(max(r.latency.Microseconds(), 1), t.hist.HighestTrackableValue())
		if err := t.hist.RecordValue(us); err != nil {
			panic("bug: " + err.Error()) // within the range by the line above
		}
	}
	if r.replica != "" {
		if _, known := t.Replicas[r.replica]; !known && len(t.Replicas) >= maxReplicas {
			r.replica = otherReplica
		}
		t.Replicas[r.replica]++
	}
}

func (t *tally) latency() Latency {
	at := t.hist.ValueAtPercentilesSlice([]float64{50, 90, 95, 99, 100})
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return Latency{P50Ms: ms(at[0]), P90Ms: ms(at[1]), P95Ms: ms(at[2]), P99Ms: ms(at[3]), MaxMs: ms(at[4])}
}

// take returns the counts and starts again from nothing.
func (t *tally) take() (Counts, Latency) {
	c, l := t.Counts, t.latency()
	t.Counts = Counts{Replicas: make(map[string]int64, len(c.Replicas))}
	t.hist.Reset()
	return c, l
}
