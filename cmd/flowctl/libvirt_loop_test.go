//go:build libvirt_dlopen && cgo

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/internal/load"
)

// newTwoTier applies examples/two-tier.hcl on virtual machines, and leaves its
// controller running.
func newTwoTier(t *testing.T) looping {
	t.Helper()
	machine := needMachines(t)
	f := looping{flowctl{t: t, dir: t.TempDir(), name: "two-tier"}}
	t.Cleanup(func() { killLeftovers(t, f.dir) })
	examples := must(filepath.Abs("../../examples"))
	text := string(must(os.ReadFile(filepath.Join(examples, "two-tier.hcl"))))
	for _, change := range [][2]string{
		{`default     = "local"`, `default     = "libvirt"`},
		{`${flow.dir}/demo`, examples + "/demo"},
		{`"../bin"`, fmt.Sprintf("%q", demoDir)},
		{"cpus     = 2", "cpus     = 1"}, // where they are emulated, more are slower
		{"cpu      = 0.5", "cpu      = 0.25"},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("the example has no %q any more", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	text += fmt.Sprintf("\nprovider \"libvirt\" {\n image = \"%[1]s/disk.qcow2\"\n kernel = \"%[1]s/kernel\"\n initrd = \"%[1]s/initrd\"\n accel = \"tcg\"\n}\n", machine)
	if err := os.WriteFile(filepath.Join(f.dir, "flow.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f.must("apply", "-auto-approve")
	return f
}

// on lists which replicas are recorded on a machine.
func (f looping) on(machine string) (replicas []string) {
	f.t.Helper()
	var state view.JSONState
	if err := json.Unmarshal([]byte(f.must("show", "-json")), &state); err != nil {
		f.t.Fatal(err)
	}
	for _, o := range state.Objects {
		var value struct{ Machine string }
		if err := json.Unmarshal(o.Value, &value); err != nil {
			f.t.Fatal(err)
		}
		if strings.HasPrefix(o.Address, "function.") && value.Machine == machine {
			replicas = append(replicas, fmt.Sprintf("%s#%d", o.Address, o.Generation))
		}
	}
	return replicas
}

// patiently waits for something that may take an emulated machine minutes.
func (f looping) patiently(what string, is func() bool) {
	f.t.Helper()
	if err := eventually(is); err != nil {
		f.t.Fatalf("%s: %v\n%s\n%s", what, err, f.must("status"), f.controllerLog())
	}
}

// underway reports whether some run is at a task.
func (f looping) underway(op, address string) bool {
	f.t.Helper()
	var runs []view.JSONRun
	if err := json.Unmarshal([]byte(f.must("runs", "-json")), &runs); err != nil {
		f.t.Fatal(err)
	}
	for _, r := range runs {
		var run view.JSONRunTasks
		if err := json.Unmarshal([]byte(f.must("runs", "show", "-json", fmt.Sprint(r.ID))), &run); err != nil {
			f.t.Fatal(err)
		}
		for _, task := range run.Items {
			if task.Op == op && task.Address == address && len(task.Attempts) > 0 && task.Attempts[len(task.Attempts)-1].Ended == nil && r.Ended == nil {
				return true
			}
		}
	}
	return false
}

// A machine that ends behind flowctl's back, under load: its event is heard, its
// replicas run on the other, which has room for them, while it does not work yet, then
// it works again, and no request fails but what cannot be sent again.
func TestLibvirtMachineDestroyedUnderLoad(t *testing.T) {
	f := newTwoTier(t)
	const dead, other, replicas = "vm.node[1]", "vm.node[0]", 4
	lost := f.on(dead)
	if len(lost) != 2 {
		t.Fatalf("on %s are %v", dead, lost)
	}
	s := f.send("http://127.0.0.1:8080/api?n=5", 2, "-timeout=1m") // emulated machines are slow, and slower while one starts
	f.patiently("load", func() bool { return s.sofar() > 20 })
	virsh(t, "", "destroy", "two-tier.node-1")
	killed := time.Now()
	f.patiently("the machine starts", func() bool {
		return slices.Contains(strings.Fields(virsh(t, "", "list", "--name", "--state-running")), "two-tier.node-1")
	})
	disk := func(rate string) {
		virsh(t, "", "blkdeviotune", "two-tier.node-1", "vda", "--live", "--total-bytes-sec", rate)
	}
	disk("20000") // bytes; so it takes its time
	f.patiently("replicas elsewhere", func() bool { return len(f.on(other)) == replicas })
	elsewhere := time.Since(killed)
	if n := f.must("exec", other, "--", "sh", "-c", "pidof flowctl-demo | wc -w"); strings.TrimSpace(n) != fmt.Sprint(replicas) {
		t.Errorf("on %s are recorded %v, and there are %s processes", other, f.on(other), n)
	}
	if !f.underway("update", dead) {
		t.Errorf("%s works by then:\n%s", dead, f.must("runs", "show"))
	}
	disk("0") // as fast as it is
	f.patiently("nothing to do", func() bool {
		_, _, err := f.run(0, "plan", "-detailed-exitcode")
		return err == nil
	})
	whole := time.Since(killed)
	before := s.sofar()
	f.patiently("more load", func() bool { return s.sofar() > before+20 })
	r := s.stop(t)
	if r.Failed()+r.Cut > 0 {
		t.Errorf("%d of %d requests failed, %d were cut\n%s\n%s", r.Failed(), r.Sent, r.Cut, load.Summary(r), f.controllerLog())
	}
	t.Logf("%d requests, %d failed, %d cut; replicas elsewhere after %s, all as planned after %s", r.Sent, r.Failed(), r.Cut, elsewhere.Round(time.Second/10), whole.Round(time.Second/10))
	f.must("destroy", "-auto-approve")
	if left := inLibvirt(f.name); len(left) > 0 {
		t.Errorf("destroy leaves %v", left)
	}
}
