package lb

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Buckets of a histogram: 16 to each power of two of µs, so that the middle of
// one is within 3.2 % of what is in it, as in HdrHistogram. Ours because it is
// small, fixed and lock-free for many writers, which that library's is not.
const (
	subBuckets = 16
	octaves    = 28 // up to 2³¹ µs, 36 minutes
	buckets    = subBuckets * (octaves + 1)
)

// histogram counts durations.
type histogram struct{ n [buckets]atomic.Uint64 }

func (h *histogram) record(d time.Duration) { h.n[bucketOf(d)].Add(1) }

// Histogram counts durations by bucket, those with any. Histograms of several
// backends, or of a backend at two times, may be added or subtracted.
type Histogram map[int]uint64

func (h *histogram) export() Histogram {
	out := Histogram{}
	for i := range h.n {
		if n := h.n[i].Load(); n > 0 {
			out[i] = n
		}
	}
	return out
}

// Durations are the middles of the buckets, with their counts.
func (h Histogram) Durations() map[time.Duration]uint64 {
	out := make(map[time.Duration]uint64, len(h))
	for i, n := range h {
		if i >= 0 && i < buckets {
			out[middle(i)] += n
		}
	}
	return out
}

// bucketOf: below 16 µs one bucket for each µs, above 16 for each power of two.
func bucketOf(d time.Duration) int {
	us := uint64(max(0, d.Microseconds()))
	if us < subBuckets {
		return int(us)
	}
	shift := bits.Len64(us) - 5 // leaves 16..31
	return min(shift*subBuckets+int(us>>shift), buckets-1)
}

// middle is the middle of bucket i.
func middle(i int) time.Duration {
	if i < subBuckets {
		return time.Duration(i)*time.Microsecond + 500
	}
	shift := i/subBuckets - 1
	low := uint64(i-shift*subBuckets) << shift
	return time.Duration(low)*time.Microsecond + time.Duration(uint64(1)<<shift)*time.Microsecond/2
}

// window counts the durations of the last period and of the one before it, so
// that its quantiles are of the last one to two periods.
type window struct {
	now, last histogram
	period    atomic.Int64 // number of the period that now counts
}

// latencyPeriod is the period of a window.
const latencyPeriod = 10 * time.Second

func (w *window) record(now int64, d time.Duration) {
	w.turn(now)
	w.now.record(d)
}

// turn begins a new period when it is due. A record that comes at the same
// moment may be lost.
func (w *window) turn(now int64) {
	period := now / int64(latencyPeriod)
	was := w.period.Load()
	if was == period || !w.period.CompareAndSwap(was, period) {
		return
	}
	for i := range w.now.n {
		n := w.now.n[i].Swap(0)
		if period != was+1 {
			n = 0
		}
		w.last.n[i].Store(n)
	}
}

// latency is the quantiles at now.
func (w *window) latency(now int64) Latency {
	w.turn(now)
	var all [buckets]uint64
	total := uint64(0)
	for i := range all {
		all[i] = w.now.n[i].Load() + w.last.n[i].Load()
		total += all[i]
	}
	return Latency{
		Count: total,
		P50:   Duration(quantile(all[:], total, 50)),
		P95:   Duration(quantile(all[:], total, 95)),
		P99:   Duration(quantile(all[:], total, 99)),
	}
}

// quantile is the middle of the bucket in which the pct-th percentile lies.
func quantile(counts []uint64, total uint64, pct uint64) time.Duration {
	if total == 0 {
		return 0
	}
	rank := (total*pct + 99) / 100 // nearest rank, from 1
	for i, n := range counts {
		if rank <= n {
			return middle(i)
		}
		rank -= n
	}
	return middle(len(counts) - 1)
}

// rates counts events by the second.
type rates struct {
	total atomic.Uint64
	slots [16]struct {
		second atomic.Int64
		n      atomic.Uint64
	}
}

func (r *rates) add(now int64) {
	r.total.Add(1)
	second := now / 1e9
	s := &r.slots[second&15]
	if was := s.second.Load(); was != second && s.second.CompareAndSwap(was, second) {
		s.n.Store(0) // an event of this moment may be lost
	}
	s.n.Add(1)
}

// last is the count of the n whole seconds before now, and with current that of
// the one that runs as well. n is at most 14.
func (r *rates) last(now int64, n int64, current bool) (sum uint64) {
	second := now / 1e9
	from, to := second-n, second-1
	if current {
		to = second
	}
	for i := range r.slots {
		if at := r.slots[i].second.Load(); at >= from && at <= to {
			sum += r.slots[i].n.Load()
		}
	}
	return sum
}
