package control_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

var warm = node.Warm()

// twoTierWarm is twoTier with a machine kept ready, and an image that its functions have.
var twoTierWarm = strings.NewReplacer("  slots  = 4\n", "  slots  = 4\n  warm   = 1\n", `exec   = ["x"]`, "exec   = [\"x\"]\n  image  = image.app.id",
	`flow "test" {}`, "flow \"test\" {}\nhost \"box\" {}\nimage \"app\" {\n  ref  = \"app:1\"\n  host = host.box\n}").Replace(twoTier)

// stocked reports whether the warm machine has the image.
func (l *lab) stocked() bool {
	return slices.ContainsFunc(l.world.Objects(), func(o engine.Object) bool {
		return o.Address == engine.DeliveryOf(engine.Addr(engine.KindImage, "app"), warm.At(0))
	})
}

// The loop makes machines of warm ones, which takes no time, and makes new ones while
// what runs on the others is running already.
func TestTheLoopTakesWarmMachines(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		text := fmt.Sprintf(twoTierWarm, 20)
		l.ask(0.4)
		l.apply(text)
		slow := newBooting(3 * time.Minute)
		l.wrapIn(slow.wrap)
		_, stop := l.serve()
		defer stop()
		after(time.Minute)
		l.expect("at rest", 1, 1)
		if n := l.count(warm); n != 1 {
			t.Fatalf("%d machines are warm, want 1", n)
		}
		for round := range 3 { // the same refill again is no repair that repairs nothing
			l.ask(3)
			after(80 * time.Second)
			l.expect("under load", 6, 2)
			if len(l.on(node.At(1))) == 0 {
				t.Error("what runs on the new machine waits for the next warm one")
			}
			if n := l.count(warm); n != 0 && round == 0 {
				t.Errorf("%d machines are warm while one boots", n)
			}
			after(4 * time.Minute)
			if n := l.count(warm); n != 1 {
				t.Errorf("%d machines are warm again, want 1", n)
			}
			if !l.stocked() {
				t.Error("the warm machine has no image")
			}
			l.empty(text)
			l.ask(0.4)
			after(15 * time.Minute)
			l.expect("after the load", 1, 1)
		}
		l.world.Vanish(warm.At(0))
		after(5 * time.Minute)
		if n := l.count(warm); n != 1 {
			t.Errorf("%d machines are warm after one has ended, want 1", n)
		}
		l.world.Vanish(node.At(0))
		after(20 * time.Second)
		l.expect("after a machine has ended", 1, 1)
		if n := l.count(warm); n != 0 {
			t.Errorf("the warm machine has not become the one that ended")
		}
		after(5 * time.Minute)
		l.empty(text)
	})
}

// A warm machine that becomes one of the group is not to become another, too.
func TestNoWarmMachineIsTakenTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, l *lab) {
		text := fmt.Sprintf(twoTierWarm, 20)
		l.ask(0.4)
		l.apply(text)
		slow := newBooting(time.Minute)
		var calls atomic.Int32
		l.wrapIn(func(p providers.Provider) providers.Provider {
			return &providers.Faulty{Provider: slow.wrap(p), Pick: func(call string, _ engine.Address) providers.Fault {
				if call == "take" {
					calls.Add(1)
					<-time.After(2 * time.Minute)
				}
				return providers.NoFault
			}}
		})
		_, stop := l.serve()
		defer stop()
		after(time.Minute)
		l.ask(2)
		after(80 * time.Second)
		l.ask(6)
		after(8 * time.Minute)
		l.expect("under load", 12, 4)
		l.empty(text)
		taken := int32(0)
		for _, e := range l.world.Events() {
			if e.Op == "take" {
				taken++
			}
		}
		if taken == 0 || calls.Load() != taken {
			t.Errorf("warm machines were asked for %d times, and %d were taken", calls.Load(), taken)
		}
	})
}
