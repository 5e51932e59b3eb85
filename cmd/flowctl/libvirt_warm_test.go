//go:build libvirt_dlopen && cgo

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A flow whose warm machine becomes another, killed with -9 at any point of that, has
// each machine once after the next apply, and nothing else.
func TestLibvirtKilledWhileAWarmMachineIsTaken(t *testing.T) {
	machine := needMachines(t)
	f := flowctl{t: t, dir: t.TempDir(), name: "virt-warm"}
	t.Cleanup(func() { killLeftovers(t, f.dir) })
	text := fmt.Sprintf(libvirtFlow, f.name, machine, 2)
	text = strings.NewReplacer("count   = 2", "count   = var.n\n  warm    = 1", "192MiB", "512MiB").Replace(text) + "variable \"n\" {}\n"
	if err := os.WriteFile(filepath.Join(f.dir, "flow.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f.must("apply", "-auto-approve", "-var=n=0")
	step := 3
	if os.Getenv("FLOWCTL_TEST_EVERY_POINT") != "" {
		step = 1
	}
	points := 0
	for point, killed := 1, true; killed; point += step {
		var err error
		if _, killed, err = f.run(point, "apply", "-auto-approve", "-var=n=1"); !killed && err != nil {
			t.Fatal(err)
		}
		f.must("apply", "-auto-approve", "-var=n=1")
		f.must("plan", "-detailed-exitcode", "-var=n=1")
		domains := slices.DeleteFunc(inLibvirt(f.name), func(what string) bool { return !strings.HasPrefix(what, "domain ") })
		disks := slices.DeleteFunc(inLibvirt(f.name), func(what string) bool {
			return !strings.HasPrefix(what, "volume "+f.name) || !strings.HasSuffix(what, ".disk")
		})
		if len(domains) != 2 || len(disks) != 2 {
			t.Fatalf("killed at point %d: there are %v and %v, want a machine and a warm one", point, domains, disks)
		}
		if out := f.must("exec", "vm.node", "--", "hostname"); !strings.Contains(out, "node-0") || strings.Contains(out, "warm") {
			t.Fatalf("killed at point %d: the machine is called %q", point, out)
		}
		f.must("apply", "-auto-approve", "-var=n=0")
		points++
	}
	t.Logf("%d points", points)
	f.must("destroy", "-auto-approve")
	if left := inLibvirt(f.name); len(left) > 0 {
		t.Errorf("destroy leaves %v", left)
	}
}
