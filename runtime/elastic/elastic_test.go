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

// Every figure of the reference, worked out by hand.
func TestFigures(t *testing.T) {
	late := elastic.Series{ // three more are needed for four seconds; they are there after three, and stay
		Step: 1, Boot: 2, Over: 2, Max: 10, Warm: true,
		Need:   []int{1, 1, 4, 4, 4, 4, 1, 1, 1, 1},
		Ready:  []int{1, 1, 1, 1, 1, 4, 4, 4, 1, 1},
		Sized:  []int{1, 1, 1, 4, 4, 4, 4, 4, 1, 1},
		Paid:   []int{1, 1, 1, 4, 4, 4, 4, 4, 4, 1},
		Load:   []float64{10, 10, 40, 40, 40, 40, 10, 10, 10, 10},
		Served: []float64{10, 10, 10, 10, 10, 40, 10, 10, 10, 10},
	}
	restless := elastic.Series{ // two are needed all the while, and at last six of which four may be; a step is ten seconds
		Step: 10, Boot: 10, Over: 10, Max: 4, Warm: true,
		Need:  []int{2, 2, 2, 2, 2, 6},
		Ready: []int{2, 3, 2, 1, 2, 2},
		Sized: []int{3, 2, 1, 2, 2, 4},
		Paid:  []int{3, 3, 2, 2, 2, 4},
	}
	for _, c := range []struct {
		name   string
		of     elastic.Series
		figure func(elastic.Figures) float64
		want   float64
	}{
		{"under share", late, func(f elastic.Figures) float64 { return f.UnderShare }, 100. / 10 * 3 * (3. / 4)},
		{"over share", late, func(f elastic.Figures) float64 { return f.OverShare }, 100. / 10 * 2 * (3. / 1)},
		{"under units", late, func(f elastic.Figures) float64 { return f.UnderUnits }, 3 * 3 / 10.},
		{"over units", late, func(f elastic.Figures) float64 { return f.OverUnits }, 2 * 3 / 10.},
		{"time under", late, func(f elastic.Figures) float64 { return f.UnderTime }, 30},
		{"time over", late, func(f elastic.Figures) float64 { return f.OverTime }, 20},
		{"violation", late, func(f elastic.Figures) float64 { return f.SLOViolation }, 100 * 3 * 30 / 220.},
		{"seconds of it", late, func(f elastic.Figures) float64 { return f.ViolatedS }, 3},
		{"paid", late, func(f elastic.Figures) float64 { return f.UnitSeconds }, 1 + 1 + 1 + 6*4 + 1},
		{"oracle", late, func(f elastic.Figures) float64 { return f.Oracle }, 10 + 3*(4+2)},
		{"cost ratio", late, func(f elastic.Figures) float64 { return f.CostRatio }, 1},
		{"static", late, func(f elastic.Figures) float64 { return f.Static }, 4 * 10},
		{"causal", late, func(f elastic.Figures) float64 { return f.CausalUnder }, 100 * 2 / 10.}, // the step; what is needed at first is there
		{"order", late, func(f elastic.Figures) float64 { return f.OrderP50 }, 1},
		{"ready", late, func(f elastic.Figures) float64 { return f.ReadyP95 }, 3},
		{"release", late, func(f elastic.Figures) float64 { return f.ReleaseP50 }, 2},
		{"changes", late, func(f elastic.Figures) float64 { return float64(f.Changes) }, 2},
		{"flaps", late, func(f elastic.Figures) float64 { return float64(f.Flaps) }, 1},
		{"reversals", late, func(f elastic.Figures) float64 { return float64(f.Reversals) }, 1},
		{"jitter of who is late alone", late, func(f elastic.Figures) float64 { return f.Jitter }, 0},
		{"unavoidable", late, func(f elastic.Figures) float64 { return f.Unavoidable }, 0},

		{"under share, restless", restless, func(f elastic.Figures) float64 { return f.UnderShare }, 100. / 6 * (1./2 + 4./6)},
		{"over units, restless", restless, func(f elastic.Figures) float64 { return f.OverUnits }, 1. / 6},
		{"violation without load is of time", restless, func(f elastic.Figures) float64 { return f.SLOViolation }, 100 * 2 / 6.},
		{"seconds without load", restless, func(f elastic.Figures) float64 { return f.ViolatedS }, 20},
		{"paid, restless", restless, func(f elastic.Figures) float64 { return f.UnitSeconds }, 16 * 10},
		{"oracle up to the most", restless, func(f elastic.Figures) float64 { return f.Oracle }, 2*60 + 2*(10+10)},
		{"cost ratio, restless", restless, func(f elastic.Figures) float64 { return f.CostRatio }, 1},
		{"static, restless", restless, func(f elastic.Figures) float64 { return f.Static }, 6 * 60},
		{"unavoidable, restless", restless, func(f elastic.Figures) float64 { return f.Unavoidable }, 100 / 6.},
		{"changes, restless", restless, func(f elastic.Figures) float64 { return float64(f.Changes) }, 4},
		{"reversals, restless", restless, func(f elastic.Figures) float64 { return float64(f.Reversals) }, 1},
		{"jitter, restless", restless, func(f elastic.Figures) float64 { return f.Jitter }, 0}, // it moves by four, as the need does
		{"release, restless", restless, func(f elastic.Figures) float64 { return f.ReleaseP95 }, 10},
		{"order, restless", restless, func(f elastic.Figures) float64 { return f.OrderP50 }, 0},
		{"order at the latest", restless, func(f elastic.Figures) float64 { return f.OrderP95 }, 0},
		{"ready, of those that ended", restless, func(f elastic.Figures) float64 { return f.ReadyP50 }, 10},
	} {
		if got := c.figure(elastic.Measure(c.of)); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s is %v, want %v", c.name, got, c.want)
		}
	}
	calm := series(0, 2, 2, 2, 2, 2, 2)
	calm.Step, calm.Ready = 10, []int{2, 3, 2, 3, 2, 2}
	if got := elastic.Measure(calm).Jitter; got != 4 {
		t.Errorf("four moves in a minute without need are a jitter of %v", got)
	}
	calm.Need, calm.Ready = calm.Ready, calm.Need
	if got := elastic.Measure(calm).Jitter; got != -4 {
		t.Errorf("four needs in a minute that are not followed are a jitter of %v", got)
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
