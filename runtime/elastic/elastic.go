// Package elastic measures how well a size followed what was needed. It is pure.
//
// The figures are those of the elasticity benchmarks of the SPEC research group,
// in the form of BUNGEE (tools.descartes.bungee, package metric), and two
// oracles: one that knows the future, as the least that could be paid, and one
// that does not, as the least that can be violated. Start with Measure.
package elastic

import (
	"math"
	"reflect"
	"slices"
)

// Series is what happened, one value a step. All slices are of one length.
type Series struct {
	Step   float64   // seconds
	Need   []int     // units that would have been enough
	Ready  []int     // units that worked
	Sized  []int     // units that were ordered, ready or not
	Paid   []int     // units that cost: ordered, ready or draining
	Load   []float64 // requests a second; nil where there are none
	Served []float64 // how much of it found room at once
	Boot   float64   // seconds from ordered to ready
	Over   float64   // seconds that a start costs beside being ready: booting and draining
	Max    int       // the most units allowed
	Warm   bool      // what is needed in the first step is there, and costs no start
}

// Figures say how well it went. Shares are in percent.
type Figures struct {
	UnderShare   float64 // accuracy: units missing, in percent of the need, over time
	OverShare    float64 // units too many, likewise
	UnderTime    float64 // share of time with units missing
	OverTime     float64 // share of time with units too many
	UnderUnits   float64 // units missing, in the mean over time: BUNGEE's accuracy
	OverUnits    float64 // units too many, likewise
	SLOViolation float64 // share of requests that found no room at once; of time, if there is no load
	ViolatedS    float64 // seconds in which requests found no room at once; in which units were missing, if there is no load
	UnitSeconds  float64 // paid
	Oracle       float64 // unit-seconds that whoever knows the future would pay
	CostRatio    float64 // paid to the oracle's
	Static       float64 // unit-seconds of the greatest need, all the time
	CausalUnder  float64 // share of time in which even the fastest who does not know the future misses units
	Unavoidable  float64 // share of time in which the need is beyond Max
	Changes      int     // of the size
	Flaps        int     // growth that is taken back within twice the boot time, and a minute at least
	Reversals    int     // how often a change of the size goes the other way than the one before
	Jitter       float64 // per minute: unit changes of the supply above those of the need
	OrderP50     float64 // seconds from a lack to its order
	OrderP95     float64
	ReadyP50     float64 // seconds from a lack to its end
	ReadyP95     float64
	ReleaseP50   float64 // seconds from units too many to just enough
	ReleaseP95   float64
}

// Measure works out the figures.
func Measure(s Series) Figures {
	f := Figures{}
	n := float64(max(len(s.Need), 1))
	for i, need := range s.Need {
		ready, per := s.Ready[i], float64(max(need, 1))
		f.UnderShare += float64(max(need-ready, 0)) / per
		f.OverShare += float64(max(ready-need, 0)) / per
		f.UnderUnits += float64(max(need-ready, 0)) / n
		f.OverUnits += float64(max(ready-need, 0)) / n
		f.UnderTime += one(ready < need)
		f.OverTime += one(ready > need)
		f.Unavoidable += one(need > s.Max)
		f.UnitSeconds += float64(s.Paid[i]) * s.Step
	}
	for _, x := range []*float64{&f.UnderShare, &f.OverShare, &f.UnderTime, &f.OverTime, &f.Unavoidable} {
		*x *= 100 / n
	}
	f.SLOViolation, f.ViolatedS = s.violated(f.UnderTime)
	f.Oracle, f.CausalUnder = s.oracles()
	if f.Oracle > 0 {
		f.CostRatio = f.UnitSeconds / f.Oracle
	}
	if len(s.Need) > 0 {
		f.Static = float64(slices.Max(s.Need)) * n * s.Step
	}
	f.Changes, f.Flaps, f.Reversals = s.changes()
	f.Jitter = (moves(s.Ready) - moves(s.Need)) / (n * s.Step / 60)
	orders, ends := s.reactions()
	releases := s.releases()
	f.OrderP50, f.OrderP95 = quantile(orders, 0.5), quantile(orders, 0.95)
	f.ReadyP50, f.ReadyP95 = quantile(ends, 0.5), quantile(ends, 0.95)
	f.ReleaseP50, f.ReleaseP95 = quantile(releases, 0.5), quantile(releases, 0.95)
	return f
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// violated is the share of requests that found no room, and for how many seconds there
// were any.
func (s Series) violated(time float64) (share, seconds float64) {
	if s.Load == nil {
		return time, time / 100 * float64(len(s.Need)) * s.Step
	}
	load, served := 0.0, 0.0
	for i, l := range s.Load {
		load, served = load+l, served+s.Served[i]
		seconds += one(s.Served[i] < l) * s.Step
	}
	if load == 0 {
		return 0, seconds
	}
	return 100 * (load - served) / load, seconds
}

// changes counts changes of the size, those that were for nothing, and those that go
// the other way than the one before.
func (s Series) changes() (all, flaps, reversals int) {
	soon := max(2*s.Boot, 60) / s.Step
	grown := math.Inf(-1)
	before := 0
	for i := 1; i < len(s.Sized); i++ {
		d := s.Sized[i] - s.Sized[i-1]
		if d*before < 0 {
			reversals++
		}
		if d != 0 {
			before = d
		}
		switch {
		case d > 0:
			all, grown = all+1, float64(i)
		case d < 0:
			all++
			if float64(i)-grown <= soon {
				flaps++
				grown = math.Inf(-1)
			}
		}
	}
	return all, flaps, reversals
}

// moves sums up how far a series moves.
func moves(series []int) float64 {
	sum := 0
	for i := 1; i < len(series); i++ {
		sum += max(series[i]-series[i-1], series[i-1]-series[i])
	}
	return float64(sum)
}

// reactions are, for every lack, the seconds until enough was ordered, and until
// enough was ready (or needed no more).
func (s Series) reactions() (orders, ends []float64) {
	began, ordered := -1, false
	for i, need := range s.Need {
		need = min(need, s.Max)
		lacks := s.Ready[i] < need
		switch {
		case lacks && began < 0:
			began, ordered = i, false
		case !lacks && began >= 0:
			ends = append(ends, float64(i-began)*s.Step)
			began = -1
		}
		if began >= 0 && !ordered && s.Sized[i] >= need {
			ordered = true
			orders = append(orders, float64(i-began)*s.Step)
		}
	}
	return orders, ends
}

// releases are, for every time in which there were units too many, the seconds until
// there were not.
func (s Series) releases() (all []float64) {
	began := -1
	for i, need := range s.Need {
		switch over := s.Ready[i] > need; {
		case over && began < 0:
			began = i
		case !over && began >= 0:
			all = append(all, float64(i-began)*s.Step)
			began = -1
		}
	}
	return all
}

// quantile is the smallest value that the given share does not exceed; 0 of none.
func quantile(all []float64, share float64) float64 {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return all[max(0, int(math.Ceil(share*float64(len(all))))-1)]
}

// Median takes, of each figure, the median of several runs.
func Median(runs []Figures) Figures {
	var f Figures
	out := reflect.ValueOf(&f).Elem()
	for i := range out.NumField() {
		all := make([]float64, len(runs))
		for j, r := range runs {
			all[j] = reflect.ValueOf(r).Field(i).Convert(reflect.TypeFor[float64]()).Float()
		}
		out.Field(i).Set(reflect.ValueOf(quantile(all, 0.5)).Convert(out.Field(i).Type()))
	}
	return f
}
