package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// Classics are the traces on which rules of scaling are compared with others.
var Classics = []string{"spike", "step", "noisy-diurnal", "on-off"}

// rest is the share of the peak at which a classic trace rests.
const rest = 0.15

// Classic makes the trace of that name: peak requests a second at its top, over
// a length that is its day. Noise is drawn from rng, and so is by how much each
// jump is late, half a minute at most: whoever looks at round times shall have no
// luck with them.
//
//	spike          rest, with three short peaks of a thirtieth of the length
//	step           rest, the peak from a quarter to three quarters, rest
//	noisy-diurnal  one wave from rest to the peak and back, with noise of 15 % that lasts some ten seconds
//	on-off         five times the peak, five times rest, a tenth of the length each
func Classic(name string, peak float64, length time.Duration, rng *rand.Rand) (Trace, error) {
	if length < time.Minute {
		return Trace{}, fmt.Errorf("a trace of %v is too short to show anything; it needs a minute", length)
	}
	var jumps []float64 // shares of the length at which it goes up, down, up, …
	switch name {
	case "noisy-diurnal":
		return NewTrace(diurnal(peak, length, rng))
	case "spike":
		for _, x := range []float64{0.2, 0.45, 0.7} {
			jumps = append(jumps, x, x+1./30)
		}
	case "step":
		jumps = []float64{0.25, 0.75}
	case "on-off":
		for i := 1; i < 10; i++ {
			jumps = append(jumps, float64(i)/10)
		}
	default:
		return Trace{}, fmt.Errorf("no trace is called %q; there are %s", name, strings.Join(Classics, ", "))
	}
	low, high := rest*peak, peak
	points := []Point{{0, low}}
	for _, x := range jumps {
		late := time.Duration(rng.Int64N(int64(min(30*time.Second, length/50))))
		at := (time.Duration(x*float64(length)) + late).Truncate(time.Second)
		points = append(points, Point{at, low}, Point{at, high})
		low, high = high, low
	}
	return NewTrace(append(points, Point{length, low}))
}

// diurnal is a wave with noise, that of an autoregressive process of the first
// order.
func diurnal(peak float64, length time.Duration, rng *rand.Rand) []Point {
	const spread, keep = 0.15, 0.9 // the deviation, and how much of it is left after a second
	var points []Point
	noise := 0.0
	for t := time.Duration(0); t <= length; t += time.Second {
		wave := rest + (0.85-rest)*(1-math.Cos(2*math.Pi*t.Seconds()/length.Seconds()))/2
		noise = keep*noise + spread*math.Sqrt(1-keep*keep)*rng.NormFloat64()
		points = append(points, Point{t, max(0, peak*wave*(1+noise))})
	}
	return points
}
