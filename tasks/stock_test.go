package tasks

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
)

// stocker remembers what is brought where.
type stocker struct {
	providers.Provider
	got *[]string
}

func (s stocker) Stock(_ context.Context, d engine.Delivery) error {
	*s.got = append(*s.got, d.Name+" to "+d.Machine+" at "+d.MachineID)
	return nil
}

type stockers struct{ stocker }

func (s stockers) Get(context.Context, string) (providers.Provider, error) { return s.stocker, nil }

// carried is the configuration of a delivery of an image.
type carried struct{ image engine.Address }

func (c carried) Eval(v engine.Values) (cty.Value, engine.Diagnostics) {
	image := v.Value(c.image)
	if !image.IsKnown() {
		return engine.With(engine.Encode(engine.Delivery{}), map[string]cty.Value{
			"name": cty.UnknownVal(cty.String), "digest": cty.UnknownVal(cty.String), "source": cty.UnknownVal(cty.String)}), nil
	}
	i := engine.MustDecode[engine.Image](image)
	return engine.Encode(engine.Delivery{Image: c.image.String(), Name: i.ID, Digest: i.Digest, Source: i.Host.ID}), nil
}

// What a machine may have from the start is what the plan brings to any machine of its
// group, a warm one included, and the same for all of them.
func TestStock(t *testing.T) {
	node, other := engine.Addr(engine.KindVM, "node"), engine.Addr(engine.KindVM, "other")
	demo, cache := engine.Addr(engine.KindImage, "demo"), engine.Addr(engine.KindImage, "cache")
	image := func(a engine.Address, id, operation string) engine.Object {
		return engine.Object{Address: a, Gen: 1, Operation: operation, Value: engine.Encode(engine.Image{ID: id, Digest: "sha256:" + id, Host: engine.HostLink{ID: "box"}})}
	}
	old := image(cache, "cache:1", "r1")
	brought := func(image, machine engine.Address, action engine.Action) engine.Change {
		return engine.Change{Address: engine.DeliveryOf(image, machine), Action: action, Provider: "docker", Config: carried{image}}
	}
	plan := engine.Plan{Changes: []engine.Change{
		{Address: node.At(0), Action: engine.NoOp}, {Address: node.At(1), Action: engine.Create}, {Address: node.Warm().At(0), Action: engine.Create},
		{Address: other.At(0), Action: engine.Create},
		{Address: demo, Action: engine.Create}, {Address: cache, Action: engine.Replace, Prior: &old},
		brought(demo, node.At(0), engine.NoOp), brought(cache, node.Warm().At(0), engine.Create), brought(demo, node.At(1), engine.Create),
		brought(cache, other.At(0), engine.Create), brought(demo, other.At(0), engine.Delete),
	}}
	slices.SortFunc(plan.Changes, func(a, b engine.Change) int { return a.Address.Compare(b.Address) })
	var got []string
	r := NewRunner(plan, stockers{stocker{got: &got}}, time.Now)
	of := func(a engine.Address) providers.Stock { return r.stock(r.plan.Find(a))() }
	made := func(o engine.Object) { r.objects[o.Address] = o }

	if s := of(node.At(1)); s.Key != "" {
		t.Errorf("before any image is there: %q", s.Key)
	}
	made(image(demo, "demo:1", "r2"))
	if s := of(node.At(1)); s.Key != "" {
		t.Errorf("while one is still the old one: %q", s.Key)
	}
	made(image(cache, "cache:2", "r2"))
	s := of(node.At(1))
	if s.Key == "" || s.Key != of(node.Warm().At(0)).Key || s.Key == of(other.At(0)).Key {
		t.Errorf("keys: %q of one, %q of a warm one, %q of another group", s.Key, of(node.Warm().At(0)).Key, of(other.At(0)).Key)
	}
	if s.Group != node || of(node.Warm().At(0)).Group != node {
		t.Errorf("groups: %s of one, %s of a warm one", s.Group, of(node.Warm().At(0)).Group)
	}
	if s.Wait || !of(node.Warm().At(0)).Wait || of(other.At(0)).Wait {
		t.Errorf("may wait: %v, a further one; %v, one that is kept ready; %v, one alone", s.Wait, of(node.Warm().At(0)).Wait, of(other.At(0)).Wait)
	}
	r.plan.Find(node.At(0)).Action = engine.Create
	if !of(node.At(1)).Wait {
		t.Error("one of the first of several may not wait")
	}
	r.plan.Sizes = []engine.GroupSize{{Group: other, Size: 1}}
	if !of(other.At(0)).Wait {
		t.Error("the first of a group that a rule may make larger may not wait")
	}
	if err := s.Bring(t.Context(), "tcp://10.0.0.9"); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if want := []string{"cache:2 to vm.node[1] at tcp://10.0.0.9", "demo:1 to vm.node[1] at tcp://10.0.0.9"}; !slices.Equal(got, want) {
		t.Errorf("brought are %q, want %q", got, want)
	}
	if r.stock(r.plan.Find(demo)) != nil {
		t.Error("an image has a stock")
	}
}
