//go:build libvirt_dlopen && cgo

package main

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// libvirtFlow is machines on a network: %s is its name, the folder with the small
// Docker machine, and how many there are.
const libvirtFlow = `
flow "%s" {
  provider = "libvirt"
}

provider "libvirt" {
  image  = "%[2]s/disk.qcow2"
  kernel = "%[2]s/kernel"
  initrd = "%[2]s/initrd"
  accel  = "tcg"
}

network "lan" {}

vm "node" {
  count   = %[3]d
  cpus    = 1
  memory  = "192MiB"
  network = network.lan
}
`

// guests is a flow of machines.
type guests struct {
	flowctl
	machines int
	shared   []string // what is in libvirt besides, and stays
}

func newGuests(t *testing.T, name string, machines int, shared []string) guests {
	t.Helper()
	g := guests{flowctl{t: t, dir: t.TempDir(), name: name}, machines, shared}
	t.Cleanup(func() { killLeftovers(t, g.dir) })
	text := fmt.Sprintf(libvirtFlow, name, os.Getenv("FLOWCTL_TEST_MACHINE"), machines)
	if err := os.WriteFile(filepath.Join(g.dir, "flow.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// there lists what libvirt has of the flow, by what it is: volumes without the part of
// their names that tells states apart; and what it has that machines share.
func (g guests) there() (own, shared []string) {
	for _, thing := range inLibvirt(g.name) {
		words := strings.Fields(thing)
		name, ok := strings.CutPrefix(words[1], g.name+".")
		switch parts := strings.Split(name, "."); {
		case !ok:
			shared = append(shared, thing)
		case words[0] == "volume" && len(parts) > 2:
			own = append(own, fmt.Sprintf("volume %s %s", strings.Join(parts[:len(parts)-2], "."), parts[len(parts)-1]))
		default:
			own = append(own, words[0]+" "+name)
		}
	}
	slices.Sort(own)
	return own, shared
}

// whole checks that libvirt has just what the state says, once each, and that nothing is
// left to do.
func (g guests) whole(when string) {
	g.t.Helper()
	state := g.recorded(when)
	var recorded, things []string
	for _, o := range state.Objects {
		recorded = append(recorded, o.Address+" "+o.Lifecycle)
		a, err := engine.ParseAddress(o.Address)
		if err != nil {
			g.t.Fatal(err)
		}
		name := providers.Name(a, o.Generation) // half of one is another's next time
		if a.Kind == engine.KindNetwork {
			things = append(things, "network "+name)
			continue
		}
		things = append(things, "domain "+name)
		for _, what := range []string{"console", "disk", "seed"} {
			things = append(things, fmt.Sprintf("volume %s %s", name, what))
		}
	}
	wanted := []string{"network.lan ready"}
	for n := range g.machines {
		wanted = append(wanted, fmt.Sprintf("vm.node[%d] ready", n))
	}
	slices.Sort(recorded)
	slices.Sort(things)
	own, shared := g.there()
	if !slices.Equal(recorded, wanted) {
		g.t.Errorf("%s: recorded are %v, want %v", when, recorded, wanted)
	}
	if !slices.Equal(own, things) {
		g.t.Errorf("%s: libvirt has\n%s\nwanted are\n%s", when, strings.Join(own, "\n"), strings.Join(things, "\n"))
	}
	if g.shared != nil && !slices.Equal(shared, g.shared) {
		g.t.Errorf("%s: machines share %v, before %v", when, shared, g.shared)
	}
	if running := g.emulators(); len(running) != g.machines {
		g.t.Errorf("%s: %d machines run: %v", when, len(running), running)
	}
}

// emulators lists the flow's machines that run, whatever libvirt knows of them.
func (g guests) emulators() []string { return processes("guest=" + g.name + ".") }

// gone checks that a destroyed flow left nothing.
func (g guests) gone(when string) {
	g.t.Helper()
	own, shared := g.there()
	if running := g.emulators(); len(own) > 0 || len(running) > 0 || !slices.Equal(shared, g.shared) {
		g.t.Errorf("%s: destroy leaves %v and the processes %v; machines share %v, before %v", when, own, running, shared, g.shared)
	}
	// Libvirt's own leases, sockets, saved states and definitions. It leaves the number of
	// a network's process in /run/libvirt/network, whoever removes the network.
	for _, dir := range []string{"/var/lib/libvirt", "/etc/libvirt", "/run/libvirt/qemu"} {
		filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.Contains(filepath.Base(path), g.name+".") {
				g.t.Errorf("%s: destroy leaves %s", when, path)
			}
			return nil
		})
	}
	g.flowctl.gone(0)
}

// killedAfter runs a command that is killed after some time, unless it is faster.
func (g guests) killedAfter(d time.Duration, args ...string) (out string) {
	cmd := osexec.Command("timeout", append([]string{"-s", "KILL", fmt.Sprintf("%.2f", d.Seconds()), filepath.Join(plainDir, "flowctl")}, args...)...)
	cmd.Dir = g.dir
	text, _ := cmd.CombinedOutput()
	return string(text)
}

// What happens to a run at any point, happens to it here, on real machines: killed with
// -9 between any two of its writes and calls, or in the middle of one, an apply and a
// destroy are made up for by the next. Machines take seconds each, so only every few
// points are tried, others each time, unless all are asked for with
// FLOWCTL_TEST_EVERY_POINT.
func TestLibvirtKilledAtEveryPoint(t *testing.T) {
	needMachines(t)
	const machines, stride = 2, 6
	every := everyPoint()

	// One that stands still keeps the golden machine for all: it stays as long as a
	// machine stands on it.
	keeper := newGuests(t, "virt-keeper", 1, nil)
	keeper.killedWhileGolden()
	keeper.must("apply", "-auto-approve")
	keeper.whole("killed while the golden machine was made")
	virsh(t, "", "destroy", "virt-keeper.node-0")
	_, shared := keeper.there()

	t.Run("apply", func(t *testing.T) {
		somePoints(t, stride, 20, func(t *testing.T, point int) bool {
			g := newGuests(t, fmt.Sprintf("virt-apply-%d", point), machines, shared)
			return g.killedOnce(point, "apply", g.whole)
		})
	})
	t.Run("destroy", func(t *testing.T) {
		somePoints(t, stride, 20, func(t *testing.T, point int) bool {
			g := newGuests(t, fmt.Sprintf("virt-destroy-%d", point), machines, shared)
			g.must("apply", "-auto-approve")
			return g.killedOnce(point, "destroy", g.gone)
		})
	})
	t.Run("moments", func(t *testing.T) {
		g := newGuests(t, "virt-moment", machines, shared)
		began := time.Now()
		g.must("apply", "-auto-approve")
		usual := time.Since(began)
		g.must("destroy", "-auto-approve")
		n := 4
		if every {
			n = 16
		}
		for i := range n {
			at := time.Duration((float64(i) + rand.Float64()) / float64(n) * float64(usual)).Round(10 * time.Millisecond)
			when := fmt.Sprintf("killed %s after the beginning, of usually %s", at, usual)
			out := g.killedAfter(at, "apply", "-auto-approve")
			if i%2 == 0 {
				g.must("apply", "-auto-approve")
				g.whole(when)
			}
			g.must("destroy", "-auto-approve")
			if g.gone(when); t.Failed() {
				t.Fatal(out)
			}
		}
	})
	if t.Failed() {
		return
	}
	keeper.must("destroy", "-auto-approve")
	keeper.gone("at the end")
}

// killedWhileGolden kills an apply as soon as libvirt has a golden machine; destroyed,
// nothing is left of that. Then it kills another.
func (g guests) killedWhileGolden() {
	g.t.Helper()
	for range 2 {
		g.must("destroy", "-auto-approve")
		g.gone("killed while the golden machine was made")
		cmd := osexec.Command(filepath.Join(plainDir, "flowctl"), "apply", "-auto-approve")
		cmd.Dir = g.dir
		if err := cmd.Start(); err != nil {
			g.t.Fatal(err)
		}
		made := eventually(func() bool { return strings.Contains(virsh(g.t, "", "list", "--name"), "flowctl-golden-") })
		cmd.Process.Kill()
		cmd.Wait()
		if made != nil {
			g.t.Fatalf("no golden machine is made: %v", made)
		}
	}
}

// killedOnce runs a command that is killed at a point, and again; has check look at
// what there is then; and destroys it.
func (g guests) killedOnce(point int, command string, check func(when string)) bool {
	_, killed, err := g.run(point, command, "-auto-approve")
	if !killed && err != nil {
		g.t.Fatal(err)
	}
	when := fmt.Sprintf("%s killed at point %d", command, point)
	g.must(command, "-auto-approve")
	check(when)
	g.must("destroy", "-auto-approve")
	g.gone(when)
	return killed
}

// A restore that is killed at any point leaves the machine suspended, whichever of the
// two it is; given again, it is what the snapshot has.
func TestLibvirtRestoreKilledAtEveryPoint(t *testing.T) {
	needMachines(t)
	g := newGuests(t, "virt-restore", 1, nil)
	g.must("apply", "-auto-approve")
	note := func(text string) { g.must("exec", "vm.node[0]", "--", "sh", "-c", "echo "+text+" >/root/note; sync") }
	restore := []string{"snapshot", "restore", "vm.node[0]", "-name=before"}
	note("before")
	g.must("snapshot", "create", "vm.node[0]", "-name=before")
	once := func(when string, kill func() (killed bool)) bool {
		note("after")
		g.must("suspend", "vm.node[0]")
		killed := kill()
		if plan := g.must("plan", "-detailed-exitcode"); !strings.Contains(plan, "vm.node[0] is left alone: it is suspended") {
			t.Errorf("%s: the plan is\n%s", when, plan)
		}
		g.must("apply", "-auto-approve")
		if state := virsh(t, "", "domstate", "virt-restore.node-0"); state == "running" {
			t.Errorf("%s, and applied: the machine runs", when)
		}
		g.must(restore...)
		g.must("resume", "vm.node[0]")
		if text := g.must("exec", "vm.node[0]", "--", "cat", "/root/note"); text != "before\n" {
			t.Errorf("%s, and restored: the machine has %q", when, text)
		}
		g.whole(when)
		return killed
	}
	stride, first := 3, 1+rand.IntN(3)
	if everyPoint() {
		stride, first = 1, 1
	}
	last := 0
	for point := first; ; point += stride {
		killed := once(fmt.Sprintf("killed at point %d", point), func() bool {
			_, killed, err := g.run(point, restore...)
			if !killed && err != nil {
				t.Fatal(err)
			}
			return killed
		})
		if !killed || t.Failed() {
			break
		}
		last = point
	}
	t.Logf("points %d to %d, every %d", first, last, stride)
	for range 3 {
		at := time.Duration(rand.Float64() * float64(time.Second))
		once(fmt.Sprintf("killed %s after the beginning", at), func() bool { return g.killedAfter(at, restore...) != "" })
	}
	g.must("destroy", "-auto-approve")
	g.gone("at the end")
}
