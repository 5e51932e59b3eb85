package libvirt

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hashOf is what a process of its own, at a time from now, says of a file.
func hashOf(t *testing.T, kept, file string, later time.Duration) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := hashes{file: kept, now: func() time.Time { return time.Now().Add(later) }}
	sum, err := h.sum(f)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := h.sum(f); err != nil || again != sum {
		t.Errorf("a second time it is %s, %v", again, err)
	}
	return sum
}

// A file is hashed once for all processes, and again as soon as it is not what it was,
// whatever its times say.
func TestHashesAreKept(t *testing.T) {
	const later = time.Hour // when files have long been as they are
	dir := t.TempDir()
	kept, file := filepath.Join(dir, "cache", "hashes.json"), filepath.Join(dir, "disk")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// replant makes what is kept say another hash, which whoever goes by it then says.
	planted := strings.Repeat("07", 32)
	replant := func(was string) {
		t.Helper()
		text, err := os.ReadFile(kept)
		if err != nil || strings.Count(string(text), was) != 1 {
			t.Fatalf("kept is %v\n%s", err, text)
		}
		if err := os.WriteFile(kept, []byte(strings.ReplaceAll(string(text), was, planted)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	is := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s has the hash %s, want %s", what, got, want)
		}
	}
	one, two := sumOf([]byte("one")), sumOf([]byte("two"))

	write("one")
	is("a file that was written just now", hashOf(t, kept, file, 0), one)
	if _, err := os.Stat(kept); err == nil {
		t.Error("the hash of a file that was written just now is kept")
	}
	is("a file", hashOf(t, kept, file, later), one)
	replant(one)
	is("a file that is as it was", hashOf(t, kept, file, later), planted)

	// With another content, and the old times as far as one may set them: for as long as
	// it takes the file system's clock to go on.
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	for then := info; changed(then) == changed(info); {
		write("two")
		if err := os.Chtimes(file, time.Time{}, info.ModTime()); err != nil {
			t.Fatal(err)
		}
		if then, err = os.Stat(file); err != nil {
			t.Fatal(err)
		}
	}
	is("a file of the same size and time", hashOf(t, kept, file, later), two)
	replant(two)
	if err := os.WriteFile(file+".new", []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	is("another in its place", hashOf(t, kept, file, later), one)

	replant(one)
	if err := os.Chmod(kept, 0o622); err != nil {
		t.Fatal(err)
	}
	is("what others could have written", hashOf(t, kept, file, later), one)
	for _, broken := range []string{"", "{", `{"` + file + `": {"sha256": "7"}}`} {
		if err := os.WriteFile(kept, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		is("with what is no whole "+broken, hashOf(t, kept, file, later), one)
	}

	other := filepath.Join(dir, "other")
	if err := os.Rename(file, other); err != nil {
		t.Fatal(err)
	}
	hashOf(t, kept, other, later)
	text, err := os.ReadFile(kept)
	if err != nil || strings.Contains(string(text), file+`"`) || !strings.Contains(string(text), other) {
		t.Errorf("kept is %v\n%s", err, text)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "cache", "*")); len(left) != 1 {
		t.Errorf("beside it are %v", left)
	}
}

func changed(info os.FileInfo) syscall.Timespec { return info.Sys().(*syscall.Stat_t).Ctim }
