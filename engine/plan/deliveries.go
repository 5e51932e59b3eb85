package plan

import (
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// deliver plans the deliveries that a replica on a machine waits for: of each
// image that its function refers to, unless it is made there anyhow. Replicas on
// one machine share them. It returns needs with those deliveries.
func (c *computer) deliver(needs []engine.Need, machine engine.Change) []engine.Need {
	for _, n := range needs {
		image := c.changeOf(n.Target)
		if n.Target.Kind != engine.KindImage || image == nil || c.homes[n.Target] == machine.Address || !c.deliverable(*image, machine) {
			continue
		}
		a := engine.DeliveryOf(n.Target, machine.Address)
		if c.changeOf(a) == nil && !c.passes(a, n.Source) {
			c.add(c.decide(c.delivery(*image, machine)))
		}
		needs = append(needs, engine.Need{Target: a, Source: n.Source})
	}
	return needs
}

// deliverable reports whether an image can be brought to a machine: it is one that
// some host makes, and whoever makes it runs the functions there.
func (c *computer) deliverable(image, machine engine.Change) bool {
	if image.Planned == cty.NilVal || image.Planned.GetAttr("host").IsNull() {
		return false
	}
	made, _, _ := strings.Cut(image.Provider, ".")
	runs, _, _ := strings.Cut(c.in.Desired.Runner(machine.Provider), ".")
	return made == runs
}

func (c *computer) delivery(image, machine engine.Change) subject {
	config := DeliveryConfig{Image: image.Address, Machine: machine.Address}
	want, _ := config.Eval(c)
	bare, hidden := engine.Unmark(want)
	return subject{
		addr: engine.DeliveryOf(image.Address, machine.Address), provider: c.in.Desired.Runner(machine.Provider), want: bare, hidden: hidden,
		needs:  []engine.Need{{Target: machine.Address, Source: image.Source}, {Target: image.Address, Source: image.Source}},
		config: config, timeouts: image.Timeouts, source: image.Source,
	}
}

// DeliveryConfig is the configuration of a delivery: it follows from the image and
// the machine.
type DeliveryConfig struct {
	Image, Machine engine.Address
}

// Eval implements engine.Config.
func (d DeliveryConfig) Eval(v engine.Values) (cty.Value, engine.Diagnostics) {
	image, machine := v.Value(d.Image), v.Value(d.Machine)
	want := engine.Encode(engine.Delivery{Image: d.Image.String(), Machine: d.Machine.String()})
	return engine.With(want, map[string]cty.Value{
		"name": part(image, "id"), "digest": part(image, "digest"), "ref": part(image, "ref"), "platform": part(image, "platform"),
		"distribute": distribution(image), "source": part(part(image, "host"), "id"), "machine_id": part(machine, "id"),
	}), nil
}

// part returns an attribute of an object of which perhaps nothing is known yet.
func part(v cty.Value, name string) cty.Value {
	if bare, _ := v.Unmark(); bare.IsNull() || !bare.IsKnown() || !bare.Type().HasAttribute(name) {
		return cty.UnknownVal(cty.String)
	}
	return v.GetAttr(name)
}

func distribution(image cty.Value) cty.Value {
	bare, _ := image.UnmarkDeep()
	if bare.IsNull() || !bare.IsKnown() || !bare.GetAttr("distribute").IsKnown() {
		return cty.UnknownVal(cty.String)
	}
	return cty.StringVal(engine.MustDecode[engine.Image](bare).Distribution())
}
