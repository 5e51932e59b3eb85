//go:build libvirt_dlopen && cgo

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A machine that is killed from, at any point of its growing, has grown after the next
// apply, as the machine that it was: in libvirt, now and for its next start, in its guest
// and in the state.
func TestLibvirtKilledWhileAMachineGrows(t *testing.T) {
	needMachines(t)
	g := newGuests(t, "virt-grow", 1, nil)
	write := func(cpus, memory int) {
		text := fmt.Sprintf(libvirtFlow, g.name, os.Getenv("FLOWCTL_TEST_MACHINE"), 1)
		text = strings.ReplaceAll(text, "cpus    = 1", fmt.Sprintf("cpus = %d\n  max_cpus = 6", cpus))
		text = strings.ReplaceAll(text, `memory  = "192MiB"`, fmt.Sprintf("memory = \"%dMiB\"\n  max_memory = \"384MiB\"", memory))
		if err := os.WriteFile(filepath.Join(g.dir, "flow.hcl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cpus, memory := 1, 256
	write(cpus, memory)
	g.must("apply", "-auto-approve")
	const domain = "virt-grow.node-0"
	uuid := virsh(t, "", "domuuid", domain)
	stride := 3
	if everyPoint() {
		stride = 1
	}
	last := 0
	for point := 1; ; point += stride {
		cpus, memory = min(cpus+1, 6), 576-memory // more processors as long as there are, and other memory each time
		write(cpus, memory)
		_, killed, err := g.run(point, "apply", "-auto-approve")
		if !killed && err != nil {
			t.Fatal(err)
		}
		g.must("apply", "-auto-approve")
		when := fmt.Sprintf("killed at point %d", point)
		g.whole(when)
		g.must("plan", "-detailed-exitcode")
		if got := virsh(t, "", "domuuid", domain); got != uuid {
			t.Errorf("%s: the machine is another", when)
		}
		for _, which := range []string{"--live", "--config"} {
			if n := virsh(t, "", "vcpucount", domain, which, "--current"); strings.TrimSpace(n) != fmt.Sprint(cpus) {
				t.Errorf("%s: libvirt has %s %s processors, want %d", when, which, n, cpus)
			}
		}
		if xml := virsh(t, "", "dumpxml", domain, "--inactive"); !strings.Contains(xml, fmt.Sprintf("<currentMemory unit='KiB'>%d<", memory<<10)) {
			t.Errorf("%s: libvirt does not keep %d MiB: %s", when, memory, xml)
		}
		if n := g.must("exec", "vm.node[0]", "--", "nproc"); n != fmt.Sprintln(cpus) {
			t.Errorf("%s: the guest has %s processors, want %d", when, n, cpus)
		}
		if !killed || t.Failed() {
			break
		}
		last = point
	}
	t.Logf("the last point was %d", last)
	if last < 3 && !t.Failed() {
		t.Error("has the test lost its seams?")
	}
	// It keeps its size when it starts again.
	virsh(t, "", "destroy", domain)
	g.must("apply", "-auto-approve")
	g.whole("started again")
	g.must("plan", "-detailed-exitcode")
	if n := g.must("exec", "vm.node[0]", "--", "nproc"); n != fmt.Sprintln(cpus) {
		t.Errorf("started again, the guest has %s processors, want %d", n, cpus)
	}
	g.must("destroy", "-auto-approve")
	g.gone("at the end")
}
