package args

import "testing"

func TestParseLimit(t *testing.T) {
	for text, want := range map[string]struct {
		target, figure string
		broken, kept   float64
	}{
		"slo_violation > 1%":          {"", "slo_violation", 1.1, 1},
		"slo_violation>=1":            {"", "slo_violation", 1, 0.9},
		"vm.node cost_ratio <= 0.5":   {"vm.node", "cost_ratio", 0.5, 0.6},
		"function.web changes < 10 ":  {"function.web", "changes", 9, 10},
		"  ready_p95_s   >   1.5e1  ": {"", "ready_p95_s", 16, 15},
	} {
		l, err := ParseLimit(text)
		if err != nil || l.Target != want.target || l.Figure != want.figure || !l.Broken(want.broken) || l.Broken(want.kept) {
			t.Errorf("%q is %+v, %v", text, l, err)
		}
	}
	for _, text := range []string{"", "slo_violation", "> 1", "a b c > 1", "x > one", "x > 1 > 2", "x = 1"} {
		if l, err := ParseLimit(text); err == nil {
			t.Errorf("%q is taken as %+v", text, l)
		}
	}
}
