package providers

import (
	"context"
	"fmt"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// Ref names an object to the functions of a native provider.
type Ref struct {
	Address   engine.Address
	Gen       int
	Operation string // "" when it is only looked for
	Standby   bool   // as in Call
	Stock     func() Stock
}

// Key returns the object's key.
func (r Ref) Key() engine.Key { return engine.Key{Address: r.Address, Gen: r.Gen} }

// Native is a provider made of one Resource for each kind.
type Native struct {
	Name  string
	Kinds map[engine.Kind]Resource
}

// Resource is how a native provider makes one kind. Of makes it of typed
// functions.
type Resource interface {
	read(ctx context.Context, o engine.Object) (engine.Observation, error)
	apply(ctx context.Context, c Call) (engine.Object, error)
	delete(ctx context.Context, o engine.Object, operation string) error
	check(ctx context.Context, a engine.Address, want cty.Value, prior *engine.Object) engine.Diagnostics
	refine(p engine.Proposal) engine.Proposal
}

// Status is what Read found of an object.
type Status struct {
	Presence engine.Presence
	Why      string
	Detour   string // as in engine.Observation
}

// Of holds the typed functions of one kind, whose values decode into T. Check
// and Refine may be nil.
type Of[T any] struct {
	// ReadFn returns the object's value as it is now.
	ReadFn func(ctx context.Context, r Ref, known T) (T, Status, error)
	// ApplyFn makes the object; prior is nil on create. It fills in the computed
	// fields of want and returns it. made tells whether something exists after
	// an error.
	ApplyFn func(ctx context.Context, r Ref, want T, prior *T) (got T, made bool, err error)
	// DeleteFn removes the object.
	DeleteFn func(ctx context.Context, r Ref, known T) error
	// CheckFn is a Checker's; unknown fields are zero.
	CheckFn func(ctx context.Context, a engine.Address, want T, prior *T) engine.Diagnostics
	// RefineFn is a Refiner's.
	RefineFn func(p engine.Proposal) engine.Proposal
}

func (k Of[T]) read(ctx context.Context, o engine.Object) (engine.Observation, error) {
	known, err := decode[T](o.Value)
	if err != nil {
		return engine.Observation{}, fmt.Errorf("read %s: %w", o.Address, err)
	}
	got, status, err := k.ReadFn(ctx, Ref{Address: o.Address, Gen: o.Gen}, known)
	if err != nil {
		return engine.Observation{Object: o, Presence: engine.Unreachable, Why: err.Error()}, fmt.Errorf("read %s: %w", o.Address, err)
	}
	if status.Presence != engine.Gone {
		o.Value = merge(o.Value, got)
	}
	return engine.Observation{Object: o, Presence: status.Presence, Why: status.Why, Detour: status.Detour}, nil
}

func (k Of[T]) apply(ctx context.Context, c Call) (engine.Object, error) {
	none := c.Object(cty.NilVal)
	want, err := decode[T](c.Want)
	if err != nil {
		return none, err
	}
	var prior *T
	if c.Prior != nil {
		p, err := decode[T](c.Prior.Value)
		if err != nil {
			return none, err
		}
		prior = &p
	}
	got, made, err := k.ApplyFn(ctx, Ref{c.Address, c.Gen, c.Operation, c.Standby, c.Stock}, want, prior)
	if err != nil && !made {
		return none, err
	}
	return c.Object(merge(c.Want, got)), err
}

func (k Of[T]) delete(ctx context.Context, o engine.Object, operation string) error {
	known, err := decode[T](o.Value)
	if err != nil {
		return err
	}
	return k.DeleteFn(ctx, Ref{Address: o.Address, Gen: o.Gen, Operation: operation}, known)
}

func (k Of[T]) check(ctx context.Context, a engine.Address, want cty.Value, prior *engine.Object) engine.Diagnostics {
	if k.CheckFn == nil {
		return nil
	}
	w, err := decode[T](want)
	if err != nil {
		return engine.Diagnostics{{Summary: "Invalid value", Detail: err.Error(), Address: a}}
	}
	var was *T
	if prior != nil {
		if p, err := decode[T](prior.Value); err == nil {
			was = &p
		}
	}
	return k.CheckFn(ctx, a, w, was)
}

func (k Of[T]) refine(p engine.Proposal) engine.Proposal {
	if k.RefineFn == nil {
		return p
	}
	return k.RefineFn(p)
}

func decode[T any](v cty.Value) (T, error) {
	var t T
	if v == cty.NilVal {
		return t, nil
	}
	err := engine.Decode(v, &t)
	return t, err
}

// merge puts what a function returned into the value that it was given.
func merge[T any](v cty.Value, got T) cty.Value {
	if v == cty.NilVal || v.IsNull() {
		return engine.Encode(got)
	}
	return engine.Merge(v, got)
}

var (
	_ Provider = (*Native)(nil)
	_ Checker  = (*Native)(nil)
	_ Refiner  = (*Native)(nil)
)

func (n *Native) kind(a engine.Address) (Resource, error) {
	if r, ok := n.Kinds[a.Kind]; ok {
		return r, nil
	}
	return nil, Unsupported(n.Name, a)
}

// Read implements Provider.
func (n *Native) Read(ctx context.Context, o engine.Object) (engine.Observation, error) {
	k, err := n.kind(o.Address)
	if err != nil {
		return engine.Observation{}, err
	}
	return k.read(ctx, o)
}

// Apply implements Provider.
func (n *Native) Apply(ctx context.Context, c Call) (engine.Object, error) {
	k, err := n.kind(c.Address)
	if err != nil {
		return c.Object(cty.NilVal), err
	}
	return k.apply(ctx, c)
}

// Delete implements Provider.
func (n *Native) Delete(ctx context.Context, o engine.Object, operation string) error {
	k, err := n.kind(o.Address)
	if err != nil {
		return err
	}
	return k.delete(ctx, o, operation)
}

// Check implements Checker.
func (n *Native) Check(ctx context.Context, a engine.Address, want cty.Value, prior *engine.Object) engine.Diagnostics {
	k, err := n.kind(a)
	if err != nil {
		return engine.Diagnostics{{Summary: "Kind not made by this provider", Detail: fmt.Sprintf("The provider %q does not make %s blocks. Name another provider in the block.", n.Name, a.Kind), Address: a}}
	}
	return k.check(ctx, a, want, prior)
}

// Refine implements Refiner.
func (n *Native) Refine(p engine.Proposal) engine.Proposal {
	k, err := n.kind(p.Address)
	if err != nil {
		return p
	}
	return k.refine(p)
}
