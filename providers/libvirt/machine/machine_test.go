package machine

import (
	"bytes"
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPartsAreWhatTheyWere(t *testing.T) {
	dir := t.TempDir()
	if err := unpack(dir); err != nil {
		t.Fatal(err)
	}
	for name, program := range map[string]bool{
		"build.sh": true, "guest/etc/rc": true, "guest/etc/become": true, "guest/etc/golden": true, "guest/etc/engine-id": true, "guest/sbin/reseed": true,
		"guest/etc/inittab": false, "guest/etc/ssh/sshd_config": false, "guest/etc/door.conf": false,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || (info.Mode()&0o111 != 0) != program {
			t.Errorf("%s: %v, %v; is it a program: %v", name, info, err, program)
		}
	}
	// What the machine runs must at least be a script.
	scripts, err := filepath.Glob(filepath.Join(dir, "guest/etc/*"))
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	for _, file := range scripts {
		text, _ := os.ReadFile(file)
		if !bytes.HasPrefix(text, []byte("#!/bin/sh")) {
			continue
		}
		if out, err := osexec.Command("sh", "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	err := tools(t.TempDir())
	if !errors.Is(err, ErrTools) || !strings.Contains(err.Error(), "mke2fs (package e2fsprogs), no qemu-img (package qemu-utils)") {
		t.Errorf("%v", err)
	}
}

func TestAMachineThatIsThereIsNotBuilt(t *testing.T) {
	dir := t.TempDir()
	k, err := key()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append([]string{"key"}, files...) {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(k+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if built, err := Build(t.Context(), dir, os.Stderr); built || err != nil {
		t.Errorf("built: %v, %v", built, err)
	}
	if err := os.Truncate(filepath.Join(dir, "kernel"), 0); err != nil {
		t.Fatal(err)
	}
	if whole(dir, k) {
		t.Error("one without a kernel is taken for whole")
	}
	if whole(dir, "another") {
		t.Error("one of other parts is taken for this")
	}
}

// The program that machines begin with is what its source says.
func TestReseedIsWhatItsSourceSays(t *testing.T) {
	for _, tool := range []string{"as", "ld"} {
		if _, err := osexec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	dir := t.TempDir()
	for _, argv := range [][]string{
		{"as", "-o", filepath.Join(dir, "o"), "reseed/reseed.S"},
		{"ld", "-s", "-n", "-N", "--build-id=none", "--no-warn-rwx-segments", "-o", filepath.Join(dir, "reseed"), filepath.Join(dir, "o")},
	} {
		if out, err := osexec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	made, err := os.ReadFile(filepath.Join(dir, "reseed"))
	kept, kerr := os.ReadFile("guest/sbin/reseed")
	if err != nil || kerr != nil {
		t.Fatal(err, kerr)
	}
	if !bytes.Equal(made, kept) {
		t.Error("guest/sbin/reseed is not what reseed/reseed.S makes")
	}
}
