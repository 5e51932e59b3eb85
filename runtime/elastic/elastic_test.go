package elastic_test

import (
	"math"
	"testing"

	"github.com/flowctl/flowctl/runtime/elastic"
	"pgregory.net/rapid"
)

func series(over float64, need ...int) elastic.Series {
	return elastic.Series{Step: 1, Need: need, Ready: need, Sized: need, Paid: need, Over: over, Boot: over, Max: 1000}
}

func TestTheOracleHoldsOverShortGapsOnly(t *testing.T) {
	for over, want := range map[float64]float64{2: 12, 1: 8, 0: 4} {
		if got := elastic.Measure(series(over, 2, 0, 0, 2)).Oracle; got != want {
			t.Errorf("with %v a start it pays %v, want %v", over, got, want)
		}
	}
}

// best is the least cost of one level by trying everything: on or off at each step.
func best(need []int, k int, over float64) float64 {
	on, off := math.Inf(1), 0.0
	for _, n := range need {
		nextOn := min(on, off+over) + 1
		nextOff := min(on, off)
		if n >= k {
			nextOff = math.Inf(1)
		}
		on, off = nextOn, nextOff
	}
	return min(on, off)
}

func TestTheOracleIsOptimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		need := rapid.SliceOfN(rapid.IntRange(0, 4), 1, 40).Draw(t, "need")
		over := float64(rapid.IntRange(0, 6).Draw(t, "over"))
		want := 0.0
		for k := 1; k <= 4; k++ {
			want += best(need, k, over)
		}
		if got := elastic.Measure(series(over, need...)).Oracle; got != want {
			t.Fatalf("pays %v, the least is %v", got, want)
		}
	})
}

// Stopping what has been idle for as long as a start costs pays at most twice
// what the oracle pays for idling and starting.
func TestStoppingAfterTheCostOfAStartIsTwiceTheOracleAtMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		need := rapid.SliceOfN(rapid.IntRange(0, 1), 1, 60).Draw(t, "need")
		over := float64(rapid.IntRange(1, 8).Draw(t, "over"))
		busy, mine, idle, on := 0.0, 0.0, 0.0, false
		for _, n := range need {
			switch {
			case n == 1 && !on:
				mine, on, idle = mine+over, true, 0
			case n == 1:
				idle = 0
			case on && idle < over:
				mine, idle = mine+1, idle+1
			default:
				on = false
			}
			busy += float64(n)
		}
		if oracle := elastic.Measure(series(over, need...)).Oracle - busy; mine > 2*oracle {
			t.Fatalf("pays %v, the oracle %v", mine, oracle)
		}
	})
}

func TestFigures(t *testing.T) {
	s := elastic.Series{
		Step: 1, Boot: 2, Over: 2, Max: 10, Warm: true,
		Need:   []int{1, 1, 4, 4, 4, 4, 1, 1, 1, 1},
		Ready:  []int{1, 1, 1, 1, 1, 4, 4, 4, 1, 1},
		Sized:  []int{1, 1, 1, 4, 4, 4, 4, 4, 1, 1},
		Paid:   []int{1, 1, 1, 4, 4, 4, 4, 4, 4, 1},
		Load:   []float64{10, 10, 40, 40, 40, 40, 10, 10, 10, 10},
		Served: []float64{10, 10, 10, 10, 10, 40, 10, 10, 10, 10},
	}
	f := elastic.Measure(s)
	near := func(name string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	near("under", f.UnderShare, 10*3*0.75)
	near("over", f.OverShare, 10*2*3)
	near("time under", f.UnderTime, 30)
	near("time over", f.OverTime, 20)
	near("violation", f.SLOViolation, 100*90/220.)
	near("paid", f.UnitSeconds, 28)
	near("oracle", f.Oracle, 10+3*(4+2))
	near("static", f.Static, 40)
	near("causal", f.CausalUnder, 100*2/10.) // the step; what is needed at first is there
	near("order", f.OrderP50, 1)
	near("ready", f.ReadyP95, 3)
	if f.Changes != 2 || f.Flaps != 1 {
		t.Errorf("%d changes, %d flaps", f.Changes, f.Flaps)
	}
}

// Who follows the need exactly misses nothing and has nothing too much.
func TestWhoFollowsTheNeedIsWithoutFault(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := elastic.Measure(series(3, rapid.SliceOfN(rapid.IntRange(0, 9), 1, 50).Draw(t, "need")...))
		if f.UnderShare+f.OverShare+f.UnderTime+f.OverTime+f.SLOViolation+f.Jitter+f.ReadyP95 != 0 {
			t.Fatalf("%+v", f)
		}
	})
}

func TestMedian(t *testing.T) {
	f := elastic.Median([]elastic.Figures{{Changes: 3, CostRatio: 1.5}, {Changes: 9, CostRatio: 1.1}, {Changes: 4, CostRatio: 7}})
	if want := (elastic.Figures{Changes: 4, CostRatio: 1.5}); f != want {
		t.Errorf("median is %+v", f)
	}
}
