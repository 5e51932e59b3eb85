package view

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime/api"
	"github.com/flowctl/flowctl/state"
)

// FlowStatus is what a flow is made of, as it was found.
type FlowStatus struct {
	Flow      string
	Dir       string
	Serial    int64
	Lock      *state.Holder
	LastRun   *engine.RunInfo
	Open      int // operations of interrupted runs whose outcome is unknown
	Resources []ResourceStatus
	Sizes     []engine.HandSize
	Outputs   map[string]engine.OutputValue

	ControllerPID int         // 0 if none runs
	Controller    *api.Status // nil if it does not answer

	Groups  bool // show no single replica and machine
	NoRules bool // nor what is decided
}

// ResourceStatus is one object.
type ResourceStatus struct {
	Object      engine.Object
	Observation engine.Observation
	Usage       *providers.Usage // nil if its provider does not measure it
	Fails       string           // what its frontends say of a replica that fails: "unhealthy" or "ejected"
	Unmade      *Unmade          // of what the last run was to make and has not; nil of what exists
}

// Unmade is why something was not made.
type Unmade struct {
	State engine.StepState // of the task that was to
	Why   string           // "" if something that it needs failed
}

// State is one word for how an object is.
func (r ResourceStatus) State() string {
	switch {
	case r.Unmade != nil:
		return r.Unmade.State.String()
	case r.Observation.Presence == engine.Gone:
		return "gone"
	case r.Observation.Presence == engine.Unreachable:
		return "unreachable"
	case r.Object.Lifecycle == engine.Suspended:
		return "suspended"
	case r.Observation.Presence == engine.Down:
		return "down"
	case r.Object.Lifecycle != engine.Ready:
		return r.Object.Lifecycle.String()
	case !r.Object.Kept.IsZero():
		return "kept"
	case r.Fails != "":
		return r.Fails
	case r.Usage != nil && r.Usage.State != "":
		return r.Usage.State
	default:
		return "present"
	}
}

// bad orders states, the worst first.
func bad(state string) int {
	order := []string{"failed", "upstream_failed", "gone", "down", "tainted", "unreachable", "unhealthy", "ejected", "backoff", "unverified", "suspended", "draining", "joining", "starting"}
	if i := slices.Index(order, state); i >= 0 {
		return i
	}
	return len(order)
}

// States sums up a group: "gone 1, running 3", the worst first.
func States(states []string) string {
	counts := map[string]int{}
	var names []string
	for _, st := range states {
		if counts[st] == 0 {
			names = append(names, st)
		}
		counts[st]++
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(bad(a), bad(b)), cmp.Compare(a, b)) })
	var parts []string
	for _, n := range names {
		parts = append(parts, fmt.Sprintf("%s %d", n, counts[n]))
	}
	return strings.Join(parts, ", ")
}

// Status renders a flow for people.
func Status(st FlowStatus, now time.Time, s Style) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Flow %s", s.bold(st.Flow))
	if r := st.LastRun; r != nil {
		fmt.Fprintf(&b, "   last run %d: %s %s", r.ID, r.Command, runStatus(*r, s))
		if !r.Ended.IsZero() {
			fmt.Fprintf(&b, " %s ago", ago(now.Sub(r.Ended)))
		}
	}
	b.WriteByte('\n')
	if st.Lock != nil {
		fmt.Fprintf(&b, "%s\n", s.warn(fmt.Sprintf("%s is under way (process %d of %s, for %s)", st.Lock.Command, st.Lock.PID, st.Lock.User, ago(now.Sub(st.Lock.Since)))))
	}
	if st.Open > 0 && st.Lock == nil { // else they are under way
		fmt.Fprintf(&b, "%s\n", s.warn(fmt.Sprintf("What an interrupted run left is to be looked into (%d): the next apply does", st.Open)))
	}
	var t Table
	for _, g := range grouped(st.Resources) {
		if g[0].Object.Address.Kind == engine.KindBackend {
			continue // the frontends tell
		}
		t.groupRows(g, st, now, s)
	}
	if len(st.Resources) == 0 {
		b.WriteString("\n" + nothing(st.LastRun) + "\n")
		return b.String()
	}
	b.WriteString("\n" + t.String())
	b.WriteString(controllerText(st, now, s))
	if len(st.Outputs) > 0 {
		b.WriteString("\nOutputs:\n" + Outputs(st.Outputs, "  "))
	}
	return b.String()
}

// nothing says why nothing exists.
func nothing(last *engine.RunInfo) string {
	if last != nil && last.Command == "destroy" && last.Status == engine.RunSucceeded {
		return "Nothing exists: the flow was destroyed at " + last.Ended.Local().Format(time.DateTime) + "."
	}
	return "Nothing exists."
}

// grouped puts resources of one group together, in order.
func grouped(rs []ResourceStatus) [][]ResourceStatus {
	var groups [][]ResourceStatus
	for _, r := range rs {
		if n := len(groups); n > 0 && groups[n-1][0].Object.Address.Group() == r.Object.Address.Group() {
			groups[n-1] = append(groups[n-1], r)
			continue
		}
		groups = append(groups, []ResourceStatus{r})
	}
	return groups
}

func (t *Table) groupRows(g []ResourceStatus, st FlowStatus, now time.Time, s Style) {
	all := st.Resources
	var states []string
	for _, r := range g {
		states = append(states, r.State())
	}
	a := g[0].Object.Address
	if a == a.Group() {
		t.Row(append([]string{s.bold(a.String())}, cells(g[0], all, now, s)...)...)
		return
	}
	row := []string{s.bold(a.Group().String()), stateText(States(states), states, s)}
	for _, h := range st.Sizes {
		if h.Group == a.Group() {
			row = append(row, HandText(h))
		}
	}
	t.Row(row...)
	if st.Groups {
		return
	}
	for _, r := range g {
		name := "  " + r.Object.Address.String()
		if r.Object.Gen > 1 {
			name += s.dim(fmt.Sprintf(" #%d", r.Object.Gen))
		}
		t.Row(append([]string{name}, cells(r, all, now, s)...)...)
	}
}

func stateText(text string, states []string, s Style) string {
	worst := len(states) > 0 && slices.ContainsFunc(states, func(st string) bool { return bad(st) < bad("suspended") })
	if worst {
		return s.bad(text)
	}
	return s.good(text)
}

// cells are the columns of one resource after its name.
func cells(r ResourceStatus, all []ResourceStatus, now time.Time, s Style) []string {
	st := r.State()
	row := []string{stateText(st, []string{st}, s)}
	if r.Unmade != nil {
		return append(row, s.bad(oneLine(r.Unmade.Why)))
	}
	switch r.Object.Address.Kind {
	case engine.KindFunction:
		row = append(row, r.Object.Attr("machine"), r.Object.Attr("address"))
	case engine.KindFrontend:
		row = append(row, r.Object.Attr("url"), backendsOf(r.Object.Address, all))
	case engine.KindVM, engine.KindWarm, engine.KindHost:
		row = append(row, sizeOf(r.Object), r.Object.Attr("address"))
	case engine.KindScaling:
		row = append(row, r.Object.Attr("target"), r.Object.Attr("mode"))
	}
	if why := r.Observation.Why; why != "" && st != "suspended" {
		return append(row, s.bad(oneLine(why)))
	}
	return append(row, usageText(r, now))
}

// oneLine is a text's first line, and of what follows, which is a log mostly, the last.
func oneLine(text string) string {
	first, rest, more := strings.Cut(strings.TrimSpace(text), "\n")
	if !more {
		return first
	}
	return first + " " + strings.TrimSpace(rest[strings.LastIndexByte(rest, '\n')+1:])
}

func sizeOf(o engine.Object) string {
	vm := engine.MustDecode[engine.VM](engine.With(o.Value, nil))
	if vm.CPUs == 1 {
		return "1 cpu, " + vm.Memory.String()
	}
	return fmt.Sprintf("%g cpus, %s", vm.CPUs, vm.Memory)
}

// backendsOf sums up the backends of a frontend.
func backendsOf(frontend engine.Address, all []ResourceStatus) string {
	var states []string
	for _, r := range all {
		if r.Object.Address.Kind == engine.KindBackend {
			if f, _ := r.Object.Address.Membership(); f == frontend {
				states = append(states, r.State())
			}
		}
	}
	if len(states) == 0 {
		return "no backends"
	}
	return "backends: " + States(states)
}

func usageText(r ResourceStatus, now time.Time) string {
	u := r.Usage
	if u == nil {
		return ""
	}
	if r.Object.Address.Kind == engine.KindFrontend {
		return fmt.Sprintf("%.1f/s, %d in flight, p95 %s", u.Rate, u.InFlight, u.P95.Round(100*time.Microsecond))
	}
	text := fmt.Sprintf("cpu %.2f, mem %s", u.CPUCores, bytesText(u.MemoryBytes))
	if !u.Since.IsZero() {
		text += ", up " + ago(now.Sub(u.Since))
	}
	if u.Restarts > 0 {
		text += ", " + several(u.Restarts, "restart", "restarts")
	}
	return text
}

// several counts things: one of them, or more.
func several(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func bytesText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%dGiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%dMiB", n>>20)
	default:
		return fmt.Sprintf("%.1fMiB", float64(n)/(1<<20))
	}
}

// ago writes how long something has been: 12s, 4m, 3h, 5d.
func ago(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// JSONStatus is a flow's status in JSON.
type JSONStatus struct {
	FormatVersion string                     `json:"format_version"`
	Flow          string                     `json:"flow"`
	Serial        int64                      `json:"serial"`
	Lock          *state.Holder              `json:"lock"`
	LastRun       *JSONRun                   `json:"last_run"`
	Open          int                        `json:"open_operations"`
	Groups        map[string]map[string]int  `json:"groups"` // states counted, by group
	Sizes         []engine.HandSize          `json:"sizes"`  // set by hand
	Resources     []JSONResource             `json:"resources"`
	Outputs       map[string]JSONOutputValue `json:"outputs"`
	Controller    *JSONController            `json:"controller"` // null if none runs
}

// JSONResource is one object's status.
type JSONResource struct {
	Address     string          `json:"address"`
	Kind        string          `json:"kind"`
	Generation  int             `json:"generation"`
	Provider    string          `json:"provider"`
	State       string          `json:"state"`
	Why         string          `json:"why,omitempty"`
	Value       json.RawMessage `json:"value"`
	CPUCores    float64         `json:"cpu_cores,omitempty"`
	MemoryBytes int64           `json:"memory_bytes,omitempty"`
	IO          *providers.IO   `json:"io,omitempty"`
	Restarts    int             `json:"restarts,omitempty"`
	Since       *time.Time      `json:"since,omitempty"`
	RateRPS     float64         `json:"rate_rps,omitempty"`
	InFlight    int             `json:"in_flight,omitempty"`
	P50Ms       float64         `json:"p50_ms,omitempty"`
	P95Ms       float64         `json:"p95_ms,omitempty"`
}

// JSONController is the controller of a flow.
type JSONController struct {
	PID    int         `json:"pid"`
	Status *api.Status `json:"status"` // null if it does not answer
}

// StatusJSON converts a status.
func StatusJSON(st FlowStatus) JSONStatus {
	j := JSONStatus{
		FormatVersion: FormatVersion, Flow: st.Flow, Serial: st.Serial, Lock: st.Lock, Open: st.Open,
		Groups: map[string]map[string]int{}, Sizes: append([]engine.HandSize{}, st.Sizes...), Resources: []JSONResource{}, Outputs: OutputsJSON(st.Outputs),
	}
	if st.LastRun != nil {
		r := RunJSON(*st.LastRun)
		j.LastRun = &r
	}
	if st.ControllerPID != 0 {
		j.Controller = &JSONController{st.ControllerPID, st.Controller}
	}
	for _, r := range st.Resources {
		group := r.Object.Address.Group().String()
		if j.Groups[group] == nil {
			j.Groups[group] = map[string]int{}
		}
		j.Groups[group][r.State()]++
		j.Resources = append(j.Resources, resourceJSON(r))
	}
	return j
}

func resourceJSON(r ResourceStatus) JSONResource {
	o := r.Object
	j := JSONResource{
		Address: o.Address.String(), Kind: string(o.Address.Kind), Generation: o.Gen, Provider: o.Provider,
		State: r.State(), Why: r.Observation.Why, Value: json.RawMessage("null"),
	}
	if r.Unmade != nil {
		j.Why = r.Unmade.Why
		return j
	}
	j.Value = ObjectJSON(o.Value, o.Sensitive)
	if u := r.Usage; u != nil {
		j.CPUCores, j.MemoryBytes, j.Restarts, j.IO = u.CPUCores, u.MemoryBytes, u.Restarts, u.IO
		j.RateRPS, j.InFlight, j.P50Ms, j.P95Ms = u.Rate, u.InFlight, u.P50.Seconds()*1000, u.P95.Seconds()*1000
		if !u.Since.IsZero() {
			j.Since = &u.Since
		}
	}
	return j
}
