package load

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Header is the head of the table whose rows are made by Line.
func Header() string {
	return fmt.Sprintf("%8s %8s %8s %8s %7s %8s %8s %8s %8s %7s %7s %8s",
		"time", "wanted", "rps", "ok", "failed", "p50 ms", "p95 ms", "p99 ms", "max ms", "flight", "dropped", "replicas")
}

// Line is one row of the table, without a line end. The last columns are how
// many replicas answered and, when something failed, what.
func Line(t Tick) string {
	row := fmt.Sprintf("%7.1fs %8.1f %8.1f %8d %7d %8.1f %8.1f %8.1f %8.1f %7d %7d %8d",
		t.ElapsedS, t.WantedRPS, t.RPS, t.OK, t.Failures.Total,
		t.P50Ms, t.P95Ms, t.P99Ms, t.MaxMs, t.InFlight, t.Dropped, len(t.Replicas))
	if t.Failures.Total > 0 {
		row += "  " + kinds(t.Failures)
	}
	return row
}

// kinds lists what failed: "connect 2, status_5xx 1".
func kinds(f Failures) string {
	var parts []string
	for k := kindOK; k <= kindCut; k++ {
		if n := f.of(k); n != nil && *n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", k, *n))
		}
	}
	return strings.Join(parts, ", ")
}

// Summary is the report for people, several lines with their line ends.
func Summary(r Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s for %.1f s: wanted %.1f requests/s, done %.1f\n", r.Mode, r.ElapsedS, r.WantedRPS, r.RPS)
	fmt.Fprintf(&b, "requests  %d sent, %d ok, %d failed", r.Sent, r.OK, r.Failures.Total)
	if r.Failures.Total > 0 {
		fmt.Fprintf(&b, " (%s)", kinds(r.Failures))
	}
	fmt.Fprintf(&b, ", %d dropped, %d cut; %d at once at most\n", r.Dropped, r.Cut, r.PeakInFlight)
	fmt.Fprintf(&b, "latency   p50 %.1f ms, p90 %.1f ms, p95 %.1f ms, p99 %.1f ms, max %.1f ms\n",
		r.P50Ms, r.P90Ms, r.P95Ms, r.P99Ms, r.MaxMs)
	for i, name := range slices.Sorted(maps.Keys(r.Replicas)) {
		n := r.Replicas[name]
		fmt.Fprintf(&b, "%-9s %s: %d (%.1f %%)\n", label(i, "replicas"), name, n, 100*float64(n)/float64(max(r.Done, 1)))
	}
	if r.Dropped > 0 {
		b.WriteString("note      dropped requests were never sent: the server was slower than the limit of requests in flight allows\n")
	}
	if r.LagMs > 10 {
		fmt.Fprintf(&b, "note      the driver itself was up to %.0f ms late; that is part of the latencies\n", r.LagMs)
	}
	for i, s := range slices.SortedStableFunc(slices.Values(r.Errors), func(a, b Sample) int { return cmp.Compare(a.ElapsedS, b.ElapsedS) }) {
		from := ""
		if s.Replica != "" {
			from = " from " + s.Replica
		}
		fmt.Fprintf(&b, "%-9s %.1f s, %s%s: %s\n", label(i, "failures"), s.ElapsedS, s.Kind, from, s.Message)
	}
	return b.String()
}

// label is the word at the head of a group's first line.
func label(i int, word string) string {
	if i > 0 {
		return ""
	}
	return word
}

var csvColumns = []string{"t_s", "wanted_rps", "rps", "ok", "failed",
	"p50_ms", "p95_ms", "p99_ms", "max_ms", "in_flight", "dropped", "replicas"}

// CSV writes ticks as rows, with a header; "replicas" is how many of them
// answered. ReadTrace can read what it wrote. Not safe for concurrent use.
type CSV struct {
	w      *csv.Writer
	headed bool
}

// NewCSV makes a writer of ticks.
func NewCSV(w io.Writer) *CSV { return &CSV{w: csv.NewWriter(w)} }

// Write adds a row and hands it on at once, so that the file can be followed.
func (c *CSV) Write(t Tick) error {
	if !c.headed {
		c.headed = true
		if err := c.w.Write(csvColumns); err != nil {
			return err
		}
	}
	dec := func(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
	num := func(v int64) string { return strconv.FormatInt(v, 10) }
	if err := c.w.Write([]string{
		dec(t.ElapsedS), dec(t.WantedRPS), dec(t.RPS), num(t.OK), num(t.Failures.Total),
		dec(t.P50Ms), dec(t.P95Ms), dec(t.P99Ms), dec(t.MaxMs),
		num(t.InFlight), num(t.Dropped), strconv.Itoa(len(t.Replicas)),
	}); err != nil {
		return err
	}
	c.w.Flush()
	return c.w.Error()
}
