package runtime_test

import (
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/plan"
)

// wide has more blocks that do not depend on each other than are planned in turn.
const wide = `flow "test" {}
locals {
  keys = toset([for i in range(70) : "k${i}"])
  next = { for i in range(70) : "k${i}" => "k${(i + 1) % 70}" }
}
vm "base" {
  for_each = local.keys
  cpus     = 1
  memory   = each.key == "k7" ? "2GiB" : "1GiB"
}
vm "top" {
  for_each = local.keys
  cpus     = 2
  memory   = "1GiB"
  labels   = { a = vm.base[each.key][0].id, b = vm.base[local.next[each.key]][0].id }
}
function "on" {
  for_each = local.keys
  on       = vm.top[each.key]
  replicas = 2
  exec     = ["x"]
  env      = { PEER = vm.base[local.next[each.key]][0].id }
}
task "last" {
  exec       = ["true"]
  when       = "update"
  phase      = "deploy"
  depends_on = [vm.base]
}
`

// Blocks planned side by side make the plan that they make in turn.
func TestPlannedSideBySide(t *testing.T) {
	l := newLab(t)
	for _, s := range []struct{ what, text string }{
		{"what is new", wide},
		{"what is gone", wide},
		{"an edit", edit(t, wide, `"k7"`, `"k8"`, "replicas = 2", "replicas = 2", `["x"]`, `["y"]`)},
		{"blocks that go", strings.ReplaceAll(wide, "70", "66")},
	} {
		t.Run(s.what, func(t *testing.T) {
			d := load(t, s.text)
			p := l.plan(d)
			in := plan.Input{Desired: d, Recorded: p.Snapshot, Observed: p.Found.Observed, Now: p.Request.Now}
			turn, turnDiags := plan.Compute(in)
			waves := 0
			in.Spread = func(n int, f func(int)) {
				waves++
				var wg sync.WaitGroup
				for i := range n {
					wg.Go(func() { f(i) })
				}
				wg.Wait()
			}
			side, sideDiags := plan.Compute(in)
			if waves == 0 {
				t.Error("nothing was planned side by side")
			}
			if show(turn) != show(side) || why(turn) != why(side) || !reflect.DeepEqual(turn, side) || !reflect.DeepEqual(turnDiags, sideDiags) {
				t.Errorf("in turn:\n%s%s\nside by side:\n%s%s", show(turn), why(turn), show(side), why(side))
			}
			l.apply(d)
			l.world.Vanish(engine.Addr(engine.KindVM, "base").For("k3").At(0))
		})
	}
}
