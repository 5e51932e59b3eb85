package runtime_test

import (
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/sim"
	"github.com/flowctl/flowctl/runtime"
)

const delivered = `
flow "test" {}
host "a" {}
host "b" {}
vm "node" {
  cpus   = 2
  memory = "1GiB"
  count  = 2
}
image "app" {
  ref  = "app:1"
  host = host.a
}
image "local" { # which no host makes
  ref = "app:1"
}
function "web" {
  on       = [host.a, vm.node]
  replicas = 30
  spread   = true
  exec     = ["web"]
  image    = image.app.id
}
function "other" {
  on    = host.b
  exec  = ["other"]
  image = image.local.id
}
`

// An image comes to each machine once, before anything there needs it, and leaves
// with the last that does.
func TestDeliveries(t *testing.T) {
	l := newLab(t)
	d := load(t, delivered)
	var made []string
	there := map[string]bool{}
	l.world.Watch(func(e sim.Event, _ map[engine.Key]engine.Object) {
		a := e.Key.Address
		if a.Kind == engine.KindDelivery {
			made = append(made, e.Op+" "+a.String())
			_, m := a.Consignment()
			there[m.String()] = e.Op == "create"
		}
	})
	l.apply(d)
	l.settled(d)
	if got, want := strings.Join(made, "\n"), "create delivery.app/vm.node[0]\ncreate delivery.app/vm.node[1]"; got != want && got != "create delivery.app/vm.node[1]\ncreate delivery.app/vm.node[0]" {
		t.Errorf("deliveries:\n%s\nwant:\n%s", got, want)
	}
	node := engine.Addr(engine.KindVM, "node")
	first := engine.DeliveryOf(engine.Addr(engine.KindImage, "app"), node.At(0))
	l.world.Vanish(first)
	if got, want := show(l.plan(d).Plan), "+ "+first.String(); got != want {
		t.Errorf("a delivery is gone:\n%s\nwant:\n%s", got, want)
	}
	l.apply(d)
	l.settled(d)

	d = load(t, edit(t, delivered, `"app:1"`, `"app:2"`))
	if got := show(l.plan(d).Plan); !strings.HasPrefix(got, "+/- image.app\n~ delivery.app/vm.node[0]\n~ delivery.app/vm.node[1]\n+/- function.web[0]\n") {
		t.Errorf("another image:\n%s", got)
	}
	l.apply(d)
	l.settled(d)

	d = load(t, edit(t, delivered, `"app:1"`, `"app:2"`, "count  = 2", "count  = 1"))
	l.apply(d)
	l.settled(d)
	if last := made[len(made)-1]; last != "delete delivery.app/vm.node[1]" {
		t.Errorf("with fewer machines: %s", last)
	}
	if there["host.a"] || there["host.b"] {
		t.Error("an image was brought to the host that makes it, or to one that does not need it")
	}
}

// What fails for one machine fails for what runs there, and for nothing else.
func TestADeliveryThatFailsStopsItsMachineAlone(t *testing.T) {
	l := newLab(t)
	bad := engine.DeliveryOf(engine.Addr(engine.KindImage, "app"), engine.Addr(engine.KindVM, "node").At(1))
	l.wrap = func(p providers.Provider) providers.Provider {
		return &providers.Faulty{Provider: p, Pick: func(call string, a engine.Address) providers.Fault {
			if call == "apply" && a == bad {
				return providers.LostLease
			}
			return providers.NoFault
		}}
	}
	out, err := l.try(runtime.Request{Desired: load(t, delivered)})
	if err == nil || len(out.Report.Failed) != 1 || out.Report.Failed[0].Step.Address != bad {
		t.Fatalf("failed are %v: %v", out.Report.Failed, err)
	}
	lost := map[string]bool{}
	p := l.plan(load(t, delivered)).Plan
	for i, s := range out.Steps {
		if out.Report.States[i] == engine.UpstreamFailed {
			lost[engine.Object{Value: p.Find(s.Address).Planned}.Attr("machine")] = true
		}
	}
	if len(lost) != 1 || !lost["vm.node[1]"] {
		t.Errorf("not done is what runs on %v", lost)
	}
}

// The images of functions come to the machines that are kept ready for them, too, last
// of all, and are there already when a machine is made of one.
func TestImagesComeToWarmMachines(t *testing.T) {
	l := newLab(t)
	text := edit(t, delivered, "count  = 2", "count  = 2\n  warm   = 1\n  slots  = 10", "on       = [host.a, vm.node]", "on       = vm.node", "replicas = 30", "replicas = 2")
	d := load(t, text)
	l.apply(d)
	l.settled(d)
	made := l.done(0)
	if last := made[len(made)-1]; last != "create delivery.app/warm.node[0] (generation 1)" {
		t.Errorf("the last that is done is %q", last)
	}

	three := load(t, strings.NewReplacer("count  = 2", "count  = 3", "replicas = 2", "replicas = 3").Replace(text))
	if got, want := show(l.plan(three).Plan), "+ vm.node[2]\n+ warm.node[0]\n+ delivery.app/vm.node[2]\n+/- delivery.app/warm.node[0]\n+ function.web[2]"; got != want {
		t.Errorf("plan:\n%s\nwant:\n%s", got, want)
	}
	l.apply(three)
	l.settled(three)

	// Nothing is brought to them for functions that are elsewhere, or no more.
	none := load(t, strings.NewReplacer("count  = 2", "count  = 3", "on       = vm.node", "on       = host.a").Replace(text))
	if got := show(l.plan(none).Plan); !strings.Contains(got, "- delivery.app/warm.node[0]") {
		t.Errorf("the function is on another host:\n%s", got)
	}
	l.apply(none)
	l.settled(none)
	if _, err := l.try(runtime.Request{Desired: none, Destroy: true}); err != nil {
		t.Fatal(err)
	}
	if left := l.world.Objects(); len(left) > 0 {
		t.Errorf("destroy leaves %v", left)
	}
}
