package args

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Simulate holds the flags of simulate.
type Simulate struct {
	Trace, Shape string
	Peak         float64
	Length       time.Duration
	LengthGiven  bool // else that of the trace holds
	Seed         uint64
	Repeat       int
	Compare      []string
	Plot         string
	Figures      []string
	FailIf       []string

	Capacity     float64
	Service      time.Duration
	Boot         time.Duration
	Drain        time.Duration
	MachineBoot  time.Duration
	MachineTake  time.Duration
	MachineDrain time.Duration
	Start        string
}

// Register adds the flags; shapes are the names that -shape takes.
func (s *Simulate) Register(fs *pflag.FlagSet, shapes []string) {
	fs.StringVar(&s.Trace, "trace", "", "CSV file of t_s,rps to replay")
	fs.StringVar(&s.Shape, "shape", "", "a load to make instead: "+strings.Join(shapes, ", "))
	fs.Float64Var(&s.Peak, "peak", 0, "requests per second at the top of a shape (default 80% of what the greatest size serves)")
	fs.DurationVar(&s.Length, "length", 2*time.Hour, "how long a shape lasts; of a trace, how much is replayed")
	fs.Uint64Var(&s.Seed, "seed", 1, "of the noise of a shape")
	fs.IntVar(&s.Repeat, "repeat", 1, "how many loads to make, with as many seeds; figures are medians")
	fs.StringArrayVar(&s.Compare, "compare", nil, "another spec to show beside it (may be repeated)")
	fs.StringSliceVar(&s.Figures, "figures", nil, "which figures to show, apart by commas (default all)")
	fs.StringVar(&s.Plot, "plot", "", "draw it to this SVG file")
	fs.StringArrayVar(&s.FailIf, "fail-if", nil, "end with status 1 if this holds, such as \"slo_violation > 1%\" (may be repeated)")
	fs.Float64Var(&s.Capacity, "capacity", 0, "requests per second that a replica serves (default what its target is 70% of)")
	fs.DurationVar(&s.Service, "service", 100*time.Millisecond, "how long one request takes when nothing waits")
	fs.DurationVar(&s.Boot, "boot", 3*time.Second, "how long a replica takes to start")
	fs.DurationVar(&s.Drain, "drain", 0, "how long a replica takes to leave (default what its function says)")
	fs.DurationVar(&s.MachineBoot, "machine-boot", 45*time.Second, "how long a machine takes to start")
	fs.DurationVar(&s.MachineTake, "machine-take", time.Second, "how long it takes to make a machine of a warm one")
	fs.DurationVar(&s.MachineDrain, "machine-drain", 30*time.Second, "how long a machine takes to leave")
	fs.StringVar(&s.Start, "start", "2026-01-05T00:00:00Z", "what the clock says at first, for schedules")
}

// LongestSimulation is as long as memory holds: every second is kept.
const LongestSimulation = 31 * 24 * time.Hour

// Limit is a bound on one figure.
type Limit struct {
	Text   string
	Target string // the address of a group; "" for every function
	Figure string
	Bound  float64
	less   bool
	equal  bool
}

// Broken reports whether a value is beyond the bound.
func (l Limit) Broken(v float64) bool {
	switch {
	case v == l.Bound:
		return l.equal
	case l.less:
		return v < l.Bound
	default:
		return v > l.Bound
	}
}

// ParseLimit reads "slo_violation > 1%" or "vm.node cost_ratio >= 1.5".
func ParseLimit(text string) (Limit, error) {
	bad := Usagef("-fail-if %q is not understood: write a figure, one of > >= < <=, and a number, such as \"slo_violation > 1%%\"; the address of a group may stand in front", text)
	at := strings.IndexAny(text, "<>")
	if at < 0 {
		return Limit{}, bad
	}
	l := Limit{Text: text, less: text[at] == '<'}
	rest := text[at+1:]
	if l.equal = strings.HasPrefix(rest, "="); l.equal {
		rest = rest[1:]
	}
	names := strings.Fields(text[:at])
	var err error
	if l.Bound, err = strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "%")), 64); err != nil {
		return Limit{}, bad
	}
	switch len(names) {
	case 1:
		l.Figure = names[0]
	case 2:
		l.Target, l.Figure = names[0], names[1]
	default:
		return Limit{}, bad
	}
	return l, nil
}

// At parses Start.
func (s Simulate) At() (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s.Start)
	if err != nil {
		return t, Usage(fmt.Errorf("-start %q is no time such as 2026-01-05T00:00:00Z", s.Start))
	}
	return t, nil
}

// Check says what is wrong with the flags.
func (s Simulate) Check() error {
	switch {
	case (s.Trace == "") == (s.Shape == ""):
		return Usagef("simulate needs a load: either -trace=load.csv or -shape=spike")
	case s.Length <= 0 || s.Length > LongestSimulation:
		return Usagef("-length %v must be more than nothing, and 31 days at most", s.Length)
	case s.Repeat < 1 || s.Repeat > 1000:
		return Usagef("-repeat %d is not from 1 to 1000", s.Repeat)
	case s.Capacity < 0 || s.Peak < 0:
		return Usagef("-capacity and -peak must not be negative")
	}
	for name, d := range map[string]time.Duration{"service": s.Service, "boot": s.Boot, "drain": s.Drain, "machine-boot": s.MachineBoot, "machine-take": s.MachineTake, "machine-drain": s.MachineDrain} {
		if d < 0 || d > 24*time.Hour {
			return Usagef("-%s %v must not be negative, and a day at most", name, d)
		}
	}
	return nil
}
