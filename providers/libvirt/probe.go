package libvirt

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"time"
)

// probeImage is the boot sector that probe/probe.S describes.
//
//go:embed probe/probe.img
var probeImage []byte

// probeStatus is how QEMU ends when the boot sector has run, and probeTimeout how
// long that may take: it is a matter of milliseconds, or it never ends.
const probeStatus, probeTimeout = 85, 5 * time.Second

// chooseAccel decides how machines run, once.
func (l *Libvirt) chooseAccel() string {
	if l.cfg.Accel != "auto" {
		return l.cfg.Accel
	}
	if u, err := url.Parse(l.cfg.URI); err != nil || u.Host != "" {
		l.settings.Log.Warn("machines elsewhere are emulated, since whether KVM runs there cannot be tried: write accel = \"kvm\" in the provider block if it does")
		return "tcg"
	}
	if kvmRuns() {
		return "kvm"
	}
	l.settings.Log.Info("machines are emulated, since KVM does not run here")
	return "tcg"
}

// kvmRuns reports whether KVM runs on this computer: whether it says so is not
// enough, since a computer that is itself a machine may offer a KVM that never gets
// anywhere. The answer is kept until the computer starts again.
func kvmRuns() bool {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return false
	}
	kept := keptAnswer()
	if text, err := os.ReadFile(kept); err == nil {
		return string(text) == "yes"
	}
	runs := tryKVM()
	if kept != "" && os.MkdirAll(filepath.Dir(kept), 0o700) == nil {
		answer := map[bool]string{true: "yes", false: "no"}[runs]
		_ = os.WriteFile(kept, []byte(answer), 0o600) // else it is tried again
	}
	return runs
}

// keptAnswer is the file with the answer for this start of the computer.
func keptAnswer() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	cache, cerr := os.UserCacheDir()
	if err != nil || cerr != nil {
		return ""
	}
	return filepath.Join(cache, "flowctl", "kvm-host-"+string(bytes.TrimSpace(boot)))
}

// tryKVM runs the boot sector.
func tryKVM() bool {
	qemu := ""
	for _, name := range []string{"qemu-system-x86_64", "/usr/libexec/qemu-kvm", "qemu-kvm"} {
		if path, err := osexec.LookPath(name); err == nil {
			qemu = path
			break
		}
	}
	f, err := os.CreateTemp("", "flowctl-probe-")
	if qemu == "" || err != nil {
		return false
	}
	defer os.Remove(f.Name())
	_, err = f.Write(probeImage)
	if err = errors.Join(err, f.Close()); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	cmd := osexec.CommandContext(ctx, qemu, probeArgs(f.Name())...)
	cmd.WaitDelay = time.Second
	exit, ok := errors.AsType[*osexec.ExitError](cmd.Run())
	return ok && exit.ExitCode() == probeStatus
}

// probeArgs are QEMU's for a boot sector, on the processor that machines get: that KVM
// runs with another says nothing of this one.
func probeArgs(image string) []string {
	return []string{
		"-accel", "kvm", "-cpu", "host", "-nodefaults", "-display", "none", "-m", "16", "-machine", "pc",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive", "file=" + image + ",format=raw,if=ide",
	}
}
