package lb

import (
	"math"
	"sync/atomic"
	"time"
)

// latencyMemory is the time constant at which a latency is forgotten.
const latencyMemory = 10 * time.Second

// peakEWMA estimates a backend's latency as Finagle does: it jumps up to a
// slower answer at once and comes down slowly, and an estimate that no answer
// renews fades, so that a backend that was slow is tried again. It packs the
// estimate (float32, µs) above its time (ms since the clock's start, mod 2³²).
type peakEWMA struct{ packed atomic.Uint64 }

func (p *peakEWMA) load() (micros float64, ms uint32) {
	v := p.packed.Load()
	return float64(math.Float32frombits(uint32(v >> 32))), uint32(v)
}

// at is the estimate at now (ns of the clock) in µs; 0 is unknown.
func (p *peakEWMA) at(now int64) float64 {
	micros, ms := p.load()
	if micros == 0 {
		return 0
	}
	return micros * fade(now, ms)
}

// observe takes in one answer's latency.
func (p *peakEWMA) observe(now int64, took time.Duration) {
	for {
		old := p.packed.Load()
		micros, ms := float64(math.Float32frombits(uint32(old>>32))), uint32(old)
		keep := fade(now, ms)
		sample := max(1, float64(took)/1e3)
		next := max(sample, micros*keep+sample*(1-keep))
		packed := uint64(math.Float32bits(float32(next)))<<32 | uint64(uint32(now/1e6))
		if p.packed.CompareAndSwap(old, packed) {
			return
		}
	}
}

// fade is how much of an estimate made at ms counts at now.
func fade(now int64, ms uint32) float64 {
	age := int32(uint32(now/1e6) - ms)
	if age <= 0 {
		return 1
	}
	return math.Exp(-float64(age) / float64(latencyMemory.Milliseconds()))
}
