package view

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// Top is what the replicas and machines of a flow use at one instant.
type Top struct {
	FormatVersion string    `json:"format_version"`
	Flow          string    `json:"flow"`
	At            time.Time `json:"at"`
	Rows          []TopRow  `json:"rows"`
}

// TopRow is one machine or replica. What a machine's replicas serve is its own, too.
type TopRow struct {
	Address     string        `json:"address"`
	Kind        string        `json:"kind"`
	State       string        `json:"state"`
	Machine     string        `json:"machine,omitempty"` // of a replica
	CPUCores    float64       `json:"cpu_cores"`
	CPULimit    float64       `json:"cpu_limit,omitempty"` // cores that it may use
	MemoryBytes int64         `json:"memory_bytes"`
	MemoryLimit int64         `json:"memory_limit,omitempty"`
	IO          *providers.IO `json:"io,omitempty"`
	RateRPS     float64       `json:"rate_rps"`
	InFlight    int           `json:"in_flight"`
	P95Ms       float64       `json:"p95_ms"` // the largest of its frontends
	Restarts    int           `json:"restarts"`
	Since       *time.Time    `json:"since,omitempty"`
}

// TopOf makes the rows of a status: machines, then replicas.
func TopOf(st FlowStatus, now time.Time) Top {
	top := Top{FormatVersion: FormatVersion, Flow: st.Flow, At: now.UTC(), Rows: []TopRow{}}
	at := map[engine.Address]int{}
	for _, r := range st.Resources {
		a := r.Object.Address
		if a.Kind != engine.KindFunction && a.Kind != engine.KindVM && a.Kind != engine.KindHost || !r.Object.Kept.IsZero() {
			continue
		}
		if i, again := at[a]; again { // of two generations, the newer
			top.Rows[i] = topRow(r)
			continue
		}
		at[a] = len(top.Rows)
		top.Rows = append(top.Rows, topRow(r))
	}
	for _, r := range st.Resources {
		if r.Object.Address.Kind != engine.KindBackend || r.Usage == nil {
			continue
		}
		_, replica := r.Object.Address.Membership()
		i, ok := at[replica]
		if !ok {
			continue
		}
		top.Rows[i].serve(r)
		if machine, err := engine.ParseAddress(top.Rows[i].Machine); err == nil {
			if m, ok := at[machine]; ok {
				top.Rows[m].serve(r)
			}
		}
	}
	return top
}

func topRow(r ResourceStatus) TopRow {
	o := r.Object
	row := TopRow{Address: o.Address.String(), Kind: string(o.Address.Kind), State: r.State()}
	switch o.Address.Kind {
	case engine.KindFunction:
		x := engine.MustDecode[engine.Replica](engine.With(o.Value, nil))
		row.Machine, row.CPULimit, row.MemoryLimit = x.Machine, x.CPU, int64(x.Memory)
	case engine.KindVM:
		x := engine.MustDecode[engine.VM](engine.With(o.Value, nil))
		row.CPULimit, row.MemoryLimit = x.CPUs, int64(x.Memory)
	}
	if u := r.Usage; u != nil {
		row.CPUCores, row.MemoryBytes, row.Restarts, row.IO = u.CPUCores, u.MemoryBytes, u.Restarts, u.IO
		if !u.Since.IsZero() {
			row.Since = &u.Since
		}
	}
	return row
}

// serve adds what a backend carries.
func (t *TopRow) serve(r ResourceStatus) {
	t.RateRPS += r.Usage.Rate
	t.InFlight += r.Usage.InFlight
	t.P95Ms = max(t.P95Ms, r.Usage.P95.Seconds()*1000)
}

// TopSorts are what rows can be sorted by.
var TopSorts = []string{"cpu", "memory", "rps", "in_flight", "p95", "name"}

// Sort puts the largest first; rows that are alike stay in the order of their
// addresses. by is one of TopSorts.
func (t *Top) Sort(by string) {
	value := func(r TopRow) float64 {
		switch by {
		case "cpu":
			return r.CPUCores
		case "memory":
			return float64(r.MemoryBytes)
		case "rps":
			return r.RateRPS
		case "in_flight":
			return float64(r.InFlight)
		case "p95":
			return r.P95Ms
		default:
			return 0
		}
	}
	slices.SortStableFunc(t.Rows, func(a, b TopRow) int { return cmp.Compare(value(b), value(a)) })
}

// Text renders the rows as a table with a heading.
func (t *Top) Text(by string, now time.Time, s Style) string {
	head := func(name, sort string) string {
		if sort == by {
			return s.bold(name + "*")
		}
		return s.dim(name)
	}
	var table Table
	heads := []string{head("NAME", "name"), s.dim("STATE"), head("CPU", "cpu"), s.dim("OF"), head("MEMORY", "memory"), s.dim("OF"), head("RPS", "rps"),
		head("FLIGHT", "in_flight"), head("P95", "p95"), s.dim("UP"), s.dim("ON")}
	io := slices.ContainsFunc(t.Rows, func(r TopRow) bool { return r.IO != nil })
	if io {
		heads = append(heads, s.dim("DISK R/W"), s.dim("NET IN/OUT"))
	}
	table.Row(heads...)
	for _, r := range t.Rows {
		up := ""
		if r.Since != nil {
			up = ago(now.Sub(*r.Since))
		}
		if r.Restarts > 0 {
			up += s.warn(" (" + several(r.Restarts, "restart", "restarts") + ")")
		}
		cells := []string{r.Address, stateText(r.State, []string{r.State}, s), fmt.Sprintf("%.2f", r.CPUCores), share(r.CPUCores, r.CPULimit),
			bytesText(r.MemoryBytes), share(float64(r.MemoryBytes), float64(r.MemoryLimit)), fmt.Sprintf("%.1f", r.RateRPS), fmt.Sprint(r.InFlight),
			latencyText(r.P95Ms), up, r.Machine}
		if io {
			cells = append(cells, r.ioText()...)
		}
		table.Row(cells...)
	}
	return table.String()
}

// ioText is what went in and out since the start, of disks and networks.
func (t TopRow) ioText() []string {
	if t.IO == nil {
		return []string{"", ""}
	}
	pair := func(in, out uint64) string { return bytesText(int64(in)) + " / " + bytesText(int64(out)) }
	return []string{pair(t.IO.DiskRead, t.IO.DiskWritten), pair(t.IO.NetworkReceived, t.IO.NetworkSent)}
}

// share is the part of a limit that is in use; "-" without one.
func share(x, limit float64) string {
	if limit <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", 100*x/limit)
}

func latencyText(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return time.Duration(ms * float64(time.Millisecond)).Round(100 * time.Microsecond).String()
}
