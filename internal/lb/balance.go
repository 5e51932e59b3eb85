package lb

import (
	"math"
	"slices"
	"sort"
	"sync/atomic"
)

// balancer chooses one of v's candidates that q takes, or nil. It changes
// nothing but v's turn; a caller that loses the race for the backend asks again.
type balancer func(v *view, q *query) *backend

var balancers = map[string]balancer{
	RoundRobin: roundRobin,
	LeastConn:  leastConn,
	P2C:        powerOfTwo,
	Hash:       rendezvous,
	Random:     random,
}

// candidate is a backend in service with its weight at the moment: the given
// one, or less while it starts slowly.
type candidate struct {
	b      *backend
	weight float64 // > 0
}

// view is the part of a group that is in service. Immutable, but for next.
type view struct {
	candidates []candidate // by ID
	wheel      []int32     // indices of candidates, by weight
	upTo       []float64   // sums of the weights before and with each
	even       bool        // all weights are alike
	next       *atomic.Uint32
	shared     *shared // nil if none of the candidates has a share of its own
}

func newView(cs []candidate, next *atomic.Uint32) *view {
	v := &view{candidates: cs, upTo: make([]float64, len(cs)), even: true, next: next}
	weights := make([]float64, len(cs))
	sum := 0.0
	for i, c := range cs {
		sum += c.weight
		weights[i], v.upTo[i] = c.weight, sum
		v.even = v.even && c.weight == cs[0].weight
	}
	v.wheel = wheel(weights)
	return v
}

func (v *view) total() float64 { return v.upTo[len(v.upTo)-1] }

// query is what a choice depends on, besides the candidates.
type query struct {
	key    uint64 // what Hash hashes
	hasKey bool
	tried  []*backend // not to be chosen
	limit  int64      // of requests in flight per backend; 0 is none
	now    int64      // ns, for the age of latencies
	rnd    func() uint64
}

func (q *query) takes(b *backend) bool {
	return !b.draining.Load() && (q.limit == 0 || b.inFlight.Load() < q.limit) && !slices.Contains(q.tried, b)
}

// float is a random number in [0, 1).
func (q *query) float() float64 { return float64(q.rnd()>>11) / (1 << 53) }

func roundRobin(v *view, q *query) *backend {
	start := int(v.next.Add(1) - 1)
	for i := range v.wheel {
		if b := v.candidates[v.wheel[(start+i)%len(v.wheel)]].b; q.takes(b) {
			return b
		}
	}
	return nil
}

// leastConn breaks ties by the turn of a round robin, as nginx does, so that
// weights count on an idle frontend too.
func leastConn(v *view, q *query) *backend {
	start := int(v.wheel[int(v.next.Add(1)-1)%len(v.wheel)])
	var best *backend
	least := math.Inf(1)
	for i := range v.candidates {
		c := v.candidates[(start+i)%len(v.candidates)]
		if load := float64(c.b.inFlight.Load()) / c.weight; load < least && q.takes(c.b) {
			best, least = c.b, load
		}
	}
	return best
}

// clearlyLess keeps powerOfTwo from sending everything to a backend that is
// faster by a hair: a cost counts as less only when it is a fifth less.
const clearlyLess = 0.8

// powerOfTwo draws two candidates by weight and takes the one of less cost:
// latency × in flight (Mitzenmacher 2001; the latency is Finagle's peak EWMA).
func powerOfTwo(v *view, q *query) *backend {
	a, b := v.draw(q), v.draw(q)
	okA, okB := q.takes(a.b), q.takes(b.b)
	switch {
	case !okA && !okB:
		return leastConn(v, q)
	case !okB:
		return a.b
	case !okA:
		return b.b
	}
	if a.b == b.b && len(v.candidates) > 1 && a.b.inFlight.Load() > 0 {
		return leastOf(v, q, a, v.draw(q)) // twice the same: one more draw, when it matters
	}
	return leastOf(v, q, a, b)
}

func leastOf(v *view, q *query, a, b candidate) *backend {
	if a.b == b.b || !q.takes(b.b) {
		return a.b
	}
	mean := v.total() / float64(len(v.candidates))
	costA := float64(a.b.inFlight.Load())/a.weight + 1/mean
	costB := float64(b.b.inFlight.Load())/b.weight + 1/mean
	if la, lb := a.b.latency.at(q.now), b.b.latency.at(q.now); la > 0 && lb > 0 {
		costA, costB = costA*la, costB*lb
	}
	if costB < costA*clearlyLess {
		return b.b
	}
	return a.b
}

// draw is a candidate at random, by weight.
func (v *view) draw(q *query) candidate {
	if v.even {
		return v.candidates[q.rnd()%uint64(len(v.candidates))]
	}
	i := sort.SearchFloat64s(v.upTo, q.float()*v.total())
	return v.candidates[min(i, len(v.candidates)-1)]
}

func random(v *view, q *query) *backend {
	for range 4 {
		if c := v.draw(q); q.takes(c.b) {
			return c.b
		}
	}
	return leastConn(v, q)
}

// Bounded load, after Mirrokni, Thorup and Zadimoghaddam (2016): a backend is
// passed over at more than boundedLoad times its share of what is in flight, but
// not before boundedFrom, so that an idle frontend keeps affinity.
const (
	boundedLoad = 1.25
	boundedFrom = 8
)

// rendezvous is highest-random-weight hashing (Thaler and Ravishankar 1998) with
// weights (Schindelhauer and Schomaker 2005): a change of membership moves only
// the keys of the backends that changed.
func rendezvous(v *view, q *query) *backend {
	if !q.hasKey {
		return powerOfTwo(v, q)
	}
	inFlight := int64(1)
	for _, c := range v.candidates {
		inFlight += c.b.inFlight.Load()
	}
	var within, best *backend // the best with load within its bound; the best of all
	highWithin, high := math.Inf(-1), math.Inf(-1)
	for _, c := range v.candidates {
		score := c.score(q.key, v.even)
		if score <= highWithin || !q.takes(c.b) {
			continue
		}
		if score > high {
			best, high = c.b, score
		}
		bound := math.Ceil(boundedLoad * float64(inFlight) * c.weight / v.total())
		if float64(c.b.inFlight.Load()+1) <= max(bound, boundedFrom) {
			within, highWithin = c.b, score
		}
	}
	if within != nil {
		return within
	}
	return best
}

// score is the candidate's claim to the key; with even weights their logarithm
// can be spared, as it changes no order.
func (c candidate) score(key uint64, even bool) float64 {
	u := (float64(mix(key^c.b.hash)>>11) + 0.5) / (1 << 53)
	if even {
		return u
	}
	return -c.weight / math.Log(u)
}
