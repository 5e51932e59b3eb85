package docs

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// bin is the folder of the programs that the tests build, once.
var bin = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "flowctl-docs-")
	if err != nil {
		return "", err
	}
	for _, pkg := range []string{"cmd/flowctl", "examples/demo"} {
		name := map[string]string{"cmd/flowctl": "flowctl", "examples/demo": "flowctl-demo"}[pkg]
		if err := notice(filepath.Join(root, pkg)); err != nil {
			return "", err
		}
		cmd := osexec.Command("go", "build", "-o", filepath.Join(dir, name), "./"+pkg)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return dir, nil
})

// notice reads the sources of a program, so that the test cache knows that a
// result depends on them.
func notice(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			_, err = os.ReadFile(path)
		}
		return err
	})
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := bin(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// flowctl runs a command line in a folder and returns what it prints: its
// standard output or, if there is none, its error output.
func flowctl(t *testing.T, dir string, argv ...string) (string, error) {
	t.Helper()
	programs, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.CommandContext(t.Context(), filepath.Join(programs, "flowctl"), argv...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + programs + ":" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if out.Len() == 0 {
		out = errs
	}
	return out.String(), err
}

// workshop is a folder with the flows that pages show output of.
func workshop(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, pattern := range []string{"flows/*.hcl", filepath.Join(root, "examples/*.hcl"), filepath.Join(root, "examples/peers/*.hcl")} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files %v", pattern, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, filepath.Base(f)), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// output is what the last of several command lines, apart by &&, prints.
func output(t *testing.T, commands string) string {
	t.Helper()
	dir := workshop(t)
	text := ""
	all := strings.Split(commands, " && ")
	for i, line := range all {
		var err error
		if text, err = flowctl(t, dir, strings.Fields(line)...); err != nil && i < len(all)-1 {
			t.Fatalf("flowctl %s: %v\n%s", line, err, text)
		}
	}
	return text
}
