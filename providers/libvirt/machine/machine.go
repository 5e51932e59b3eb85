// Package machine builds the small Docker machine that the libvirt provider starts when
// a vm names no image. What it is made of lies in build.sh and in the folder guest, which
// are part of the program, so that whoever has it can build it.
package machine

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
)

//go:embed build.sh all:guest
var parts embed.FS

// needed are the programs that build.sh calls, and the Debian packages that have them.
var needed = []struct{ program, pkg string }{
	{"bash", "bash"}, {"apt-get", "apt"}, {"apt-cache", "apt"}, {"dpkg-deb", "dpkg"}, {"modprobe", "kmod"}, {"depmod", "kmod"},
	{"cpio", "cpio"}, {"readelf", "binutils"}, {"strip", "binutils"}, {"mke2fs", "e2fsprogs"}, {"qemu-img", "qemu-utils"},
}

// ErrTools wraps the error that names programs which are missing.
var ErrTools = errors.New("the machine cannot be built here")

// Dir is where the machine is if nobody says otherwise: in the user's cache.
func Dir() (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "flowctl", "machine"), err
}

// Build builds the machine in a folder and reports whether it had to: one that was
// built of the same parts is left as it is. What the tools say goes to log.
func Build(ctx context.Context, dir string, log io.Writer) (built bool, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	key, err := key()
	if err != nil || whole(dir, key) {
		return false, err
	}
	path := os.Getenv("PATH") + ":/usr/sbin:/sbin"
	if err := tools(path); err != nil {
		return false, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	tmp, err := os.MkdirTemp("", "flowctl-disk-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(tmp)
	if err := unpack(tmp); err != nil {
		return false, fmt.Errorf("unpack what the machine is made of: %w", err)
	}
	cmd := osexec.CommandContext(ctx, "bash", filepath.Join(tmp, "build.sh"), dir, key)
	cmd.Env = append(os.Environ(), "PATH="+path)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return false, fmt.Errorf("build the machine in %s: %w", dir, errors.Join(context.Cause(ctx), err))
	}
	return true, nil
}

// files are what a folder with the machine holds, besides the key.
var files = []string{"disk.qcow2", "kernel", "initrd", "golden"}

func whole(dir, key string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil || strings.TrimSpace(string(text)) != key {
		return false
	}
	for _, f := range files {
		if info, err := os.Stat(filepath.Join(dir, f)); err != nil || info.Size() == 0 {
			return false
		}
	}
	return true
}

// tools reports the programs that are not on a path, all of them.
func tools(path string) error {
	var missing []string
	for _, n := range needed {
		found := false
		for _, dir := range filepath.SplitList(path) {
			info, err := os.Stat(filepath.Join(dir, n.program))
			found = found || err == nil && info.Mode()&0o111 != 0
		}
		if !found {
			missing = append(missing, fmt.Sprintf("%s (package %s)", n.program, n.pkg))
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("%w: there is no %s. Install what is missing, on Debian or one of its kind; elsewhere, build it on such a computer and copy the folder", ErrTools, strings.Join(missing, ", no "))
}

// key tells what the machine is made of.
func key() (string, error) {
	sum := sha256.New()
	err := each(func(name string, content []byte) error {
		fmt.Fprintf(sum, "%s %d\n%s", name, len(content), content)
		return nil
	})
	return hex.EncodeToString(sum.Sum(nil))[:16], err
}

// unpack puts the parts into a folder. What begins like a program is one.
func unpack(dir string) error {
	return each(func(name string, content []byte) error {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if text := string(content[:min(4, len(content))]); strings.HasPrefix(text, "#!") || text == "\x7fELF" {
			mode = 0o755
		}
		return os.WriteFile(to, content, mode)
	})
}

// each calls f with every part, in the order of their names.
func each(f func(name string, content []byte) error) error {
	return fs.WalkDir(parts, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := parts.ReadFile(name)
		if err != nil {
			return err
		}
		return f(name, content)
	})
}
