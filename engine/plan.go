package engine

import (
	"fmt"
	"slices"

	"github.com/zclconf/go-cty/cty"
)

// Action is what a plan does to a resource.
type Action int

// The actions.
const (
	NoOp Action = iota
	Create
	Update
	Replace
	Delete
	Run // a task that runs again although nothing about it changed

	// What an operator orders of an object that stays what it is.
	Suspend
	Resume
	Restart
	Capture // a snapshot of a machine
	Revert  // a suspended machine to a snapshot
	Discard // a snapshot
)

func (a Action) String() string {
	switch a {
	case NoOp:
		return "no-op"
	case Create:
		return "create"
	case Update:
		return "update"
	case Replace:
		return "replace"
	case Delete:
		return "delete"
	case Run:
		return "run"
	case Suspend:
		return "suspend"
	case Resume:
		return "resume"
	case Restart:
		return "restart"
	case Capture:
		return "snapshot"
	case Revert:
		return "restore"
	case Discard:
		return "delete-snapshot"
	default:
		panic(fmt.Sprintf("bug: action %d", int(a)))
	}
}

// MarshalText implements encoding.TextMarshaler.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Ordered reports whether a is an operator's order rather than what a spec asks.
func (a Action) Ordered() bool { return a == Suspend || a == Resume || a == Restart || a.Snapshots() }

// Snapshots reports whether a is about a snapshot of a machine.
func (a Action) Snapshots() bool { return a == Capture || a == Revert || a == Discard }

// Pauses reports whether the change takes a replica that stays out of its
// frontends for a while.
func (c Change) Pauses() bool {
	return c.Action == Restart || c.Action == Update && c.Reload != nil && c.Reload.Restart
}

// Change is what a plan does to one resource, and why.
type Change struct {
	Address  Address
	Action   Action
	Phase    Phase
	Provider string // of the new object; of Prior, if the resource is deleted

	Prior     *Object   // the object that stands for the resource now, as observed; nil if there is none
	From      *Object   // Create or Replace of a machine: the warm one that becomes the new object; nil if none does
	Planned   cty.Value // unmarked; unknown where apply will tell; cty.NilVal when deleted
	Sensitive []string  // as in Object
	Leftovers []Object  // other objects of the resource, to be deleted
	Kept      []Object  // others that stay, for a rollback
	Gen       int       // of the object that this change makes or keeps

	Changed      []string // attributes that differ, sorted
	ReplacePaths []string // those of them that need a new object
	Broken       bool     // the prior object does not work, or is not known to
	Still        bool     // the prior object is a machine that stands still: of what is on it nothing can be ended but with it
	CreateFirst  bool     // Replace: the new object is made before the old one is deleted
	Why          string   // for the operator, beyond what Changed tells: "it is gone"
	Hold         string   // why nothing is done although something should be
	Away         bool     // Hold: nobody could say what there is now

	Needs    []Need // targets exist in the plan
	Config   Config // nil when deleted
	Timeouts Timeouts
	Window   int     // Replace or Restart of a replica: how many of its group may be under way at once
	Reload   *Reload // Update of a replica whose files change: how it takes them over
	Noted    bool    // it is recorded only: the provider has nothing to do
	Snapshot string  // Capture, Revert and Discard: its name
	Standby  bool    // of a backend that is made or changed: it gets no requests until its rollout says so
	Source   Range
}

// Plan is everything that must change, as values: the whole instruction. It is
// valid only for the state that it was made from.
type Plan struct {
	Flow     string
	Lineage  string
	Serial   int64
	Destroy  bool
	Ordered  bool     // by an operator: all but the changes stays, outputs and sizes, too
	Changes  []Change // one for each resource, no-ops included, sorted by address
	Outputs  []OutputChange
	Placings []Placing   // where replicas go, sorted by address
	Sizes    []GroupSize // sizes that the spec does not say: autoscaled, or set by hand
	Rollouts []Rollout   // sorted by function
}

// Placing tells where a replica goes, and where it was.
type Placing struct {
	Replica Address
	Machine Address
	Was     Address // zero if it is new
	Why     string
}

// GroupSize is the size of one group in the plan.
type GroupSize struct {
	Group  Address
	Size   int
	Bounds Bounds // as the spec has them
	ByHand bool   // set by an operator, against the spec
}

// HandSizes returns the sizes that hold by hand, sorted by group.
func (p Plan) HandSizes() []HandSize {
	var sizes []HandSize
	for _, g := range p.Sizes {
		if g.ByHand {
			sizes = append(sizes, HandSize{g.Group, g.Size, g.Bounds.Min})
		}
	}
	return sizes
}

// Resizes reports whether p does nothing but change the number of instances in
// these groups, with the backends that come and go with them.
func (p Plan) Resizes(groups []Address) bool {
	for _, c := range p.Changes {
		a := c.Address.Group()
		if c.Address.Kind == KindBackend {
			_, replica := c.Address.Membership()
			a = replica.Group()
		}
		if a.Kind == KindWarm { // they follow what becomes of them
			a = a.Taker()
		}
		sizes := c.Action == Create && (c.Why == "" || c.Address.Kind == KindWarm) || c.Action == Delete
		if c.Action == Run || c.Counts() && (!sizes || len(c.Leftovers) > 0 || !slices.Contains(groups, a)) {
			return false
		}
	}
	return true
}

// OutputChange is one output before and after.
type OutputChange struct {
	Name        string
	Description string
	Sensitive   bool
	Before      cty.Value // cty.NilVal if it is new
	After       cty.Value // cty.NilVal if it is removed
	Config      Config
}

// Changed reports whether the output's value differs or may differ.
func (o OutputChange) Changed() bool {
	if o.Before == cty.NilVal || o.After == cty.NilVal {
		return o.Before != o.After
	}
	return !o.After.IsWhollyKnown() || !o.After.RawEquals(o.Before)
}

// Empty reports whether applying the plan would change nothing. Tasks that run
// at every apply do not count.
func (p Plan) Empty() bool {
	for _, c := range p.Changes {
		if c.Counts() {
			return false
		}
	}
	return !slices.ContainsFunc(p.Outputs, OutputChange.Changed)
}

// Counts reports whether c is a change that a plan's summary counts.
func (c Change) Counts() bool {
	return c.Action != NoOp && c.Action != Run || len(c.Leftovers) > 0
}

// Away lists what could not be reached, and so is left alone.
func (p Plan) Away() []Address {
	var all []Address
	for _, c := range p.Changes {
		if c.Away {
			all = append(all, c.Address)
		}
	}
	return all
}

// Find returns the change of address a, or nil.
func (p Plan) Find(a Address) *Change {
	i, ok := slices.BinarySearchFunc(p.Changes, a, func(c Change, a Address) int { return c.Address.Compare(a) })
	if !ok {
		return nil
	}
	return &p.Changes[i]
}

// Summary counts a plan's actions.
type Summary struct {
	Add, Change, Replace, Destroy, Run int
	Suspend, Resume, Restart           int
	Capture, Revert, Discard           int
}

// Total is the number of all actions.
func (s Summary) Total() int {
	return s.Add + s.Change + s.Replace + s.Destroy + s.Run + s.Suspend + s.Resume + s.Restart + s.Capture + s.Revert + s.Discard
}

// Summarise counts what p does, in all and for each phase.
func (p Plan) Summarise() (all Summary, phases map[Phase]Summary) {
	phases = map[Phase]Summary{}
	for _, c := range p.Changes {
		s := phases[c.Phase]
		for _, n := range []*Summary{&all, &s} {
			n.Destroy += len(c.Leftovers)
			switch c.Action {
			case Create:
				n.Add++
			case Update:
				n.Change++
			case Replace:
				n.Replace++
			case Delete:
				n.Destroy++
			case Run:
				n.Run++
			case Suspend:
				n.Suspend++
			case Resume:
				n.Resume++
			case Restart:
				n.Restart++
			case Capture:
				n.Capture++
			case Revert:
				n.Revert++
			case Discard:
				n.Discard++
			}
		}
		phases[c.Phase] = s
	}
	return all, phases
}

// Proposal is a change of one resource's value that a provider may refine: the
// default comes from comparing under the kind's schema. Refining is pure.
type Proposal struct {
	Address      Address
	Prior        *Object
	Want         cty.Value // computed attributes unknown or as they were
	Changed      []string
	ReplacePaths []string
	Why          string // why ReplacePaths need a new object, where their names do not tell
}
