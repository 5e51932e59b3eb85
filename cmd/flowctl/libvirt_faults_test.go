//go:build libvirt_dlopen && cgo

package main

import (
	"bytes"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// faultFlow is one machine on a network.
type faultFlow struct {
	name, machine string // of the flow; the folder with the small machine
	pool          string // "default", if not set
	image         string // the machine's, if not set
	data          string // the machine's user_data
	bare          bool   // no kernel, and so a boot loader
	cidr          string
	limit         string // of the machine's creation
}

func (f faultFlow) text() string {
	var b strings.Builder
	image, pool, limit := f.image, f.pool, f.limit
	if image == "" {
		image = f.machine + "/disk.qcow2"
	}
	if pool == "" {
		pool = "default"
	}
	if limit == "" {
		limit = "8m"
	}
	fmt.Fprintf(&b, "flow %q {\n provider = \"libvirt\"\n}\nprovider \"libvirt\" {\n image = %q\n pool = %q\n accel = \"tcg\"\n", f.name, image, pool)
	if !f.bare {
		fmt.Fprintf(&b, " kernel = %q\n initrd = %q\n", f.machine+"/kernel", f.machine+"/initrd")
	}
	fmt.Fprintf(&b, "}\nnetwork \"lan\" {\n")
	if f.cidr != "" {
		fmt.Fprintf(&b, " cidr = %q\n", f.cidr)
	}
	fmt.Fprintf(&b, "}\nvm \"node\" {\n cpus = 1\n memory = \"192MiB\"\n network = network.lan\n timeouts {\n create = %q\n }\n", limit)
	if f.data != "" {
		fmt.Fprintf(&b, " user_data = %q\n", f.data)
	}
	b.WriteString("}\n")
	return b.String()
}

// write writes the flow into a folder of its own.
func (f faultFlow) write(t *testing.T) flowctl {
	t.Helper()
	c := flowctl{t: t, dir: t.TempDir(), name: f.name}
	t.Cleanup(func() { killLeftovers(t, c.dir) })
	c.rewrite(f)
	return c
}

func (c flowctl) rewrite(f faultFlow) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, "flow.hcl"), []byte(f.text()), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// halts runs an apply that is to fail with words in its error, and checks that
// nothing of the machine is left half-made.
func (c flowctl) halts(words ...string) {
	c.t.Helper()
	cmd := osexec.Command(filepath.Join(plainDir, "flowctl"), "apply", "-auto-approve", "flow.hcl")
	cmd.Dir = c.dir
	out, err := cmd.CombinedOutput()
	if err == nil {
		c.t.Fatalf("the apply succeeds:\n%s", out)
	}
	for _, w := range words {
		if !strings.Contains(string(out), w) {
			c.t.Errorf("the error does not say %q:\n%s", w, out)
		}
	}
	for _, left := range inLibvirt(c.name) {
		if strings.Contains(left, ".node-0") || strings.HasSuffix(left, ".part") { // shared disks stay for the next attempt
			c.t.Errorf("it leaves %s", left)
		}
	}
}

// emptied destroys the flow and checks that nothing is left.
func (c flowctl) emptied() {
	c.t.Helper()
	c.must("destroy", "-auto-approve")
	if left := inLibvirt(c.name); len(left) > 0 {
		c.t.Errorf("destroy leaves %v", left)
	}
}

// virsh asks libvirt something by hand.
func virsh(t *testing.T, input string, args ...string) string {
	t.Helper()
	cmd := osexec.Command("virsh", append([]string{"-q", "-c", "qemu:///system"}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("virsh %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// What is wrong around a machine is said, with what its console shows, and leaves
// nothing half-made.
func TestLibvirtFaults(t *testing.T) {
	machine := needMachines(t)
	empty := filepath.Join(t.TempDir(), "empty.raw")
	if err := os.WriteFile(empty, bytes.Repeat([]byte{0}, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("wrong pool", func(t *testing.T) {
		c := faultFlow{name: "fault-pool", machine: machine, pool: "nowhere"}.write(t)
		c.halts("Storage pool not usable", "nowhere")
	})
	t.Run("full disk", func(t *testing.T) {
		dir := t.TempDir()
		if out, err := osexec.Command("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", dir).CombinedOutput(); err != nil {
			t.Skipf("no tmpfs: %v: %s", err, out)
		}
		t.Cleanup(func() { osexec.Command("umount", "-l", dir).Run() })
		virsh(t, "", "pool-define-as", "small", "dir", "--target", dir)
		t.Cleanup(func() { virsh(t, "", "pool-undefine", "small") })
		virsh(t, "", "pool-start", "small")
		t.Cleanup(func() { virsh(t, "", "pool-destroy", "small") })
		c := faultFlow{name: "fault-full", machine: machine, pool: "small"}.write(t)
		c.halts("Make room")
		if left := virsh(t, "", "vol-list", "small"); left != "" {
			t.Errorf("it leaves in the pool:\n%s", left)
		}
		c.emptied()
	})
	t.Run("name taken", func(t *testing.T) {
		c := faultFlow{name: "fault-name", machine: machine}.write(t)
		virsh(t, "", "define", "--file", definition(t, "<domain type='qemu'><name>fault-name.node-0</name><memory>8192</memory><os><type>hvm</type></os></domain>"))
		cmd := osexec.Command(filepath.Join(plainDir, "flowctl"), "apply", "-auto-approve", "flow.hcl")
		cmd.Dir = c.dir
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "there is a domain named fault-name.node-0 already") {
			t.Errorf("apply: %v\n%s", err, out)
		}
		virsh(t, "", "undefine", "fault-name.node-0") // it is still there
		c.emptied()
	})
	t.Run("network taken", func(t *testing.T) {
		virsh(t, "", "net-define", definition(t, "<network><name>fault-net.lan</name><ip address='10.250.3.1' prefix='24'/></network>"))
		c := faultFlow{name: "fault-net", machine: machine}.write(t)
		c.halts("there is a network named fault-net.lan already")
		virsh(t, "", "net-start", "fault-net.lan") // nobody has done anything to it
		c.rewrite(faultFlow{name: "fault-net2", machine: machine, cidr: "10.250.3.0/24"})
		c.name = "fault-net2"
		c.halts("Give the network another cidr")
		c.emptied()
		virsh(t, "", "net-destroy", "fault-net.lan")
		virsh(t, "", "net-undefine", "fault-net.lan")
	})
	t.Run("disk without a system", func(t *testing.T) {
		c := faultFlow{name: "fault-disk", machine: machine, image: empty}.write(t)
		c.halts("before its engine has answered", "no file system on /dev/vda", "Kernel panic")
		c.emptied()
	})
	t.Run("disk without a boot loader", func(t *testing.T) {
		c := faultFlow{name: "fault-boot", machine: machine, image: empty, bare: true, limit: "20s"}.write(t)
		c.halts("has not answered", "an image without one needs a kernel")
		c.emptied()
	})
	t.Run("no answer", func(t *testing.T) {
		c := faultFlow{name: "fault-mute", machine: machine, data: "#!/bin/sh\necho waiting for what never comes\nsleep 1000\n", limit: "75s"}.write(t)
		c.halts("has not answered", "The last that its console shows:\n")
		c.emptied()
	})
}

// definition puts XML where virsh reads it.
func definition(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "definition.xml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// libvirtd ends while a machine is made, and comes again: the apply goes on with
// what there is, or the next one does.
func TestLibvirtRestarted(t *testing.T) {
	machine := needMachines(t)
	daemon := os.Getenv("FLOWCTL_LAB_LIBVIRTD")
	if daemon == "" {
		t.Skip("needs a libvirtd that it may end: run it with hack/lab -machines")
	}
	c := faultFlow{name: "fault-restart", machine: machine}.write(t)
	cmd := osexec.Command(filepath.Join(plainDir, "flowctl"), "apply", "-auto-approve", "flow.hcl")
	cmd.Dir = c.dir
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	made := func() bool { return strings.Contains(virsh(t, "", "list", "--name"), "fault-restart.node-0") }
	if err := eventually(made); err != nil {
		cmd.Process.Kill()
		t.Fatalf("no machine is made: %v; %v\n%s", err, <-over, &said)
	}
	pid, err := osexec.Command("pgrep", "-x", "libvirtd").Output()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := osexec.Command("kill", append([]string{"-9"}, strings.Fields(string(pid))...)...).CombinedOutput(); err != nil {
		t.Fatalf("end libvirtd: %v\n%s", err, out)
	}
	again := osexec.Command("sh", "-c", "exec "+daemon+" >/dev/null 2>&1")
	if err := again.Start(); err != nil { // the lab ends it
		t.Fatal(err)
	}
	answers := func() bool { return osexec.Command("virsh", "-q", "-c", "qemu:///system", "list").Run() == nil }
	if err := eventually(answers); err != nil {
		t.Fatal(err)
	}
	if err := <-over; err != nil {
		t.Logf("the apply that lost its daemon fails, which it may: %v\n%s", err, &said)
		c.must("apply", "-auto-approve")
	}
	if plan := c.must("plan"); !strings.Contains(plan, "No changes") {
		t.Errorf("a second plan is not empty:\n%s", plan)
	}
	if names := strings.Fields(virsh(t, "", "list", "--all", "--name")); len(names) != 1 {
		t.Errorf("there are the domains %v", names)
	}
	c.emptied()
}

// eventually waits until something holds, for minutes if need be.
func eventually(holds func() bool) error {
	deadline := time.After(5 * time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("not after five minutes")
		}
	}
	return nil
}
