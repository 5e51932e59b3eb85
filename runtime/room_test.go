package runtime_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/sim"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
)

// An update takes the room that there is anywhere, and that which its own old replicas
// leave as far as its policy lets them. No machine has more replicas than slots at any
// moment, and no fewer replicas serve than may. If it cannot be done so, it is refused
// before anything is done.
func TestAnUpdateTakesTheRoomThatItsPolicyAllows(t *testing.T) {
	says := func(summary, group string) string {
		return summary + "; function.web is never to have fewer replicas than wanted (max_unavailable = 0): a new one starts before an old one leaves, and function.web[0] finds no room: " +
			"none of 1 machines can take it; 1: no room. Free a slot, or give " + group + " more machines, larger ones, or more slots on each, or let one be missing meanwhile: max_unavailable = 1."
	}
	const none, quick = "max_unavailable = 0", canary + "\n pause = \"0s\"\n"
	for _, c := range []struct {
		name, policy string
		machines     string // what the update changes besides
		rule         string
		least        int    // replicas that serve at the worst moment
		says         string // "" if it is done
	}{
		{"rolling", none, "slots = 4", "", 4, says("No room to replace replicas", "vm.node")},
		{"rolling, with no more machines to scale to", none, "slots = 4", scalingOf(1), 4, says("No room to replace replicas", "vm.node (max = 1)")},
		{"rolling, with more machines", none, "slots = 4\n count = 2", "", 4, ""},
		{"rolling, with machines that scale", none, "slots = 4", scalingOf(3), 4, ""},
		{"rolling, several at once, with machines that scale", none + "\n max_surge = 3", "slots = 4", scalingOf(3), 4, ""},
		{"rolling, with a slot more", none, "slots = 5", "", 4, ""},
		{"rolling, one may be missing", "max_surge = 1", "slots = 4\n count = 2", "", 3, ""},
		{"blue-green", blueGreen, "slots = 4", "", 4, "No room for a second set"},
		{"blue-green, with more machines", blueGreen, "slots = 4\n count = 2", "", 4, ""},
		{"blue-green, with no more machines to scale to", blueGreen, "slots = 4", scalingOf(1), 4, "No room for a second set"},
		{"blue-green, with machines that scale", blueGreen, "slots = 4", scalingOf(3), 4, ""},
		{"blue-green, with twice the slots", blueGreen, "slots = 8", "", 4, ""},
		{"canary", quick, "slots = 4", "", 3, ""},
		{"canary, with more machines", quick, "slots = 4\n count = 2", "", 3, ""},
		{"canary, two may be missing", quick + "max_unavailable = 2\n step = [10, 75]", "slots = 4", "", 2, ""},
		{"canary of most, one may be missing", quick + "step = [75]", "slots = 4", "", 3, ""},
		{"canary of all, one may be missing", quick + "step = [10, 99]", "slots = 4", "", 3, ""},
		{"canary of all, three may be missing", quick + "max_unavailable = 3\n step = [10, 99]", "slots = 4", "", 4, "No room for a canary"},
		{"canary, none may be missing", quick + none, "slots = 4", "", 4, says("No room for a canary", "vm.node")},
		{"canary, none may be missing, with no more machines to scale to", quick + none, "slots = 4", scalingOf(1), 4, "No room for a canary"},
		{"canary, none may be missing, with a slot more", quick + none, "slots = 5", "", 4, ""},
		{"canary, none may be missing, with room for all canaries", quick + none, "slots = 6", "", 4, ""},
		{"canary, none may be missing, with more machines", quick + none, "slots = 4\n count = 2", "", 4, ""},
		{"canary, none may be missing, with machines that scale", quick + none, "slots = 4", scalingOf(2), 4, ""},
		{"canary, none may be missing, more at once than there is room for", quick + none + "\n step = [10, 75]", "slots = 5", "", 4, "No room for a canary"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := func(version, machines string) engine.Desired {
				return load(t, edit(t, shop(version, c.policy), "slots  = 10", machines)+c.rule)
			}
			l := newLab(t)
			l.apply(spec("1", "slots = 4"))
			n := len(l.world.Events())
			r := l.roomTaken()
			d := spec("2", c.machines)
			_, err := l.try(runtime.Request{Desired: d})
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) || len(l.world.Events()) != n {
					t.Fatalf("an update without room: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			l.settled(d)
			var slots int
			fmt.Sscanf(c.machines, "slots = %d", &slots)
			if r.most > slots || r.least < c.least {
				t.Errorf("a machine with %d slots had %d replicas, and %d served at the worst moment; want no fewer than %d", slots, r.most, r.least, c.least)
			}
		})
	}
}

// taken is how many replicas a machine had at the fullest moment, and how many served at
// the worst.
type taken struct{ most, least int }

// roomTaken follows how many replicas of function.web machines have and how many serve.
func (l *lab) roomTaken() *taken {
	r := &taken{least: 1 << 30}
	var mu sync.Mutex
	l.world.Watch(func(e sim.Event, things map[engine.Key]engine.Object) {
		mu.Lock()
		defer mu.Unlock()
		serving, on := 0, map[string]int{}
		for k, o := range things {
			switch share, moved := e.Shares[k]; k.Address.Kind {
			case engine.KindBackend:
				if !moved || share > 0 {
					serving++
				}
			case engine.KindFunction:
				on[o.Attr("machine")]++
				r.most = max(r.most, on[o.Attr("machine")])
			}
		}
		r.least = min(r.least, serving)
	})
	return r
}

// Killed at every write where there is not room for all canaries beside all old replicas, or
// not on the machine of each for one more, and then applied: it converges, and at every
// moment as many serve as the policy lets, and no machine has more than it has slots.
func TestARolloutWithLittleRoomKilledAtEveryWrite(t *testing.T) {
	every := 4
	if os.Getenv("FLOWCTL_TEST_EVERY_POINT") != "" {
		every = 1
	}
	for _, c := range []struct {
		name, policy, rule string
		slots, least       int
	}{
		{"canary instead", canary, "", 4, 3},
		{"canary stage by stage", canary + "\n max_unavailable = 0", "", 5, 4},
		{"rolling instead", "max_surge = 1", "", 4, 3},
		{"rolling in turn", "max_unavailable = 0", scalingOf(2), 4, 4},
	} {
		spec := func(t *testing.T, version, policy string) engine.Desired {
			return load(t, edit(t, shop(version, policy), "slots  = 10", fmt.Sprintf("slots = %d", c.slots))+c.rule)
		}
		for _, version := range []string{"2", "sick"} {
			t.Run(c.name+" to "+version, func(t *testing.T) {
				for n := 0; rolloutKilled(t, spec, c.least, c.slots, c.policy, version, n); n += every {
				}
			})
		}
	}
}

// A canary that finds no room beside all old replicas is judged and taken back all the
// same, within the room and the policy.
func TestABadCanaryWithLittleRoomGoesBack(t *testing.T) {
	for _, c := range []struct{ policy, slots, traffic string }{
		{canary, "4", "1:100x3\n1:100x3 2:10x1\n1:100x3\n1:100x4"},
		{canary + "\n max_unavailable = 0", "5", "1:100x4\n1:100x4 2:10x1\n1:100x3 2:10x1\n1:100x3\n1:100x4"},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t)
			spec := func(version string) engine.Desired {
				return load(t, edit(t, shop(version, c.policy), "slots  = 10", "slots = "+c.slots))
			}
			l.apply(spec("1"))
			l.counts(map[string]providers.Tally{"1": fine, "2": {Answered: 100, Failed: 20, Latency: took(20*time.Millisecond, 80)}})
			f := l.traffic()
			out, err := l.try(runtime.Request{Desired: spec("2")})
			if err == nil || !strings.Contains(err.Error(), "20 of 100 requests (20 %) to it failed") || out.Back == nil || out.Back.Err != nil || len(out.Back.Outcome.Report.Failed) > 0 {
				t.Fatalf("err = %v, back = %+v", err, out.Back)
			}
			l.want("traffic", f.String(), c.traffic)
			l.settled(spec("1"))
		})
	}
}

// A canary that came in stage by stage and was killed half-way is taken back, too, and
// gives way to another revision. To go back at once, a replica takes more than the slots
// for a moment.
func TestAStoppedCanaryWithLittleRoomGivesWay(t *testing.T) {
	for _, version := range []string{"1", "3"} {
		for n := range 24 {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				spec := func(version string) engine.Desired {
					return load(t, edit(t, shop(version, canary+"\n max_unavailable = 0"), "slots  = 10", "slots = 5"))
				}
				l.apply(spec("1"))
				r := l.roomTaken()
				l.flow.Journal = func(lease *state.Lease) exec.Journal {
					return &killer{Journal: l.store.Journal(lease), left: n, torn: n%2 == 1}
				}
				l.try(runtime.Request{Desired: spec("2")})
				l.flow.Journal = func(lease *state.Lease) exec.Journal { return l.store.Journal(lease) }
				if _, err := l.try(runtime.Request{Desired: spec(version)}); err != nil {
					t.Fatalf("killed at write %d, then version %s: %v", n, version, err)
				}
				l.settled(spec(version))
				if version == "1" && (r.least < 4 || r.most > 6) {
					t.Errorf("killed at write %d, then version %s: %d served at the worst moment, and there were %d on a machine with 5 slots", n, version, r.least, r.most)
				}
			})
		}
	}
}
