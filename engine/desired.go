package engine

import (
	"cmp"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// Desired is what a spec asks for. It is made by spec.Load and complete: no
// other reading of the spec is needed to plan and apply it.
type Desired struct {
	Flow        string
	Description string
	Dir         string // the spec's folder, absolute; relative paths in the spec start here
	Parallelism int    // 0 if the spec says nothing
	Limits      Limits
	Decls       []Decl // each after those that it needs
	Machines    []MachineGroup
	Functions   []FunctionGroup
	Clusters    []ClusterGroup
	Outputs     []OutputDecl
	Providers   []Setting
	Hidden      []string          // the names of variables that are sensitive, sorted
	Runners     map[string]string // who runs functions on the machines of a provider that does not do so itself
}

// Runner is the provider that runs functions on the machines of another, which is
// mostly the same.
func (d *Desired) Runner(provider string) string {
	base, _, _ := strings.Cut(provider, ".")
	return cmp.Or(d.Runners[base], provider)
}

// Limits bound what runs at once besides the flow's parallelism; 0 or a missing
// entry means no bound.
type Limits struct {
	Provision int            `flow:"provision" min:"1" max:"1000" doc:"Tasks of the provision phase."`
	Deploy    int            `flow:"deploy" min:"1" max:"1000" doc:"Tasks of the deploy phase."`
	Stitch    int            `flow:"stitch" min:"1" max:"1000" doc:"Tasks of the stitch phase."`
	Tune      int            `flow:"tune" min:"1" max:"1000" doc:"Tasks of the tune phase."`
	Providers map[string]int `flow:"providers" doc:"Tasks by provider, such as { local = 4 }."`
}

// Phases are the limits by phase.
func (l Limits) Phases() map[Phase]int {
	return map[Phase]int{Provision: l.Provision, Deploy: l.Deploy, Stitch: l.Stitch, Tune: l.Tune}
}

// Decl declares one resource, or one group of instances that differ only in
// their number.
type Decl struct {
	Address  Address
	Provider string // "" for a function: that of its machine
	Needs    []Need
	Config   Config
	Source   Range
	Timeouts Timeouts
	Roll     UpdatePolicy // for functions: how replicas are replaced
	Home     Address      // for images: the host that makes it; zero if that cannot be told
}

// Need is one dependency of a Decl.
type Need struct {
	Target Address // a group, a singleton or one instance
	Kind   NeedKind
	Source Range // where the spec says so
}

// NeedKind says what a dependency waits for.
type NeedKind int

// The kinds of needs.
const (
	Made    NeedKind = iota // the target exists as wanted
	Serving                 // a frontend that, besides, has all its backends
	Member                  // a frontend's function: orders nothing by itself, its backends do
)

// Config is a block's configuration: expressions that may refer to what other
// resources become.
type Config interface {
	// Eval returns the resource's value under the kind's ValueSchema. Computed
	// attributes are null; what depends on something not yet known is unknown;
	// what is sensitive is marked with Sensitive.
	Eval(v Values) (cty.Value, Diagnostics)
}

// Values tells what other resources are, as far as known.
type Values interface {
	// Value returns the object of a singleton or an instance, and a tuple of
	// objects for a group of instances. It is cty.DynamicVal for what has no
	// value yet.
	Value(a Address) cty.Value
}

// Unmade are the values of resources of which none is made yet.
type Unmade struct{}

// Value implements Values.
func (Unmade) Value(Address) cty.Value { return cty.DynamicVal }

// OutputDecl declares one output.
type OutputDecl struct {
	Name        string
	Description string
	Sensitive   bool
	Config      Config // Eval returns the output's value, of any type
	Source      Range
}

// Timeouts limits each attempt at an operation; 0 means the default.
type Timeouts struct {
	Create Duration `flow:"create,meta" min:"10ms" doc:"The longest that one attempt at creating takes, its health check included."`
	Update Duration `flow:"update,meta" min:"10ms" doc:"The longest that one attempt at updating takes."`
	Delete Duration `flow:"delete,meta" min:"10ms" doc:"The longest that one attempt at deleting takes, draining included."`
}

// Bounds is the size of a group: fixed (Min = Max) or owned by a scaling block.
type Bounds struct {
	Min, Max   int
	Autoscaled bool
}

// Clamp returns n moved into the bounds.
func (b Bounds) Clamp(n int) int { return min(max(n, b.Min), b.Max) }

// Indexes returns the numbers of the instances that a group should have, given
// those that it has, sorted. A fixed group is counted from 0; an autoscaled one
// keeps what it has, loses the highest above the bounds and gains the smallest
// that are free below them.
func (b Bounds) Indexes(have []int) []int {
	if !b.Autoscaled {
		have = nil
	}
	have = slices.Compact(slices.Sorted(slices.Values(have)))
	want := b.Clamp(len(have))
	return Grow(have[:min(len(have), want)], want-len(have))
}

// Grow adds the n smallest numbers that are not among the sorted indexes.
func Grow(indexes []int, n int) []int {
	if n <= 0 {
		return indexes
	}
	out := make([]int, 0, len(indexes)+n)
	i := 0
	for next := 0; len(out) < cap(out); next++ {
		if i < len(indexes) && indexes[i] == next {
			out = append(out, next)
			i++
			continue
		}
		if n == 0 {
			out = append(out, indexes[i:]...)
			break
		}
		out = append(out, next)
		n--
	}
	return out
}

// Capacity is what a machine offers, or what a replica needs.
type Capacity struct {
	CPU    float64 // cores
	Memory Size
	Slots  int // replicas; on a machine, 0 means no limit of its own
}

// MachineGroup is what placement needs to know of a vm group or a host.
type MachineGroup struct {
	Address  Address
	Provider string
	Count    Bounds
	Each     Capacity
	Headroom int // free slots kept ready; only with a scaling block
	Warm     int // machines kept ready besides
	Source   Range
	WarmAt   Range // where the spec asks for warm ones
}

// FunctionGroup is what placement needs to know of a function.
type FunctionGroup struct {
	Address       Address
	Replicas      Bounds
	Each          Capacity // Slots is 1
	On            []Address
	Spread        bool
	MaxPerMachine int // 0 means no limit
	Colocate      []Address
	Avoid         []Address
	Source        Range
}

// ClusterGroup is who belongs to a cluster.
type ClusterGroup struct {
	Address Address
	Heads   []Address // groups of machines
	Workers []Address
}

// Sensitive marks values that are never shown.
const Sensitive = mark("sensitive")

type mark string

// GoString implements fmt.GoStringer, which cty uses to print marks.
func (m mark) GoString() string { return "engine." + string(m) }
