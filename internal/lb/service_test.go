package lb

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlowStartRamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, balance := range []string{RoundRobin, LeastConn, P2C, Random} {
			f := Frontend{Balance: balance, SlowStart: seconds(10), Backends: someBackends("a")}
			p := newTestPool(t, f)
			time.Sleep(20 * time.Second)
			f.Backends = someBackends("a b")
			p.apply(compile(f), false)
			for s := range 11 {
				synctest.Wait()
				part := max(0.1, float64(s)/10)
				want := part / (1 + part)
				if got := float64(chosen(t, p, 4000)["b"]) / 4000; got < want-0.03 || got > want+0.03 {
					t.Errorf("%s: %d s after joining b gets %.3f, want %.3f", balance, s, got, want)
				}
				time.Sleep(time.Second)
			}
			p.close()
		}
	})
}

func TestHealthDecidesWhoIsInService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Frontend{
			Balance: RoundRobin, Queue: Queue{Size: -1}, Backends: someBackends("a b c"),
			Health: &Health{Interval: seconds(1), HealthyAfter: 2, UnhealthyAfter: 3},
		}
		f.Backends[0].Ready = true
		sick := map[string]bool{f.Backends[2].Address: true}
		var mu sync.Mutex
		p := newPool(newClock(), func(string) string { return "" }, func(*backend, string, string) {})
		p.probe = func(_ context.Context, addr string) error {
			mu.Lock()
			defer mu.Unlock()
			if sick[addr] {
				return errors.New("sick")
			}
			return nil
		}
		defer p.close()
		p.apply(compile(f), false)
		if got := states(p); got != "a ready, b joining, c joining" {
			t.Errorf("at first: %s", got)
		}
		if got := chosen(t, p, 4); got["a"] != 4 {
			t.Errorf("at first chosen: %v", got)
		}
		time.Sleep(3 * time.Second)
		if got := states(p); got != "a ready, b ready, c joining" {
			t.Errorf("after two checks: %s", got)
		}
		mu.Lock()
		sick[f.Backends[1].Address], sick[f.Backends[2].Address] = true, false
		mu.Unlock()
		time.Sleep(5 * time.Second)
		if got := states(p); got != "a ready, b unhealthy, c ready" {
			t.Errorf("after b fell sick and c got well: %s", got)
		}
		if got := chosen(t, p, 4); got["b"] != 0 {
			t.Errorf("chosen: %v", got)
		}
		f.Health = nil
		p.apply(compile(f), false)
		if got := states(p); got != "a ready, b ready, c ready" {
			t.Errorf("without checks: %s", got)
		}
	})
}

func TestEjectionAndPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Frontend{
			Balance: RoundRobin, Queue: Queue{Size: -1}, Backends: someBackends("a b c d"),
			Eject: Eject{ConsecutiveErrors: 3, BaseTime: seconds(10), MaxPercent: 75, PanicPercent: 50},
		}
		p := newTestPool(t, f)
		fail := func(id string, n int) {
			for range n {
				p.punish(p.backends[id], failedConnect)
			}
		}
		fail("a", 2)
		p.judge(p.backends["a"], 200)
		fail("a", 2)
		if got := chosen(t, p, 8); got["a"] != 2 {
			t.Errorf("failures not in a row: %v", got)
		}
		fail("a", 1)
		if got := chosen(t, p, 9); got["a"] != 0 || got["b"] != 3 {
			t.Errorf("a ejected: %v", got)
		}
		fail("b", 3)
		if got := states(p); got != "a ejected, b ejected, c ready, d ready" {
			t.Errorf("states: %s", got)
		}
		if got := chosen(t, p, 8); got["c"] != 4 {
			t.Errorf("half is in service, which is enough: %v", got)
		}
		fail("c", 3)
		if got := chosen(t, p, 8); got["a"] != 2 || got["d"] != 2 {
			t.Errorf("a quarter is in service, so all are used: %v", got)
		}
		fail("d", 3)
		if got := states(p); !strings.Contains(got, "d ready") {
			t.Errorf("more than 75 %% ejected: %s", got)
		}
		time.Sleep(11 * time.Second)
		if got := chosen(t, p, 8); got["a"] != 2 || !strings.HasPrefix(states(p), "a ready, b ready, c ready") {
			t.Errorf("after their time: %v, %s", got, states(p))
		}
	})
}
