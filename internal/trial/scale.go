package trial

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowctl/flowctl/internal/load"
	"github.com/flowctl/flowctl/internal/plot"
	"github.com/flowctl/flowctl/runtime/api"
)

// Scale is a trial: a spike, through which sizes are to grow and to shrink back,
// and no request is to fail.
type Scale struct {
	Flow     Flow
	Load     load.Config   // a spike whose duration is 0: the load goes on until all have shrunk
	Patience time.Duration // after the spike, for sizes to shrink back
	Tell     func(Point)   // each second; may be nil
}

// Point is one second of a trial.
type Point struct {
	Seconds float64
	Wanted  float64 // requests per second
	Done    float64
	P95Ms   float64
	Sizes   map[string]Size // by target
}

// Size is one group at an instant.
type Size struct {
	Ready   int // that serve
	Ordered int // that are to be
}

// Result is what a trial came to.
type Result struct {
	Load   load.Config
	Points []Point
	Report load.Report
	Groups []Group
}

// Group is how one size went. Times are from the begin of the spike, and from its
// end for what shrank; negative where that never happened.
type Group struct {
	Target            string
	First, Peak, Last int
	Ordered           time.Duration // until more were ordered
	Grown             time.Duration // until the most were ready
	Shrunk            time.Duration // until no more than at first were left
}

// watcher adds up what is seen. Its methods may be called side by side.
type watcher struct {
	mu     sync.Mutex
	now    map[string]Size
	idle   bool // no run is under way
	points []Point
}

// Run sends the load and watches. The flow is applied already, and is left as it
// is. The result is whole also when ctx ends early.
func (s Scale) Run(ctx context.Context) (Result, error) {
	w := &watcher{now: map[string]Size{}}
	following, stop := context.WithCancel(ctx)
	sending, enough := context.WithCancel(ctx)
	defer enough()
	var wg sync.WaitGroup
	wg.Go(func() { s.Flow.Follow(following, 200*time.Millisecond, w.see) })
	end := s.Load.Shape.At + s.Load.Shape.Period
	report, err := load.Run(sending, s.Load, func(t load.Tick) {
		p := w.point(t)
		if s.Tell != nil {
			s.Tell(p)
		}
		at := time.Duration(t.ElapsedS * float64(time.Second))
		if at > end && (w.back(s.Load.Shape.At) || at > end+s.Patience) {
			enough()
		}
	})
	stop()
	wg.Wait()
	r := Result{Load: s.Load, Points: w.points, Report: report}
	for _, target := range slices.Sorted(maps.Keys(w.now)) {
		r.Groups = append(r.Groups, r.group(target))
	}
	return r, err
}

func (w *watcher) see(s api.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = len(s.Running) == 0
	for _, r := range s.Rules {
		if !r.Decision.At.IsZero() {
			w.now[r.Target] = Size{r.Decision.Ready, r.Decision.To}
		}
	}
}

// point notes a second.
func (w *watcher) point(t load.Tick) Point {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := Point{Seconds: t.ElapsedS, Wanted: t.WantedRPS, Done: t.RPS, P95Ms: t.P95Ms, Sizes: maps.Clone(w.now)}
	w.points = append(w.points, p)
	return p
}

// back reports whether every size is what it was before the spike.
func (w *watcher) back(spike time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for target, n := range w.now {
		if first := firstOf(w.points, target, spike); n.Ready > first || n.Ordered > first {
			return false
		}
	}
	return w.idle
}

// firstOf is the size that a group had before the spike.
func firstOf(points []Point, target string, spike time.Duration) int {
	first := 0
	for _, p := range points {
		if n, ok := p.Sizes[target]; ok && (first == 0 || p.Seconds <= spike.Seconds()) {
			first = n.Ready
		}
	}
	return first
}

// group works out how one size went.
func (r Result) group(target string) Group {
	spike, end := r.Load.Shape.At, r.Load.Shape.At+r.Load.Shape.Period
	g := Group{Target: target, First: firstOf(r.Points, target, spike), Ordered: -1, Grown: -1, Shrunk: -1}
	for _, p := range r.Points {
		n, at := p.Sizes[target], time.Duration(p.Seconds*float64(time.Second))
		if g.Last = n.Ready; at <= spike {
			continue
		}
		if n.Ordered > g.First && g.Ordered < 0 {
			g.Ordered = at - spike
		}
		if n.Ready > max(g.Peak, g.First) {
			g.Grown = at - spike
		}
		if g.Peak = max(g.Peak, n.Ready); n.Ready > g.First {
			g.Shrunk = -1
		} else if g.Peak > g.First && g.Shrunk < 0 {
			g.Shrunk = at - end
		}
	}
	return g
}

// Check says what was not as it is to be: a request that failed, a size that did
// not follow the load.
func (r Result) Check() error {
	var errs []error
	if n := r.Report.Failed() + r.Report.Dropped; n > 0 || r.Report.Sent == 0 {
		errs = append(errs, fmt.Errorf("of %d requests %d failed, and %d could not be sent", r.Report.Sent, r.Report.Failed(), r.Report.Dropped))
	}
	if len(r.Groups) == 0 {
		errs = append(errs, errors.New("no controller told of a scaling block"))
	}
	for _, g := range r.Groups {
		switch {
		case g.Peak <= g.First:
			errs = append(errs, fmt.Errorf("%s did not grow from %d", g.Target, g.First))
		case g.Shrunk < 0:
			errs = append(errs, fmt.Errorf("%s grew from %d to %d and did not shrink back: it is %d", g.Target, g.First, g.Peak, g.Last))
		}
	}
	return errors.Join(errs...)
}

// Chart draws the trial.
func (r Result) Chart(title string) plot.Chart {
	c := plot.Chart{Title: fmt.Sprintf("%s: %d requests, %d failed", title, r.Report.Sent, r.Report.Failed())}
	lines := func(values ...func(Point) float64) (all [][]float64) {
		for _, v := range values {
			var one []float64
			for _, p := range r.Points {
				one = append(one, v(p))
			}
			all = append(all, one)
		}
		return all
	}
	l := lines(func(p Point) float64 { return p.Wanted }, func(p Point) float64 { return p.Done }, func(p Point) float64 { return p.P95Ms })
	c.Panels = append(c.Panels, plot.Panel{Title: "Load, requests per second", Lines: []plot.Line{{Name: "wanted", Values: l[0], Faint: true}, {Name: "answered", Values: l[1]}}})
	for _, g := range r.Groups {
		n := lines(func(p Point) float64 { return float64(p.Sizes[g.Target].Ordered) }, func(p Point) float64 { return float64(p.Sizes[g.Target].Ready) })
		what := "replicas"
		if strings.HasPrefix(g.Target, "vm.") {
			what = "machines"
		}
		c.Panels = append(c.Panels, plot.Panel{Title: g.Target + ", " + what, Lines: []plot.Line{{Name: "ordered", Values: n[0], Steps: true}, {Name: "ready", Values: n[1], Steps: true}}})
	}
	c.Panels = append(c.Panels, plot.Panel{Title: "95th percentile, ms", Lines: []plot.Line{{Name: "as clients see it", Values: l[2]}}})
	if n := len(r.Points); n > 0 {
		c.Seconds = r.Points[n-1].Seconds
	}
	return c
}

// String is a summary of several lines.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests, %d failed, %d could not be sent; p95 %.1f ms, the slowest %.1f ms\n", r.Report.Sent, r.Report.Failed(), r.Report.Dropped, r.Report.P95Ms, r.Report.MaxMs)
	for _, g := range r.Groups {
		fmt.Fprintf(&b, "%-14s %d → %d → %d: more ordered %s after the load rose, the most ready after %s; back %s after it fell\n",
			g.Target, g.First, g.Peak, g.Last, seconds(g.Ordered), seconds(g.Grown), seconds(g.Shrunk))
	}
	return b.String()
}

func seconds(t time.Duration) string {
	if t < 0 {
		return "never"
	}
	return fmt.Sprintf("%.0f s", t.Seconds())
}

// String is one line of a table.
func (p Point) String() string {
	line := fmt.Sprintf("%6.0f s %8.0f requests/s   p95 %7.1f ms", p.Seconds, p.Done, p.P95Ms)
	for _, target := range slices.Sorted(maps.Keys(p.Sizes)) {
		n := p.Sizes[target]
		if line += fmt.Sprintf("   %s %d", target, n.Ready); n.Ordered != n.Ready {
			line += fmt.Sprintf(" → %d", n.Ordered)
		}
	}
	return line
}
