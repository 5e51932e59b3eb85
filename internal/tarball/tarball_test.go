package tarball_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/internal/tarball"
)

// list tells what is in a folder: names, modes, contents.
func list(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		content, _ := os.ReadFile(p)
		fmt.Fprintf(&b, "%s %s %s\n", rel, info.Mode(), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsPackedComesOutTheSame(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(from, "a/b"), 0o750))
	must(t, os.WriteFile(filepath.Join(from, "a/b/run"), []byte("x"), 0o755))
	must(t, os.WriteFile(filepath.Join(from, "a/secret"), []byte("y"), 0o600))
	must(t, os.Symlink("b/run", filepath.Join(from, "a/link")))
	var buf bytes.Buffer
	must(t, tarball.Pack(&buf, filepath.Join(from, "a"), "a"))
	must(t, tarball.Unpack(bytes.NewReader(buf.Bytes()), to, ""))
	if got, want := list(t, to), list(t, from); got != want {
		t.Errorf("it came out as\n%swent in\n%s", got, want)
	}
	must(t, tarball.Unpack(&buf, to, "other"))
	if got, want := list(t, filepath.Join(to, "other")), list(t, filepath.Join(from, "a")); got != want {
		t.Errorf("under another name it came out as\n%swent in\n%s", got, want)
	}
}

func TestNothingLeavesTheFolder(t *testing.T) {
	outside := t.TempDir()
	for _, h := range []tar.Header{
		{Name: "../../evil", Typeflag: tar.TypeReg},
		{Name: "/evil", Typeflag: tar.TypeReg},
		{Name: "out/evil", Typeflag: tar.TypeReg},
		{Name: "dev", Typeflag: tar.TypeChar},
	} {
		dir := filepath.Join(t.TempDir(), "x", "y")
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.Symlink(outside, filepath.Join(dir, "out")))
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		must(t, w.WriteHeader(&h))
		must(t, w.Close())
		err := tarball.Unpack(&buf, dir, "")
		if strings.Contains(h.Name, "out/") || h.Typeflag == tar.TypeChar {
			if err == nil {
				t.Errorf("%s: no error", h.Name)
			}
		}
		if left := list(t, outside); left != "" {
			t.Errorf("%s made %s", h.Name, left)
		}
		if _, err := os.Stat(filepath.Join(dir, "../../evil")); err == nil {
			t.Errorf("%s left the folder", h.Name)
		}
	}
}
