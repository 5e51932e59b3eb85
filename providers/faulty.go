package providers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// Fault is a way in which a call goes wrong. The list is that of Temporal's
// persistence fault injection (common/persistence/faultinjection): a time-out,
// a service that is away, a limit that is reached, a lease that is lost, and
// the worst: the call took effect, but the caller sees an error.
type Fault int

// The faults.
const (
	NoFault Fault = iota
	Timeout
	Unavailable
	Exhausted
	LostLease
	TookEffect
)

// Faults lists all faults.
var Faults = []Fault{Timeout, Unavailable, Exhausted, LostLease, TookEffect}

func (f Fault) String() string {
	return [...]string{"none", "timeout", "unavailable", "exhausted", "lost lease", "took effect but reported an error"}[f]
}

// ErrInjected is wrapped by every error that Faulty makes up.
var ErrInjected = errors.New("injected fault")

func (f Fault) err(act string) error {
	err := fmt.Errorf("%s: %w: %s", act, ErrInjected, f)
	if f == LostLease {
		return Permanent(err)
	}
	return Passing(err)
}

// Faulty decorates a provider with faults, for tests.
type Faulty struct {
	Provider
	// Pick decides about one call: "read", "apply", "take" or "delete" of an address.
	Pick func(call string, a engine.Address) Fault
}

// Unwrap returns the decorated provider.
func (f *Faulty) Unwrap() Provider { return f.Provider }

// Seeded returns a Pick that lets each call fail with probability p. It is safe
// for concurrent use.
func Seeded(r *rand.Rand, p float64) func(string, engine.Address) Fault {
	var mu sync.Mutex
	return func(string, engine.Address) Fault {
		mu.Lock()
		defer mu.Unlock()
		if r.Float64() >= p {
			return NoFault
		}
		return Faults[r.IntN(len(Faults))]
	}
}

// Read implements Provider.
func (f *Faulty) Read(ctx context.Context, o engine.Object) (engine.Observation, error) {
	if fault := f.Pick("read", o.Address); fault != NoFault {
		return engine.Observation{Object: o, Presence: engine.Unreachable, Why: fault.String()}, fault.err("read " + o.Address.String())
	}
	return f.Provider.Read(ctx, o)
}

// Apply implements Provider.
func (f *Faulty) Apply(ctx context.Context, c Call) (engine.Object, error) {
	switch fault := f.Pick("apply", c.Address); fault {
	case NoFault:
		return f.Provider.Apply(ctx, c)
	case TookEffect:
		if o, err := f.Provider.Apply(ctx, c); err != nil {
			return o, err
		}
		return c.Object(cty.NilVal), fault.err("apply " + c.Address.String())
	default:
		return c.Object(cty.NilVal), fault.err("apply " + c.Address.String())
	}
}

// Take implements Taker, as far as the decorated provider does. Its faults are those
// of "take".
func (f *Faulty) Take(ctx context.Context, c Call, warm engine.Object) (engine.Object, error) {
	t, ok := As[Taker](f.Provider)
	if !ok {
		return c.Object(cty.NilVal), fmt.Errorf("take %s: %w", warm.Address, ErrNotFound)
	}
	fault := f.Pick("take", c.Address)
	if fault == NoFault {
		return t.Take(ctx, c, warm)
	}
	if fault == TookEffect {
		if o, err := t.Take(ctx, c, warm); err != nil {
			return o, err
		}
	}
	return c.Object(cty.NilVal), fault.err("take " + warm.Address.String())
}

// Delete implements Provider.
func (f *Faulty) Delete(ctx context.Context, o engine.Object, operation string) error {
	switch fault := f.Pick("delete", o.Address); fault {
	case NoFault:
		return f.Provider.Delete(ctx, o, operation)
	case TookEffect:
		if err := f.Provider.Delete(ctx, o, operation); err != nil {
			return err
		}
		return fault.err("delete " + o.Address.String())
	default:
		return fault.err("delete " + o.Address.String())
	}
}
