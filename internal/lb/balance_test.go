package lb

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// testView makes a view of backends a, b, c … with the weights.
func testView(weights ...float64) *view {
	var cs []candidate
	for i, w := range weights {
		id := string(rune('a' + i))
		cs = append(cs, candidate{&backend{id: id, hash: hash64(id)}, w})
	}
	return newView(cs, new(atomic.Uint32))
}

func testQuery(seed uint64) *query {
	r := rand.New(rand.NewPCG(seed, 0))
	return &query{rnd: r.Uint64}
}

// shares chooses n times and returns each candidate's part.
func shares(choose balancer, v *view, q *query, n int) map[string]float64 {
	got := map[string]float64{}
	for i := range n {
		q.key = mix(uint64(i))
		got[choose(v, q).id] += 1 / float64(n)
	}
	return got
}

func TestBalancersGiveSharesByWeight(t *testing.T) {
	for name, choose := range balancers {
		for _, weights := range [][]float64{{1, 1, 1}, {4, 1}, {1, 2, 5}, {0.1, 1, 1}} {
			v, q, sum := testView(weights...), testQuery(1), 0.0
			q.hasKey = true
			for _, w := range weights {
				sum += w
			}
			got := shares(choose, v, q, 20_000)
			for i, w := range weights {
				if id := string(rune('a' + i)); math.Abs(got[id]-w/sum) > 0.015 {
					t.Errorf("%s of %v: %s got %.3f, want %.3f", name, weights, id, got[id], w/sum)
				}
			}
		}
	}
}

func TestBalancersAreDeterministicForASeed(t *testing.T) {
	for name, choose := range balancers {
		run := func() (s string) {
			v, q := testView(1, 2, 3), testQuery(7)
			for range 50 {
				s += choose(v, q).id
			}
			return s
		}
		if a, b := run(), run(); a != b {
			t.Errorf("%s: %s, then %s", name, a, b)
		}
	}
}

func TestBalancersPassOverWhatMayNotBeChosen(t *testing.T) {
	for name, choose := range balancers {
		v, q := testView(1, 3, 1, 1), testQuery(2)
		q.limit, q.hasKey = 2, true
		v.candidates[0].b.draining.Store(true)
		v.candidates[1].b.inFlight.Store(2)
		q.tried = []*backend{v.candidates[2].b}
		for i := range 200 {
			q.key = mix(uint64(i))
			if b := choose(v, q); b == nil || b.id != "d" {
				t.Fatalf("%s chose %v, want d, the only one left", name, b)
			}
		}
		v.candidates[3].b.inFlight.Store(2)
		if b := choose(v, q); b != nil {
			t.Errorf("%s chose %s, want none", name, b.id)
		}
	}
}

func TestLeastConnCountsInFlightByWeight(t *testing.T) {
	v, q := testView(1, 3), testQuery(1)
	v.candidates[0].b.inFlight.Store(1)
	v.candidates[1].b.inFlight.Store(2)
	for range 10 {
		if b := leastConn(v, q); b.id != "b" {
			t.Fatalf("chose %s: 1 in flight of weight 1 is more than 2 of 3", b.id)
		}
	}
}

func TestPowerOfTwoAvoidsSlowAndBusy(t *testing.T) {
	v, q := testView(1, 1), testQuery(3)
	q.now = int64(time.Hour)
	a, b := v.candidates[0].b, v.candidates[1].b
	a.latency.observe(q.now, 50*time.Millisecond)
	b.latency.observe(q.now, 5*time.Millisecond)
	if got := shares(powerOfTwo, v, q, 10_000); got["a"] > 0.27 {
		t.Errorf("the slow one got %.2f, want only the draws of itself twice: 0.25", got["a"])
	}
	b.inFlight.Store(20)
	if got := shares(powerOfTwo, v, q, 10_000); got["a"] < 0.7 {
		t.Errorf("the slow idle one got %.2f beside the fast one with 20 in flight", got["a"])
	}
}

func TestPeakEWMA(t *testing.T) {
	var p peakEWMA
	at := int64(time.Hour)
	if p.at(at) != 0 {
		t.Error("an estimate without an answer")
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > want*0.02 {
			t.Errorf("%s: %.0f µs, want %.0f", what, got, want)
		}
	}
	p.observe(at, 10*time.Millisecond)
	near("first answer", p.at(at), 10_000)
	p.observe(at, 100*time.Millisecond)
	near("slower answer counts in full", p.at(at), 100_000)
	p.observe(at, time.Millisecond)
	near("faster answer at the same moment counts nothing", p.at(at), 100_000)
	near("fades", p.at(at+int64(latencyMemory)), 100_000/math.E)
	p.observe(at+int64(latencyMemory), time.Millisecond)
	near("faster answer later", p.at(at+int64(latencyMemory)), 100_000/math.E+1000*(1-1/math.E))
}

func TestRendezvousMovesOnlyTheKeysOfWhoLeft(t *testing.T) {
	all, q := testView(1, 1, 1, 1, 1), testQuery(1)
	fewer := newView(append(append([]candidate{}, all.candidates[:2]...), all.candidates[3:]...), new(atomic.Uint32))
	heavier := testView(1, 2, 1, 1, 1)
	q.hasKey = true
	const n = 10_000
	moved := 0
	for i := range n {
		q.key = hash64(fmt.Sprint("user-", i))
		was := rendezvous(all, q).id
		if now := rendezvous(fewer, q).id; was != "c" && now != was {
			t.Fatalf("key %d moved from %s to %s though only c left", i, was, now)
		}
		now := rendezvous(heavier, q).id
		if now != was && now != "b" {
			t.Fatalf("key %d moved from %s to %s though only b grew", i, was, now)
		}
		if now != was {
			moved++
		}
	}
	if part := float64(moved) / n; math.Abs(part-(2.0/6-1.0/5)) > 0.02 {
		t.Errorf("%.3f of the keys moved to b, want 2/6 - 1/5", part)
	}
}

func TestRendezvousBoundsLoad(t *testing.T) {
	v, q := testView(1, 1, 1, 1), testQuery(1)
	q.hasKey, q.key = true, hash64("hot")
	for range 100 {
		rendezvous(v, q).inFlight.Add(1)
	}
	var loads []string
	for _, c := range v.candidates {
		n := c.b.inFlight.Load()
		if n > 32 { // 1.25 × a quarter, rounded up
			t.Errorf("%s has %d of 100 requests of one key", c.b.id, n)
		}
		loads = append(loads, fmt.Sprint(n))
	}
	for _, c := range v.candidates {
		c.b.inFlight.Store(0)
	}
	home := rendezvous(v, q)
	home.inFlight.Store(boundedFrom - 1)
	if b := rendezvous(v, q); b != home {
		t.Errorf("affinity was given up at %d in flight (%s)", boundedFrom-1, strings.Join(loads, " "))
	}
}

func TestHashKeys(t *testing.T) {
	r := httptest.NewRequest("GET", "/path?q", nil)
	r.RemoteAddr = "10.0.0.1:1234"
	r.Header.Set("X-User", "ann")
	r.AddCookie(&http.Cookie{Name: "sid", Value: "42"})
	for spec, value := range map[string]string{
		"source": "10.0.0.1", "path": "/path", "header:x-user": "ann", "cookie:sid": "42", "header:x-none": "", "cookie:none": "",
	} {
		kind, name, err := parseHashKey(spec)
		if err != nil {
			t.Fatal(err)
		}
		key, ok := requestKey(kind, name, r)
		if ok != (value != "") || ok && key != hash64(value) {
			t.Errorf("%s: key %x, %t, want that of %q", spec, key, ok, value)
		}
	}
	for _, bad := range []string{"", "header", "header:", "cookie:a b", "source:x", "body"} {
		if _, _, err := parseHashKey(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func BenchmarkBalance(b *testing.B) {
	for name, choose := range balancers {
		for _, n := range []int{4, 100} {
			b.Run(fmt.Sprint(name, "/", n), func(b *testing.B) {
				v, q := testView(make([]float64, n)...), testQuery(1)
				for i := range v.candidates {
					v.candidates[i].weight = 1
					v.candidates[i].b.latency.observe(1, time.Millisecond)
				}
				v = newView(v.candidates, new(atomic.Uint32))
				q.hasKey = true
				for b.Loop() {
					q.key++
					choose(v, q)
				}
			})
		}
	}
}
