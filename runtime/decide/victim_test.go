package decide_test

import (
	"slices"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/runtime/decide"
)

func TestVictims(t *testing.T) {
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	units := []decide.Unit{
		{N: 0, Started: at(0), Ready: true, InFlight: 3, Load: 0.9},
		{N: 1, Started: at(1), Ready: true},
		{N: 2, Started: at(2), Ready: true, InFlight: 1, Load: 0.5},
		{N: 3, Started: at(3), Ready: true, InFlight: 1, Load: 0.2},
		{N: 4, Started: at(1), Ready: false},
	}
	for _, c := range []struct {
		victim  string
		protect bool
		want    []int
	}{
		{"newest", false, []int{4, 3, 2, 1}},
		{"oldest", false, []int{4, 0, 1, 2}},
		{"idle", false, []int{4, 1, 3, 2}},
		{"least_busy", false, []int{4, 1, 3, 2}},
		{"oldest", true, []int{4, 1}},
	} {
		if got := decide.Victims(rule.Rule{Victim: c.victim, Protect: c.protect}, units, 4); !slices.Equal(got, c.want) {
			t.Errorf("%s, protected %v: %v go, want %v", c.victim, c.protect, got, c.want)
		}
	}
	if got := decide.Victims(rule.Rule{}, units, -1); len(got) != 0 {
		t.Errorf("%v go, want none", got)
	}
}
