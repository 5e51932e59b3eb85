package runtime_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime"
)

var web = engine.Addr(engine.KindFunction, "web")

func replicas(text string, n int) string {
	return strings.Replace(text, "function \"web\" {\n  on       = vm.node\n  replicas = 2", fmt.Sprintf("function \"web\" {\n  on       = vm.node\n  replicas = %d", n), 1)
}

// Whatever is edited and scaled in whatever order: the size is the last one set
// by hand as long as the spec says the same as then, else the spec's; and a
// second plan is empty.
func TestSizesByHand(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := newLab(t)
		spec := 2
		hand, at := runtime.SpecSize, 0
		l.apply(load(t, replicas(twoTier, spec)))
		for range 6 {
			r := runtime.Request{}
			switch rng.IntN(3) {
			case 0:
				spec = rng.IntN(5)
			case 1:
				hand, at = rng.IntN(5), spec
				r.Hands = map[engine.Address]int{web: hand}
			case 2:
				hand = runtime.SpecSize
				r.Hands = map[engine.Address]int{web: hand}
			}
			r.Desired = load(t, replicas(twoTier, spec))
			if _, err := l.try(r); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			want := spec
			if hand != runtime.SpecSize && at == spec {
				want = hand
			} else {
				hand = runtime.SpecSize // a size that ended does not come back
			}
			p := l.plan(r.Desired)
			n := 0
			for _, c := range p.Plan.Changes {
				if c.Address.Group() == web && c.Prior != nil {
					n++
				}
			}
			if n != want || !p.Plan.Empty() {
				t.Fatalf("seed %d: %d replicas, want %d (the spec says %d); then: %s", seed, n, want, spec, show(p.Plan))
			}
			if hands := p.Plan.HandSizes(); (len(hands) == 1) != (want != spec) {
				t.Fatalf("seed %d: sizes by hand: %v, the spec says %d and %d are wanted", seed, hands, spec, want)
			}
		}
	}
}

func TestASizeByHandIsRecordedBeforeAnythingIsMade(t *testing.T) {
	l := newLab(t)
	d := load(t, twoTier)
	l.apply(d)
	ctx, stop := context.WithCancel(context.Background())
	stop()
	lease := l.lock()
	p, _, err := l.flow.Plan(context.Background(), runtime.Request{Desired: d, Hands: map[engine.Address]int{web: 3}})
	if err != nil {
		t.Fatal(err)
	}
	if !p.Plan.Resizes([]engine.Address{web}) || p.Plan.Resizes(nil) {
		t.Error("the plan does not say that it changes sizes only")
	}
	if _, err := l.flow.Apply(ctx, context.Background(), lease, p, runtime.Options{Command: "scale"}); err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := show(l.plan(d).Plan); got != "+ function.web[2]\n+ backend.www/web[2]" {
		t.Errorf("after a run that was stopped at once, a plan is\n%s", got)
	}
}
