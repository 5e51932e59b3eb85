package observe

import (
	"maps"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/decide"
)

// reading is what one provider reported at one instant.
type reading struct {
	at    time.Time
	usage map[engine.Address]providers.Usage
}

// traffic is what a function's requests come to between two readings of the
// frontends.
type traffic struct {
	requests, failed float64 // per second
	inFlight, queued int
	latency          float64 // seconds, the 95th percentile of the last seconds, of all backends by their share
}

// trafficOf sums up the requests of one function. Requests that no backend has
// taken yet count, too, where the function is all that a frontend balances to.
func trafficOf(function engine.Address, targets map[engine.Address][]engine.Address, was, is reading) (t traffic, ok bool) {
	seconds := is.at.Sub(was.at).Seconds()
	if was.usage == nil || seconds <= 0 {
		return t, false
	}
	var weight float64
	asleep := true // none of the function's backends is there
	for _, a := range sorted(is.usage) {
		u := is.usage[a]
		frontend, alone := a, a.Kind == engine.KindFrontend
		switch {
		case alone:
			t.queued += queued(function, targets[a], u)
		case a.Kind != engine.KindBackend:
			continue
		default:
			var replica engine.Address
			if frontend, replica = a.Membership(); replica.Group() != function {
				continue
			}
			asleep = false
		}
		if only(function, targets[frontend]) != alone {
			continue
		}
		ok = true
		t.inFlight += u.InFlight
		before, there := was.usage[a]
		if !there {
			continue // how much of what it counted is of this time cannot be told
		}
		requests := grown(before.Requests, u.Requests) / seconds
		t.requests += requests
		t.failed += grown(before.Failed, u.Failed) / seconds
		t.latency += requests * u.P95.Seconds()
		weight += requests
	}
	if weight > 0 {
		t.latency /= weight
	}
	if asleep && !ok { // behind a frontend that it shares, what waits is all that asks for it
		for a := range is.usage {
			ok = ok || a.Kind == engine.KindFrontend && slices.Contains(targets[a], function)
		}
		t.inFlight, t.requests = t.queued, float64(t.queued)/seconds
	}
	return t, ok
}

// only reports whether a function is all that a frontend balances to.
func only(function engine.Address, targets []engine.Address) bool {
	return len(targets) == 1 && targets[0] == function
}

func queued(function engine.Address, targets []engine.Address, u providers.Usage) int {
	if slices.Contains(targets, function) {
		return u.Queued
	}
	return 0
}

// grown is how much a counter grew; one that is smaller than before began anew.
func grown(before, now uint64) float64 {
	if now < before {
		return float64(now)
	}
	return float64(now - before)
}

func sorted(usage map[engine.Address]providers.Usage) []engine.Address {
	return slices.SortedFunc(maps.Keys(usage), engine.Address.Compare)
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
	cpu, memory float64 // of each, on average: cores and bytes
	units       int
}

// loadOf averages over the replicas that were measured.
func loadOf(function engine.Address, latest map[string]reading, fresh time.Time) load {
	var l load
	for _, r := range latest {
		if r.at.Before(fresh) {
			continue
		}
		for _, a := range sorted(r.usage) {
			if a.Kind != engine.KindFunction || a.Group() != function {
				continue
			}
			u := r.usage[a]
			if u.State != "" && u.State != "running" && u.State != "unhealthy" {
				continue // what does not run has no load to share
			}
			l.cpu += u.CPUCores
			l.memory += float64(u.MemoryBytes)
			l.units++
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
