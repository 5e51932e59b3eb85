package engine

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Kind is a kind of resource, as it is spelled in a spec.
type Kind string

// The kinds of resources. Three have no block of their own: there is a backend for
// each pair of a frontend and a replica that it balances to, a delivery for each
// pair of an image and a machine that it is brought to, and as many warm machines
// as a vm block keeps ready besides its own.
const (
	KindVM       Kind = "vm"
	KindWarm     Kind = "warm"
	KindHost     Kind = "host"
	KindNetwork  Kind = "network"
	KindImage    Kind = "image"
	KindDelivery Kind = "delivery"
	KindFunction Kind = "function"
	KindFrontend Kind = "frontend"
	KindBackend  Kind = "backend"
	KindCluster  Kind = "cluster"
	KindScaling  Kind = "scaling"
	KindTask     Kind = "task"
)

// Phase returns the phase in which resources of this kind are changed. A task
// names its own; Deploy is what it gets when it does not.
func (k Kind) Phase() Phase {
	switch k {
	case KindVM, KindHost, KindNetwork:
		return Provision
	case KindImage, KindDelivery, KindFunction, KindTask:
		return Deploy
	case KindFrontend, KindBackend, KindCluster:
		return Stitch
	case KindScaling, KindWarm:
		return Tune
	default:
		panic("bug: phase of unknown kind " + string(k))
	}
}

// Sized reports whether blocks of this kind make a group of instances, counted
// from 0, rather than one resource.
func (k Kind) Sized() bool { return k == KindVM || k == KindFunction }

// Carries reports whether objects of this kind are machines, made by one provider, that
// carry what another runs.
func (k Kind) Carries() bool { return k == KindVM || k == KindWarm }

// StandsOn reports whether an object of kind k cannot exist without the one of
// kind in that it stands on: a replica or a delivery without its machine, a
// backend without its frontend and replica, a machine without its network.
func (k Kind) StandsOn(in Kind) bool {
	switch k {
	case KindFunction, KindDelivery:
		return in.Carries() || in == KindHost
	case KindBackend:
		return in == KindFrontend || in == KindFunction
	case KindVM, KindWarm:
		return in == KindNetwork
	default:
		return false
	}
}

// Phase is one of the four stages of a run.
type Phase int

// The phases, in order.
const (
	Provision Phase = iota
	Deploy
	Stitch
	Tune
)

// Phases lists all phases in order.
var Phases = [...]Phase{Provision, Deploy, Stitch, Tune}

func (p Phase) String() string {
	switch p {
	case Provision:
		return "provision"
	case Deploy:
		return "deploy"
	case Stitch:
		return "stitch"
	case Tune:
		return "tune"
	default:
		panic(fmt.Sprintf("bug: phase %d", int(p)))
	}
}

// ParsePhase is the inverse of Phase.String.
func ParsePhase(s string) (Phase, bool) {
	for _, p := range Phases {
		if p.String() == s {
			return p, true
		}
	}
	return 0, false
}

// Address names one resource, or a group of them. It is comparable and usable
// as a map key. Its forms:
//
//	frontend.www            a singleton, or a whole group
//	vm.node[0]              an instance of a group; n counts from 0
//	function.web["eu"][2]   an instance of the group that for_each made for "eu"
//	backend.www/web[2]      replica function.web[2] behind frontend.www
//	delivery.app/vm.node[2] image.app on vm.node[2]
//	warm.node[0]            a machine kept ready to become one of vm.node
type Address struct {
	Kind Kind
	Name string
	Key  string // the for_each key; "" if the block has none
	nth  int    // index + 1; 0 if there is none
}

// Addr returns the address of a singleton or a group.
func Addr(kind Kind, name string) Address { return Address{Kind: kind, Name: name} }

// For returns a's address under a for_each key.
func (a Address) For(key string) Address { a.Key = key; return a }

// At returns the address of instance i of group a.
func (a Address) At(i int) Address { a.nth = i + 1; return a }

// Index returns the instance's number, and false if a is no instance.
func (a Address) Index() (int, bool) { return a.nth - 1, a.nth > 0 }

// Group returns a without its index.
func (a Address) Group() Address { a.nth = 0; return a }

// Block returns a without index and key: the address of the block that
// declares it.
func (a Address) Block() Address { return Address{Kind: a.Kind, Name: a.Name} }

// IsZero reports whether a names nothing.
func (a Address) IsZero() bool { return a == Address{} }

// BackendOf returns the address of the backend that stands for replica behind
// frontend.
func BackendOf(frontend, replica Address) Address {
	return Address{Kind: KindBackend, Name: frontend.local() + "/" + replica.Name, Key: replica.Key, nth: replica.nth}
}

// Membership splits the address of a backend into its frontend and replica.
func (a Address) Membership() (frontend, replica Address) {
	slash := strings.LastIndexByte(a.Name, '/') // a function's name has none
	if a.Kind != KindBackend || slash < 0 {
		panic("bug: not a backend: " + a.String())
	}
	frontend, err := ParseAddress(string(KindFrontend) + "." + a.Name[:slash])
	if err != nil {
		panic("bug: backend " + a.String() + ": " + err.Error())
	}
	return frontend, Address{Kind: KindFunction, Name: a.Name[slash+1:], Key: a.Key, nth: a.nth}
}

// DeliveryOf returns the address of the delivery that brings image to machine.
func DeliveryOf(image, machine Address) Address {
	return Address{Kind: KindDelivery, Name: image.local() + "/" + string(machine.Kind) + "." + machine.Name, Key: machine.Key, nth: machine.nth}
}

// Consignment splits the address of a delivery into its image and machine.
func (a Address) Consignment() (image, machine Address) {
	slash := strings.LastIndexByte(a.Name, '/') // a machine's name has none
	kind, name, ok := strings.Cut(a.Name[slash+1:], ".")
	if a.Kind != KindDelivery || slash < 0 || !ok {
		panic("bug: not a delivery: " + a.String())
	}
	image, err := ParseAddress(string(KindImage) + "." + a.Name[:slash])
	if err != nil {
		panic("bug: delivery " + a.String() + ": " + err.Error())
	}
	return image, Address{Kind: Kind(kind), Name: name, Key: a.Key, nth: a.nth}
}

// Warm returns the group of the machines that are kept ready for group a of
// machines.
func (a Address) Warm() Address { return Address{Kind: KindWarm, Name: a.Name, Key: a.Key} }

// Taker returns the group of machines that a warm machine is kept ready for.
func (a Address) Taker() Address { return Address{Kind: KindVM, Name: a.Name, Key: a.Key} }

func (a Address) local() string {
	if a.Key == "" && a.nth == 0 {
		return a.Name
	}
	var b strings.Builder
	b.WriteString(a.Name)
	if a.Key != "" {
		b.WriteString("[" + strconv.Quote(a.Key) + "]")
	}
	if a.nth > 0 {
		b.WriteString("[" + strconv.Itoa(a.nth-1) + "]")
	}
	return b.String()
}

func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	return string(a.Kind) + "." + a.local()
}

// ParseAddress is the inverse of Address.String.
func ParseAddress(s string) (Address, error) {
	kind, rest, ok := strings.Cut(s, ".")
	if !ok || kind == "" || rest == "" {
		return Address{}, fmt.Errorf("%q is not an address: write kind.name or kind.name[n]", s)
	}
	a := Address{Kind: Kind(kind)}
	rest, a.nth = cutIndex(rest)
	rest, key, ok := cutKey(rest)
	if !ok || rest == "" || strings.ContainsAny(rest, "[]/") && a.Kind != KindBackend && a.Kind != KindDelivery {
		return Address{}, fmt.Errorf("%q is not an address: write kind.name, kind.name[n] or kind.name[\"key\"][n]", s)
	}
	a.Name, a.Key = rest, key
	return a, nil
}

// cutIndex cuts a trailing [n] and returns n+1, or 0 if there is none.
func cutIndex(s string) (string, int) {
	open := strings.LastIndexByte(s, '[')
	if open < 0 || !strings.HasSuffix(s, "]") {
		return s, 0
	}
	digits := s[open+1 : len(s)-1]
	if strings.HasPrefix(digits, `"`) { // most often: spare the error
		return s, 0
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || strconv.Itoa(n) != digits {
		return s, 0
	}
	return s[:open], n + 1
}

// cutKey cuts a trailing ["key"]. The key may hold any character, quoted as in
// Go; ok is false if brackets are left over that are no key.
func cutKey(s string) (rest, key string, ok bool) {
	if !strings.HasSuffix(s, "]") {
		return s, "", true
	}
	for open := strings.LastIndex(s, `["`); open >= 0; open = strings.LastIndex(s[:open], `["`) {
		if key, err := strconv.Unquote(s[open+1 : len(s)-1]); err == nil && key != "" {
			return s[:open], key, true
		}
	}
	return s, "", false
}

// Compare orders addresses by kind, name, key and index (as numbers).
func (a Address) Compare(b Address) int {
	return cmp.Or(
		cmp.Compare(a.Kind.order(), b.Kind.order()),
		strings.Compare(string(a.Kind), string(b.Kind)),
		strings.Compare(a.Name, b.Name),
		strings.Compare(a.Key, b.Key),
		cmp.Compare(a.nth, b.nth),
	)
}

// order sorts kinds as a reader meets them: from the ground up.
func (k Kind) order() int {
	switch k {
	case KindNetwork:
		return 0
	case KindHost:
		return 1
	case KindVM:
		return 2
	case KindWarm:
		return 3
	case KindImage:
		return 4
	case KindDelivery:
		return 5
	case KindFunction:
		return 6
	case KindTask:
		return 7
	case KindFrontend:
		return 8
	case KindBackend:
		return 9
	case KindCluster:
		return 10
	case KindScaling:
		return 11
	default:
		return 12
	}
}

// List names addresses for a reader: the first three, and how many more there are.
func List(all []Address) string {
	var names []string
	for _, a := range all[:min(len(all), 3)] {
		names = append(names, a.String())
	}
	if more := len(all) - len(names); more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), more)
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// MarshalText implements encoding.TextMarshaler, so that addresses are strings
// in JSON.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Address) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*a = Address{}
		return nil
	}
	p, err := ParseAddress(string(b))
	if err == nil {
		*a = p
	}
	return err
}
