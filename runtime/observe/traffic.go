package observe

import (
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/decide"
)

// reading is what one provider reported at one instant.
type reading struct {
	at      time.Time
	counted time.Time                // when requests were counted, which may be some time before it was told
	usage   []providers.Usage        // each address once
	index   map[engine.Address]int32 // of usage
	loads   map[engine.Address]load  // by function: the sums over its replicas
}

// readingOf takes up a report, which is the reading's from now on. Of an address
// that it tells twice, the last counts. Functions are summed up here, once for all
// metrics, in the order of the report, so that the same one comes to the same bits.
// The index is that of the reading before if both tell of the same.
func readingOf(at time.Time, usage []providers.Usage, was reading) reading {
	r := reading{at, at, usage, was.index, map[engine.Address]load{}}
	same := func(a, b providers.Usage) bool { return a.Address == b.Address }
	if r.index == nil || !slices.EqualFunc(usage, was.usage, same) {
		r.usage, r.index = indexed(usage)
	}
	for _, u := range r.usage {
		if !u.Counted.IsZero() {
			r.counted = u.Counted
		}
		if u.Address.Kind == engine.KindFunction {
			r.loads[u.Address.Group()] = r.loads[u.Address.Group()].with(u)
		}
	}
	return r
}

func indexed(usage []providers.Usage) ([]providers.Usage, map[engine.Address]int32) {
	once, index := make([]providers.Usage, 0, len(usage)), make(map[engine.Address]int32, len(usage))
	for _, u := range usage {
		if i, again := index[u.Address]; again {
			once[i] = u
			continue
		}
		index[u.Address] = int32(len(once))
		once = append(once, u)
	}
	return once, index
}

// of is what was reported of an object.
func (r reading) of(a engine.Address) (providers.Usage, bool) {
	i, ok := r.index[a]
	if !ok {
		return providers.Usage{}, false
	}
	return r.usage[i], true
}

// traffic is what a function's requests come to between two readings of the
// frontends.
type traffic struct {
	requests, failed float64 // per second
	inFlight, queued int
	latency          float64 // seconds, the 95th percentile of the last seconds, of all backends by their share
}

// tally is what a function's requests are counted to. They are whole numbers: sums
// of them do not depend on the order.
type tally struct {
	requests, failed uint64
	slow             uint64 // nanoseconds of the 95th percentiles, times requests
	inFlight, queued int
	measured         bool // what there is tells of its requests
	awake            bool // one of its backends is there
	behind           bool // a frontend balances to it
}

// trafficOf sums up the requests of all functions. Requests that no backend has
// taken yet count, too, where a function is all that a frontend balances to.
func trafficOf(targets map[engine.Address][]engine.Address, was, is reading) map[engine.Address]traffic {
	seconds := is.counted.Sub(was.counted).Seconds()
	if was.index == nil || seconds <= 0 {
		return nil
	}
	all := map[engine.Address]*tally{}
	of := func(function engine.Address) *tally {
		t := all[function]
		if t == nil {
			t = &tally{}
			all[function] = t
		}
		return t
	}
	for _, u := range is.usage {
		a := u.Address
		if a.Kind != engine.KindFrontend && a.Kind != engine.KindBackend {
			continue
		}
		before, there := was.of(a)
		switch a.Kind {
		case engine.KindFrontend:
			for _, function := range targets[a] {
				t := of(function)
				t.queued += u.Queued
				t.behind = true
			}
			if len(targets[a]) == 1 {
				of(targets[a][0]).count(u, before, there)
			}
		case engine.KindBackend:
			frontend, replica := a.Membership()
			t := of(replica.Group())
			t.awake = true
			if !only(replica.Group(), targets[frontend]) {
				t.count(u, before, there)
			}
		}
	}
	traffics := make(map[engine.Address]traffic, len(all))
	for function, t := range all {
		if x, ok := t.per(seconds); ok {
			traffics[function] = x
		}
	}
	return traffics
}

// count adds what one frontend or backend has counted. How much of that is of this
// time cannot be told if it was not there before.
func (t *tally) count(u, before providers.Usage, there bool) {
	t.measured = true
	t.inFlight += u.InFlight
	if !there {
		return
	}
	requests := grown(before.Requests, u.Requests)
	t.requests += requests
	t.failed += grown(before.Failed, u.Failed)
	t.slow += requests * uint64(max(0, u.P95))
}

// per is the traffic of so many seconds. Behind a frontend that it shares, what
// waits is all that asks for a function that is asleep.
func (t *tally) per(seconds float64) (traffic, bool) {
	x := traffic{requests: float64(t.requests) / seconds, failed: float64(t.failed) / seconds, inFlight: t.inFlight, queued: t.queued}
	if t.requests > 0 {
		x.latency = float64(t.slow) / float64(t.requests) / float64(time.Second)
	}
	if !t.awake && !t.measured {
		x.inFlight, x.requests = t.queued, float64(t.queued)/seconds
		return x, t.behind
	}
	return x, t.measured
}

// only reports whether a function is all that a frontend balances to.
func only(function engine.Address, targets []engine.Address) bool {
	return len(targets) == 1 && targets[0] == function
}

// grown is how much a counter grew; one that is smaller than before began anew.
func grown(before, now uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// value is a built-in metric of the traffic.
func (t traffic) value(metric string) (float64, bool) {
	switch metric {
	case "rps":
		return t.requests, true
	case "in_flight":
		return float64(t.inFlight), true
	case "queue":
		return float64(t.queued), true
	case "latency":
		return t.latency, t.requests > 0
	case "error_rate":
		if t.requests == 0 {
			return 0, true
		}
		return min(1, t.failed/t.requests), true
	default:
		return 0, false
	}
}

// load is what a function's replicas use.
type load struct {
	cpu, memory float64 // cores and bytes
	units       int     // replicas that were measured
}

// with adds a replica. What does not run has no load to share.
func (l load) with(u providers.Usage) load {
	if u.State != "" && u.State != "running" && u.State != "unhealthy" {
		return l
	}
	return load{l.cpu + u.CPUCores, l.memory + float64(u.MemoryBytes), l.units + 1}
}

// loadOf averages over the replicas that were measured, by any provider.
func loadOf(function engine.Address, latest map[string]reading, fresh time.Time) load {
	var l load
	for _, r := range latest {
		if x := r.loads[function]; !r.at.Before(fresh) {
			l = load{l.cpu + x.cpu, l.memory + x.memory, l.units + x.units}
		}
	}
	if l.units > 0 {
		l.cpu /= float64(l.units)
		l.memory /= float64(l.units)
	}
	return l
}

// sample is a built-in metric of the load; limit is what a replica may use at
// most, for metrics that are a share of it.
func (l load) sample(m metric, at time.Time) (decide.Sample, bool) {
	s := decide.Sample{At: at, Units: l.units}
	limit := 1.0
	switch m.Name {
	case "cpu":
		s.Value = l.cpu
		if m.Share {
			limit = m.limit.CPU
		}
	case "memory":
		s.Value = l.memory
		if m.Share {
			limit = float64(m.limit.Memory)
		}
	default:
		return s, false
	}
	if l.units == 0 || limit == 0 {
		return s, false
	}
	s.Value /= limit
	return s, true
}
