package docs

import (
	"encoding/json"
	"testing"
)

// What docs/scaling.md claims: on none of the four loads, for containers and for
// machines, is one of the peers' settings better in both, missed requests and
// cost.
func TestNoPeerIsBetterInBoth(t *testing.T) {
	dir := workshop(t)
	for _, boot := range []string{"-boot=3s", "-boot=45s"} {
		for _, shape := range []string{"spike", "step", "noisy-diurnal", "on-off"} {
			text, err := flowctl(t, dir, "simulate", "-json", "-repeat=3", boot, "-drain=30s", "-shape="+shape, "-compare=hpa.hcl", "-compare=kpa.hcl", "-compare=nomad.hcl", "ours.hcl")
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			var sim struct {
				Specs []struct {
					Spec   string
					Groups []struct {
						Figures struct {
							Missed float64 `json:"slo_violation"`
							Cost   float64 `json:"cost_ratio"`
						}
					}
				}
			}
			if err := json.Unmarshal([]byte(text), &sim); err != nil {
				t.Fatal(err)
			}
			ours := sim.Specs[0].Groups[0].Figures
			for _, s := range sim.Specs[1:] {
				if f := s.Groups[0].Figures; f.Missed <= ours.Missed && f.Cost <= ours.Cost {
					t.Errorf("%s %s: %s misses %.4f %% at %.3f, flowctl %.4f %% at %.3f", shape, boot, s.Spec, f.Missed, f.Cost, ours.Missed, ours.Cost)
				}
			}
		}
	}
}
