package main

import (
	"testing"

	"github.com/flowctl/flowctl/runtime/api"
)

// A hold that has ended is not told of, although the controller has not looked since.
func TestAHoldThatHasEndedIsNotTold(t *testing.T) {
	const why = "the last apply has not been finished"
	rules := []api.Rule{{Rule: "web"}}
	for _, c := range []struct {
		name      string
		told      api.Status
		held      string // in the state
		want      string
		waiting   bool
		wantRules int
	}{
		{"none", api.Status{Rules: rules}, "", "", false, 1},
		{"it lasts", api.Status{Held: why, Rules: rules}, why, why, false, 1},
		{"it has ended", api.Status{Held: why, Rules: rules}, "", "", true, 0},
		{"it has begun", api.Status{Rules: rules}, why, "", false, 1},
	} {
		got := abreast(&c.told, c.held)
		if got.Held != c.want || (got.Waiting != "") != c.waiting || len(got.Rules) != c.wantRules {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	if abreast(nil, "") != nil {
		t.Error("a controller that does not answer tells something")
	}
}
