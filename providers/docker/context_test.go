package docker

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// The spec's own folder may be a context: the states in it are no part of it, or
// each apply would make another image.
func TestStatesAreNoPartOfAContext(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"Dockerfile", "app/main", ".flowctl/x/state.db", ".flowctl/x/docker/note"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := New(providers.Settings{Name: Name, SpecDir: dir, Dir: filepath.Join(dir, ".flowctl/x/docker")})
	defer d.Close()
	c, err := d.openContext(engine.ImageBuild{Context: ".", Dockerfile: "Dockerfile"})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := c.write(&packed); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(&packed); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if want := []string{"Dockerfile", "app/", "app/main"}; !slices.Equal(names, want) && !slices.Equal(names, []string{"Dockerfile", "app", "app/main"}) {
		t.Errorf("packed are %v, want %v", names, want)
	}
}
