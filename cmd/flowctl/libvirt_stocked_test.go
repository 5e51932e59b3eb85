//go:build libvirt_dlopen && cgo

package main

import (
	"bytes"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// flowctl is killed with -9 while it brings images to a golden machine: the next apply
// makes what is missing, and nothing of the other is left.
func TestLibvirtKilledWhileAGoldenMachineIsStocked(t *testing.T) {
	machine := needMachines(t)
	script, err := txtar.ParseFile("testdata/libvirt/stocked.txtar")
	if err != nil {
		t.Fatal(err)
	}
	f := flowctl{t: t, dir: t.TempDir(), name: "virt-stock"}
	t.Cleanup(func() { killLeftovers(t, f.dir) })
	t.Setenv("DOCKER_HOST", os.Getenv("FLOWCTL_TEST_DOCKER_HOST"))
	if err := os.Mkdir(filepath.Join(f.dir, "image"), 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(demoDir, "flowctl-demo"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"image/flowctl-demo": program}
	for _, file := range script.Files {
		files[file.Name] = file.Data
	}
	files["flow.hcl"] = []byte(strings.NewReplacer("MACHINE", machine, `"stocked"`, `"virt-stock"`).Replace(string(files["flow.hcl"])))
	for _, name := range []string{"image/flowctl-demo", "image/Dockerfile", "flow.hcl"} {
		if err := os.WriteFile(filepath.Join(f.dir, name), files[name], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f.must("apply", "-auto-approve", "-no-serve", "-var=n=0")

	lent := func() []string { // golden machines that are somebody for a while
		var all []string
		for _, name := range strings.Fields(virsh(t, "", "list", "--all", "--name")) {
			if strings.HasPrefix(name, "flowctl-golden-") && strings.Count(name, "-") == 4 {
				all = append(all, name)
			}
		}
		return all
	}
	cmd := osexec.Command(filepath.Join(plainDir, "flowctl"), "apply", "-auto-approve", "-no-serve", "-var=n=2")
	cmd.Dir = f.dir
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err = eventually(func() bool { return len(lent()) > 0 })
	if killed := cmd.Process.Kill(); err != nil || killed != nil {
		t.Fatalf("no golden machine is stocked: %v, %v\n%s", err, killed, &said)
	}
	cmd.Wait() // it was killed
	if len(lent()) != 1 {
		t.Fatalf("killed too late: there are %v\n%s", lent(), &said)
	}
	f.must("apply", "-auto-approve", "-no-serve", "-var=n=2")
	f.must("plan", "-detailed-exitcode", "-var=n=2")
	if left := lent(); len(left) > 0 {
		t.Errorf("there are still %v", left)
	}
	for _, name := range []string{"keys-*", "*.state"} { // what it was lent, and what it came through
		if left, err := filepath.Glob(filepath.Join(f.dir, ".flowctl", "*", "*", name)); err != nil || len(left) > 0 {
			t.Errorf("there are still %v, %v", left, err)
		}
	}
	disks, states := 0, 0
	for _, what := range inLibvirt(f.name) {
		if name, ok := strings.CutPrefix(what, "volume flowctl-golden-"); ok {
			disks += strings.Count(name, ".disk")
			states += strings.Count(name, ".save")
		}
	}
	if disks != 2 || states != 2 {
		t.Errorf("there are %d disks and %d states of golden machines, want a plain one and a stocked one: %v", disks, states, inLibvirt(f.name))
	}
	f.must("destroy", "-auto-approve")
	if left := inLibvirt(f.name); len(left) > 0 {
		t.Errorf("destroy leaves %v", left)
	}
}
