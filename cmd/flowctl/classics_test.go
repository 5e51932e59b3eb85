package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/load"
	"github.com/flowctl/flowctl/runtime/api"
)

// The rules of systems before flowctl, in examples/classics, make another replica, and
// the machine that it needs. How busy a processor can be made depends on who else
// uses it, so what counts as busy is next to nothing here, and times are shorter.
func TestClassics(t *testing.T) {
	for _, c := range []struct {
		name               string
		vars               []string
		replicas, machines int      // at least, once it is busy
		then               []string // variables with which it shrinks again, at the next apply; nil if it never does
	}{
		{"libvirt-autoscaler", []string{"overload=0.002"}, 2, 2, nil},
		{"vim-vmm", []string{"above=[0.0005, 0.001, 0.002]", "checks=4s"}, 4, 2, nil},
		{"tumblebug", []string{"out=0.002", "in=0.001", "tick=1s", "period=3s"}, 2, 2, []string{"out=0.99", "in=0.98", "tick=1s", "period=3s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("../../examples/classics", c.name+".hcl"))
			if err != nil {
				t.Fatal(err)
			}
			f, url := spiked(t, c.name, string(text), append(c.vars, "listen=127.0.0.1:0")...)
			l := load.Preset(load.Steady)
			l.Request.URL, l.Request.Timeout, l.MaxInFlight = url+"/fib/24", 2*time.Minute, 100
			busy, rest := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				r, err := load.Run(busy, l, nil)
				if err != nil || r.Failed() > 0 {
					t.Errorf("%v\n%s", err, load.Summary(r))
				}
			})
			until := func(what string, holds func(replicas, machines int) bool) {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
				defer cancel()
				var last api.Status
				held := false
				f.Follow(ctx, 200*time.Millisecond, func(s api.Status) {
					sizes := map[string]int{}
					for _, r := range s.Rules {
						sizes[r.Target[:3]] = r.Decision.Ready
					}
					if last = s; len(s.Rules) == 2 && holds(sizes["fun"], sizes["vm."]) {
						held = true
						cancel()
					}
				})
				if !held {
					t.Errorf("%s: %+v", what, last)
				}
			}
			until("it does not grow", func(r, m int) bool { return r >= c.replicas && m >= c.machines })
			rest()
			wg.Wait()
			if c.then != nil {
				f.Vars = append(c.then, "listen=127.0.0.1:0")
				if err := f.Apply(t.Context()); err != nil {
					t.Fatal(err)
				}
				until("it does not shrink", func(r, _ int) bool { return r == 1 })
			}
			if err := f.Destroy(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
