package engine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/zclconf/go-cty/cty"
)

// Lifecycle says how far an object has come.
type Lifecycle int

// The lifecycle states.
const (
	Ready      Lifecycle = iota
	Unverified           // made, but not yet seen to work: its run was interrupted
	Tainted              // half-made: it is replaced, not repaired
	Suspended            // by an operator: it stays so until it is resumed
)

func (l Lifecycle) String() string {
	switch l {
	case Ready:
		return "ready"
	case Unverified:
		return "unverified"
	case Tainted:
		return "tainted"
	case Suspended:
		return "suspended"
	default:
		panic(fmt.Sprintf("bug: lifecycle %d", int(l)))
	}
}

// Object is a real thing that a provider made of a resource.
//
// A resource may have several objects for a while: when it is replaced, the new
// one has the next generation, and the old one stays until the new one has
// taken over. Outside names derive from address and generation, so that they
// can be found again whoever made them.
type Object struct {
	Address   Address
	Gen       int       // generation, from 1
	Provider  string    // "local", or "libvirt.east" for a provider with an alias
	Value     cty.Value // of the kind's schema, wholly known, without marks
	Sensitive []string  // attributes ("exec") and map entries ("env.TOKEN") never shown
	Private   []byte    // the provider's own notes
	Needs     []Address // the groups and resources that it was made to depend on
	Operation string    // the journal's id of the operation that made or last changed it
	Lifecycle Lifecycle
	Kept      time.Time // until when it is kept, without requests, for a rollback; zero if it is not
}

// Key identifies an object.
type Key struct {
	Address Address
	Gen     int
}

// Key returns o's key.
func (o Object) Key() Key { return Key{o.Address, o.Gen} }

func (k Key) String() string { return fmt.Sprintf("%s (generation %d)", k.Address, k.Gen) }

// Compare orders keys by address, then generation.
func (k Key) Compare(l Key) int {
	return cmp.Or(k.Address.Compare(l.Address), cmp.Compare(k.Gen, l.Gen))
}

// Attr returns a string attribute of the value, "" if it is null or missing.
func (o Object) Attr(name string) string {
	if o.Value == cty.NilVal || o.Value.IsNull() || !o.Value.Type().HasAttribute(name) {
		return ""
	}
	v := o.Value.GetAttr(name)
	if v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
		return ""
	}
	return v.AsString()
}

// ID returns the provider's own name of the object.
func (o Object) ID() string { return o.Attr("id") }

// HostID is the id of the host that an image or a network is on, "" for all else.
func (o Object) HostID() string {
	if o.Address.Kind != KindImage && o.Address.Kind != KindNetwork || o.Value == cty.NilVal || o.Value.IsNull() {
		return ""
	}
	host, _ := o.Value.GetAttr("host").Unmark()
	if host.IsNull() || !host.IsKnown() {
		return ""
	}
	return Object{Value: host}.ID()
}

// Presence says what was found when a provider looked for an object.
type Presence int

// The findings.
const (
	Present     Presence = iota
	Gone                 // it is not there any more
	Down                 // it is there but does not work: apply can mend it in place
	Unreachable          // nobody could say; nothing is done to it
)

// Observation is what a provider found of one object.
type Observation struct {
	Object   Object
	Presence Presence
	Why      string // for the operator: "process exited with status 1"; "" if Present
	Detour   string // of a backend: why it does not get requests like the others: "it stands by"
}

// Snapshot is all that state remembers, at one serial.
type Snapshot struct {
	Lineage   string // made once per state; two states with different lineages have nothing in common
	Serial    int64  // grows with every change of a resource
	Objects   []Object
	Outputs   map[string]OutputValue
	Open      []Intent  // operations that began and whose outcome is unknown: their process died
	Providers []Setting // the provider settings of the last apply, for destroying without a spec
	SpecPath  string    // the spec that was applied last
	Sizes     []HandSize
	Revisions []Revision // of the functions, by function and number
}

// HandSize is the size of a group as an operator set it by hand. It holds for as
// long as the spec goes on saying what it said then.
type HandSize struct {
	Group Address `json:"group"`
	Size  int     `json:"size"`
	Spec  int     `json:"spec"`
}

// SortSizes puts sizes into the order of their groups.
func SortSizes(sizes []HandSize) {
	slices.SortFunc(sizes, func(a, b HandSize) int { return a.Group.Compare(b.Group) })
}

// Setting is the configuration of one provider (or one alias of it).
type Setting struct {
	Name   string // "local" or "libvirt.east"
	Config cty.Value
}

// OutputValue is one output of a flow.
type OutputValue struct {
	Value       cty.Value
	Sensitive   bool
	Description string
}

// Sort puts the objects into the order of their keys. Those who build a
// snapshot call it; readers rely on it.
func (s *Snapshot) Sort() {
	slices.SortFunc(s.Objects, func(a, b Object) int { return a.Key().Compare(b.Key()) })
}

// Current picks, of all objects of one resource sorted by generation, the one
// that stands for it: the newest that is neither tainted nor kept for a rollback,
// or else the newest. The others are leftovers. It returns nil for no objects.
func Current(objects []Object) (current *Object, leftovers []Object) {
	at := len(objects) - 1
	for i := at; i >= 0; i-- {
		if objects[i].Lifecycle != Tainted && objects[i].Kept.IsZero() {
			at = i
			break
		}
	}
	return Pick(objects, at)
}

// Pick parts one of the objects of a resource from its leftovers.
func Pick(objects []Object, at int) (current *Object, leftovers []Object) {
	if len(objects) == 0 {
		return nil, nil
	}
	for i, o := range objects {
		if i != at {
			leftovers = append(leftovers, o)
		}
	}
	return &objects[at], leftovers
}

// Intent is the journal's record that an operation is about to begin. It is
// durable before a provider is called.
type Intent struct {
	Operation string // unique in the state; labels what the operation makes
	Run       int64
	Step      int
	Address   Address
	Gen       int
	Op        Op
	Provider  string
	Needs     []Address // of the object, should it be found without a record
	Planned   cty.Value // what was to be made; unknowns where they were unknown
	At        time.Time
}

// Outcome is the journal's record of how an operation ended. It is durable
// before anything that depends on it begins.
type Outcome struct {
	Operation string
	Address   Address
	Gen       int
	Op        Op
	Object    *Object // what exists now; nil if nothing does
	Unchanged bool    // nothing had to be done after all
	Err       string  // "" for success
	Unknown   bool    // nobody could say what exists: the operation stays open, to be looked into
	Taken     *Key    // what Object was before, and is no more; nil if it was made
	Attempts  int
	Started   time.Time
	Ended     time.Time
}
