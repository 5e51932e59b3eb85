package main

import (
	"testing"

	"github.com/flowctl/flowctl/engine"
)

// What an order has done is told by the replicas and machines that it was about, not by
// their places in frontends, which go and come with them.
func TestWhatAnOrderDidIsCounted(t *testing.T) {
	replica, place := engine.Addr(engine.KindFunction, "web"), engine.Addr(engine.KindBackend, "www/web")
	plan := func(actions ...engine.Action) engine.Plan {
		p := engine.Plan{Ordered: true}
		for i, a := range actions {
			p.Changes = append(p.Changes, engine.Change{Address: replica.At(i), Action: a}, engine.Change{Address: place.At(i), Action: engine.Replace})
		}
		return p
	}
	for _, c := range []struct {
		plan engine.Plan
		want string
	}{
		{plan(engine.Restart, engine.Restart), "2 restarted"},
		{plan(engine.Replace, engine.Replace), "2 replaced"},
		{plan(engine.Restart, engine.Replace, engine.Replace), "1 restarted, 2 replaced"},
		{plan(engine.NoOp), ""},
		{engine.Plan{Changes: plan(engine.Replace).Changes}, ""},
	} {
		if got := obeyed("restart", c.plan); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
