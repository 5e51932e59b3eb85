package load

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Point is the rate at one instant of a trace.
type Point struct {
	At  time.Duration
	RPS float64
}

// Trace is recorded traffic: the rate runs in a straight line from each point
// to the next, is that of the first point before it and that of the last one
// after it. Two points at one instant make a jump. The zero value is empty.
type Trace struct {
	points []Point
	sums   []float64 // requests from 0 to each point
}

// NewTrace makes a trace of points, which must be in the order of time.
func NewTrace(points []Point) (Trace, error) {
	tr := Trace{points: slices.Clone(points), sums: make([]float64, len(points))}
	for i, p := range points {
		if err := p.check(); err != nil {
			return Trace{}, fmt.Errorf("point %d: %w", i+1, err)
		}
		if i == 0 {
			tr.sums[0] = p.At.Seconds() * p.RPS
			continue
		}
		before := points[i-1]
		if p.At < before.At {
			return Trace{}, fmt.Errorf("point %d: time %v comes after %v", i+1, p.At, before.At)
		}
		tr.sums[i] = tr.sums[i-1] + (p.At-before.At).Seconds()*(p.RPS+before.RPS)/2
	}
	return tr, nil
}

func (p Point) check() error {
	if p.At < 0 || p.At > forever {
		return fmt.Errorf("time %v is negative or beyond a century", p.At)
	}
	if !(p.RPS >= 0 && p.RPS <= maxRPS) {
		return fmt.Errorf("rate %g is not from 0 to %g", p.RPS, maxRPS)
	}
	return nil
}

// Points are the points of the trace; the caller owns the slice.
func (t Trace) Points() []Point { return slices.Clone(t.points) }

// Duration is the time of the last point.
func (t Trace) Duration() time.Duration {
	if len(t.points) == 0 {
		return 0
	}
	return t.points[len(t.points)-1].At
}

func (t Trace) rate(x float64) float64 {
	i := t.index(x)
	if i < 0 {
		return t.points[0].RPS
	}
	p := t.points[i]
	if i == len(t.points)-1 {
		return p.RPS
	}
	next := t.points[i+1] // strictly later than p: index takes the last of equals
	part := (x - p.At.Seconds()) / (next.At - p.At).Seconds()
	return max(0, p.RPS+part*(next.RPS-p.RPS))
}

func (t Trace) sum(x float64) float64 {
	i := t.index(x)
	if i < 0 {
		return x * t.points[0].RPS
	}
	p := t.points[i]
	return t.sums[i] + (x-p.At.Seconds())*(p.RPS+t.rate(x))/2
}

// index is that of the last point not after x, or -1.
func (t Trace) index(x float64) int {
	i, _ := slices.BinarySearchFunc(t.points, x, func(p Point, x float64) int {
		if p.At.Seconds() <= x {
			return -1 // search for the first point beyond x
		}
		return 1
	})
	return i - 1
}

// ReadTrace reads CSV rows of time and rate. Time is in seconds ("90", "1.5")
// or as a duration ("1m30s"). A header row may name the columns, in any order
// and among others: t, t_s or time, and rps or wanted_rps; the driver's own CSV
// is one. Without a header they are the first two. Lines that begin with # and
// empty lines are passed over.
func ReadTrace(r io.Reader) (Trace, error) {
	rows := csv.NewReader(bufio.NewReader(r))
	rows.Comment = '#'
	rows.FieldsPerRecord = -1
	rows.TrimLeadingSpace = true
	rows.ReuseRecord = true
	var points []Point
	timeCol, rateCol := 0, 1
	for first := true; ; first = false {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Trace{}, fmt.Errorf("read trace: %w", err)
		}
		line, _ := rows.FieldPos(0)
		if t, v, ok := header(row); first && ok {
			timeCol, rateCol = t, v
			continue
		}
		p, err := readPoint(row, timeCol, rateCol)
		if err == nil && len(points) > 0 && p.At < points[len(points)-1].At {
			err = fmt.Errorf("time %v comes after %v", p.At, points[len(points)-1].At)
		}
		if err != nil {
			return Trace{}, fmt.Errorf("trace line %d: %w", line, err)
		}
		points = append(points, p)
	}
	if len(points) == 0 {
		return Trace{}, errors.New("the trace has no rows")
	}
	return NewTrace(points)
}

// header finds the columns by name.
func header(row []string) (timeCol, rateCol int, ok bool) {
	find := func(names ...string) int {
		for _, name := range names {
			if i := slices.IndexFunc(row, func(f string) bool { return strings.EqualFold(strings.TrimSpace(f), name) }); i >= 0 {
				return i
			}
		}
		return -1
	}
	timeCol, rateCol = find("t", "t_s", "time"), find("rps", "wanted_rps")
	return timeCol, rateCol, timeCol >= 0 && rateCol >= 0
}

func readPoint(row []string, timeCol, rateCol int) (Point, error) {
	if len(row) <= max(timeCol, rateCol) {
		return Point{}, fmt.Errorf("%d columns; time and rate are needed", len(row))
	}
	at, err := parseSeconds(strings.TrimSpace(row[timeCol]))
	if err != nil {
		return Point{}, err
	}
	field := strings.TrimSpace(row[rateCol])
	rps, err := strconv.ParseFloat(field, 64)
	if err != nil {
		return Point{}, fmt.Errorf("rate %q is not a number", field)
	}
	p := Point{At: at, RPS: rps}
	return p, p.check()
}

func parseSeconds(field string) (time.Duration, error) {
	sec, err := strconv.ParseFloat(field, 64)
	if err != nil {
		d, derr := time.ParseDuration(field)
		if derr != nil {
			return 0, fmt.Errorf("time %q is neither seconds nor a duration such as 1m30s", field)
		}
		return d, nil
	}
	if !(sec >= 0 && sec <= forever.Seconds()) {
		return 0, fmt.Errorf("time %q is negative or beyond a century", field)
	}
	return time.Duration(math.Round(sec * float64(time.Second))), nil
}

// TraceWriter writes a trace, for ReadTrace. Not safe for concurrent use.
type TraceWriter struct {
	w      *csv.Writer
	headed bool
}

// NewTraceWriter makes a writer of traces. What the trace is of may be said in a
// line of its own; "" says nothing.
func NewTraceWriter(w io.Writer, of string) (*TraceWriter, error) {
	if of != "" {
		if _, err := fmt.Fprintf(w, "# %s\n", of); err != nil {
			return nil, err
		}
	}
	return &TraceWriter{w: csv.NewWriter(w)}, nil
}

// Write adds a point, which must not be before the last, and hands it on at once.
func (t *TraceWriter) Write(p Point) error {
	if err := p.check(); err != nil {
		return err
	}
	if !t.headed {
		t.headed = true
		if err := t.w.Write([]string{"t_s", "rps"}); err != nil {
			return err
		}
	}
	dec := func(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
	if err := t.w.Write([]string{dec(p.At.Seconds()), dec(p.RPS)}); err != nil {
		return err
	}
	t.w.Flush()
	return t.w.Error()
}
