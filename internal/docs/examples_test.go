package docs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/spec"
)

// Every example of the language loads, as it is or among the surroundings that
// it names, and is laid out as flowctl fmt would.
func TestExamplesLoad(t *testing.T) {
	examples := 0
	for _, p := range pages(t) {
		for _, f := range p.fences {
			if f.lang == "hcl" {
				examples++
				checkExample(t, p, f)
			}
		}
	}
	if examples < 30 {
		t.Errorf("only %d examples were found: the test looks in the wrong place", examples)
	}
}

func checkExample(t *testing.T, p page, f fence) {
	t.Helper()
	file := spec.File{Name: p.name, Bytes: []byte(strings.Repeat("\n", f.line-1) + f.text)}
	wanted, invalid := f.directives["invalid"]
	if !invalid {
		text, ds := spec.Format(spec.File{Name: p.name, Bytes: []byte(f.text)})
		if !ds.HasErrors() && string(text) != f.text {
			t.Errorf("%s:%d: flowctl fmt would write this example so:\n%s", p.name, f.line, text)
		}
	}
	if f.directives["part of"] != "" {
		return // the whole is loaded elsewhere
	}
	d, ds := spec.Load(bundle(t, f, file), Options())
	if warns := f.directives["warns"]; warns != "" {
		wanted = warns
	}
	if wanted != "" && !slices.ContainsFunc(ds, func(d engine.Diagnostic) bool { return d.Summary == wanted }) {
		t.Errorf("%s:%d: %q is not reported", p.name, f.line, wanted)
	}
	for _, d := range ds {
		if d.Summary != wanted {
			t.Errorf("%s:%d: %s", p.name, f.line, d)
		}
	}
	if !ds.HasErrors() && len(d.Decls)+len(d.Outputs)+len(d.Providers) == 0 && !strings.Contains(f.text, "variable") && !strings.Contains(f.text, "locals") && !strings.Contains(f.text, "flow") {
		t.Errorf("%s:%d: the example declares nothing", p.name, f.line)
	}
}

// bundle puts an example into its surroundings.
func bundle(t *testing.T, f fence, file spec.File) spec.Bundle {
	t.Helper()
	b := spec.Bundle{Dir: "testdata", Files: []spec.File{file}, Assets: &spec.Assets{}}
	if dir, err := filepath.Abs("testdata"); err == nil {
		b.Dir = dir
	}
	names := strings.Fields(f.directives["with"])
	if !strings.Contains(f.text, "flow \"") {
		names = append(names, "flow")
	}
	for _, n := range names {
		path := filepath.Join("surroundings", n+".hcl")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b.Files = append(b.Files, spec.File{Name: path, Bytes: text})
	}
	return b
}

// Blocks of code that are a file, or a part of one, are so still.
func TestPartsOfFilesAreThere(t *testing.T) {
	for _, p := range pages(t) {
		for _, f := range p.fences {
			path := f.directives["part of"]
			if path == "" {
				continue
			}
			text, err := os.ReadFile(filepath.Join(root, path))
			if err != nil {
				t.Errorf("%s:%d: %v", p.name, f.line, err)
			} else if !strings.Contains(string(text), f.text) {
				t.Errorf("%s:%d: %s does not have this part any more", p.name, f.line, path)
			}
		}
	}
}
