// Package providertest holds the contract that every provider passes.
package providertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

// Case is one kind of resource under test.
type Case struct {
	Name     string
	Provider providers.Provider
	// Address returns the address of the n-th resource.
	Address func(n int) engine.Address
	// Want returns what is wanted of the n-th resource: computed attributes
	// unknown. What it stands on has been made.
	Want func(t *testing.T, n int) cty.Value
	// Change returns want with something changed that needs no new object; nil
	// if there is nothing of the kind.
	Change func(want cty.Value) cty.Value
	// Vanish removes the object behind the provider's back; nil if it cannot be.
	Vanish func(t *testing.T, o engine.Object)
	// Recorded says that the object lives only in the state, so that reading it
	// needs what was recorded, and deleting it leaves nothing to be missed.
	Recorded bool
	// Once says that there cannot be two generations at a time.
	Once bool
}

// Run checks the contract of providers.Provider.
func Run(t *testing.T, c Case) {
	t.Run(c.Name+"/create", c.create)
	t.Run(c.Name+"/create again", c.again)
	t.Run(c.Name+"/read knowing only the address", c.readBare)
	t.Run(c.Name+"/update", c.update)
	t.Run(c.Name+"/delete", c.remove)
	t.Run(c.Name+"/two generations", c.generations)
	t.Run(c.Name+"/gone behind our back", c.vanish)
	t.Run(c.Name+"/cancelled", c.cancelled)
	t.Run(c.Name+"/many at once", c.many)
}

func (c Case) call(t *testing.T, n, gen int) providers.Call {
	return providers.Call{Operation: fmt.Sprintf("r1-s%d", n), Address: c.Address(n), Gen: gen, Want: c.Want(t, n)}
}

// made creates the n-th resource and removes it when the test ends.
func (c Case) made(t *testing.T, n, gen int) engine.Object {
	t.Helper()
	o, err := c.Provider.Apply(t.Context(), c.call(t, n, gen))
	if err != nil {
		t.Fatalf("create %s: %v", c.Address(n), err)
	}
	t.Cleanup(func() {
		if err := c.Provider.Delete(context.WithoutCancel(t.Context()), o, "r1-s99"); err != nil {
			t.Errorf("clean up %s: %v", o.Key(), err)
		}
	})
	return o
}

// presence reads an object and fails unless it is as present as expected.
func (c Case) presence(t *testing.T, o engine.Object, want engine.Presence) engine.Observation {
	t.Helper()
	obs, err := c.Provider.Read(t.Context(), o)
	if err != nil {
		t.Fatalf("read %s: %v", o.Key(), err)
	}
	if obs.Presence != want {
		t.Fatalf("read %s: presence %d (%s), want %d", o.Key(), obs.Presence, obs.Why, want)
	}
	if want == engine.Gone && obs.Why == "" {
		t.Errorf("read %s: it is gone, but Why is empty", o.Key())
	}
	return obs
}

// listed counts the objects with o's key that the provider lists.
func (c Case) listed(t *testing.T, o engine.Object) int {
	t.Helper()
	l, ok := providers.As[providers.Lister](c.Provider)
	if !ok {
		return 1
	}
	all, err := l.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, x := range all {
		if x.Key() == o.Key() {
			n++
		}
	}
	return n
}

func (c Case) create(t *testing.T) {
	call := c.call(t, 0, 1)
	o := c.made(t, 0, 1)
	if !o.Value.IsWhollyKnown() {
		t.Errorf("the object has unknown attributes: %#v", o.Value)
	}
	if o.Address != call.Address || o.Gen != 1 || o.Operation != call.Operation {
		t.Errorf("the object is %s of %s, want %s of %s", o.Key(), o.Operation, call.Address, call.Operation)
	}
	if d := engine.Difference(o.Address.Kind, o.Value, known(call.Want)); len(d.Changed) > 0 {
		t.Errorf("the object differs from what was wanted in %v", d.Changed)
	}
	if obs := c.presence(t, o, engine.Present); !obs.Object.Value.RawEquals(o.Value) {
		t.Errorf("read gives another value\n%#v\nthan create gave\n%#v", obs.Object.Value, o.Value)
	}
	if n := c.listed(t, o); n != 1 && !c.Recorded {
		t.Errorf("it is listed %d times, want once", n)
	}
}

// known replaces unknown attributes by null, as the spec hands them over.
func known(v cty.Value) cty.Value {
	attrs := map[string]cty.Value{}
	for name, a := range v.AsValueMap() {
		if !a.IsKnown() {
			a = cty.NullVal(a.Type())
		}
		attrs[name] = a
	}
	return cty.ObjectVal(attrs)
}

func (c Case) again(t *testing.T) {
	o := c.made(t, 0, 1)
	same, err := c.Provider.Apply(t.Context(), c.call(t, 0, 1))
	if err != nil {
		t.Fatalf("the same call again: %v", err)
	}
	if same.Attr("id") != o.Attr("id") || c.listed(t, o) != 1 && !c.Recorded {
		t.Errorf("the same call made another object: %s, then %s", o.Attr("id"), same.Attr("id"))
	}
}

func (c Case) readBare(t *testing.T) {
	if c.Recorded {
		return
	}
	o := c.made(t, 0, 1)
	bare := o
	bare.Value = known(c.Want(t, 0)) // all that an intent remembers
	if obs := c.presence(t, bare, engine.Present); obs.Object.Attr("id") != o.Attr("id") {
		t.Errorf("found %q, want %q", obs.Object.Attr("id"), o.Attr("id"))
	}
	never := bare
	never.Address = c.Address(77)
	c.presence(t, never, engine.Gone)
}

func (c Case) update(t *testing.T) {
	if c.Change == nil {
		return
	}
	o := c.made(t, 0, 1)
	want := c.Change(o.Value)
	got, err := c.Provider.Apply(t.Context(), providers.Call{Operation: "r2-s0", Address: o.Address, Gen: 1, Want: want, Prior: &o})
	if err != nil {
		t.Fatalf("update: %v", err)
	}
	if d := engine.Difference(o.Address.Kind, got.Value, want); len(d.Changed) > 0 {
		t.Errorf("after the update it differs in %v", d.Changed)
	}
	if got.Attr("id") != o.Attr("id") {
		t.Errorf("the update made another object: %s, was %s", got.Attr("id"), o.Attr("id"))
	}
	obs := c.presence(t, got, engine.Present)
	if d := engine.Difference(o.Address.Kind, obs.Object.Value, want); len(d.Changed) > 0 {
		t.Errorf("read after the update differs in %v", d.Changed)
	}
}

func (c Case) remove(t *testing.T) {
	o := c.made(t, 0, 1)
	for i := range 2 {
		if err := c.Provider.Delete(t.Context(), o, "r2-s0"); err != nil {
			t.Fatalf("delete number %d: %v", i+1, err)
		}
	}
	if c.Recorded {
		return
	}
	c.presence(t, o, engine.Gone)
	if n := c.listed(t, o); n != 0 {
		t.Errorf("it is still listed %d times", n)
	}
}

func (c Case) generations(t *testing.T) {
	if c.Once || c.Recorded {
		return
	}
	one, two := c.made(t, 0, 1), c.made(t, 0, 2)
	if one.Attr("id") == two.Attr("id") && one.Attr("id") != "" {
		t.Errorf("both generations are %s", one.Attr("id"))
	}
	if err := c.Provider.Delete(t.Context(), one, "r2-s0"); err != nil {
		t.Fatal(err)
	}
	c.presence(t, one, engine.Gone)
	c.presence(t, two, engine.Present)
}

func (c Case) vanish(t *testing.T) {
	if c.Vanish == nil {
		return
	}
	o := c.made(t, 0, 1)
	c.Vanish(t, o)
	obs, err := c.Provider.Read(t.Context(), o)
	if err != nil || obs.Presence == engine.Present {
		t.Fatalf("read: presence %d, %v; want gone or down", obs.Presence, err)
	}
	if err := c.Provider.Delete(t.Context(), o, "r2-s0"); err != nil {
		t.Errorf("delete what is gone: %v", err)
	}
}

func (c Case) cancelled(t *testing.T) {
	if c.Recorded {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o, err := c.Provider.Apply(ctx, c.call(t, 0, 1))
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want context.Canceled or success", err)
	}
	if o.Value == cty.NilVal {
		o.Value = known(c.Want(t, 0))
		c.presence(t, o, engine.Gone)
		return
	}
	if err := c.Provider.Delete(t.Context(), o, "r2-s0"); err != nil {
		t.Error(err)
	}
}

func (c Case) many(t *testing.T) {
	const n = 8
	var wg sync.WaitGroup
	objects := make([]engine.Object, n)
	for i := range n {
		call := c.call(t, i, 1)
		wg.Go(func() {
			o, err := c.Provider.Apply(t.Context(), call)
			if err != nil {
				t.Errorf("create %s: %v", call.Address, err)
			}
			objects[i] = o
		})
	}
	wg.Wait()
	ids := map[string]bool{}
	for _, o := range objects {
		ids[o.Attr("id")] = true
	}
	if len(ids) != n && !c.Recorded {
		t.Errorf("%d objects have %d ids", n, len(ids))
	}
	for _, o := range objects {
		wg.Go(func() {
			if err := c.Provider.Delete(t.Context(), o, "r2-s0"); err != nil {
				t.Errorf("delete %s: %v", o.Key(), err)
			}
		})
	}
	wg.Wait()
}
