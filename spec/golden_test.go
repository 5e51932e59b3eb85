package spec_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/spec"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected findings in testdata")

// goldenCase is one flow of an archive: the files case/name, besides those that
// all cases of the archive share.
type goldenCase struct {
	name  string
	files map[string][]byte
	args  string // lines such as "-var a=b", "-var-file x.vars.hcl", "env NAME=value"
	want  string
	place int // of the section want in the archive, -1 if it has none
}

func casesOf(a *txtar.Archive) []*goldenCase {
	shared := map[string][]byte{}
	byName := map[string]*goldenCase{}
	var order []*goldenCase
	for i, f := range a.Files {
		name, file, inside := strings.Cut(f.Name, "/")
		if !inside {
			shared[f.Name] = f.Data
			continue
		}
		c := byName[name]
		if c == nil {
			c = &goldenCase{name: name, files: map[string][]byte{}, place: -1}
			byName[name] = c
			order = append(order, c)
		}
		switch file {
		case "want":
			c.want, c.place = string(f.Data), i
		case "args":
			c.args = string(f.Data)
		default:
			c.files[file] = f.Data
		}
	}
	for _, c := range order {
		for name, data := range shared {
			if _, own := c.files[name]; !own {
				c.files[name] = data
			}
		}
	}
	return order
}

// request reads the args of a case.
func (c *goldenCase) request(t *testing.T) spec.Request {
	r := spec.Request{Path: "."}
	for line := range strings.Lines(c.args) {
		what, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch what {
		case "-var":
			r.Vars = append(r.Vars, rest)
		case "-var-file":
			r.VarFiles = append(r.VarFiles, rest)
		case "env":
			r.Environ = append(r.Environ, rest)
		case "path":
			r.Path = rest
		default:
			t.Fatalf("unknown argument %q", line)
		}
	}
	return r
}

// load reads and loads the case in a folder of its own.
func (c *goldenCase) load(t *testing.T) (engine.Desired, engine.Diagnostics, map[string][]byte) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, data := range c.files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, diags := spec.Read(c.request(t))
	if diags.HasErrors() {
		return engine.Desired{}, diags, b.Sources()
	}
	d, more := spec.Load(b, options())
	return d, append(diags, more...), b.Sources()
}

// transcript writes findings with the text that they are about.
func transcript(ds engine.Diagnostics, sources map[string][]byte) string {
	var b strings.Builder
	for _, d := range ds {
		b.WriteString(d.Severity.String())
		if s := d.Source; s != nil {
			fmt.Fprintf(&b, " %s:%d:%d-%d:%d", s.Filename, s.Start.Line, s.Start.Column, s.End.Line, s.End.Column)
		}
		fmt.Fprintf(&b, ": %s", d.Summary)
		if !d.Address.IsZero() {
			fmt.Fprintf(&b, " [%s]", d.Address)
		}
		b.WriteString("\n")
		if d.Source != nil {
			first, _, more := bytes.Cut(sources[d.Source.Filename][d.Source.Start.Byte:d.Source.End.Byte], []byte("\n"))
			fmt.Fprintf(&b, "    > %s", first)
			if more {
				b.WriteString("…")
			}
			b.WriteString("\n")
		}
		for line := range strings.Lines(d.Detail + "\n") {
			b.WriteString("    " + line)
		}
	}
	return b.String()
}

// TestMessages compares all findings about bad flows with what is expected.
func TestMessages(t *testing.T) {
	archives, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		path, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		family := strings.TrimSuffix(filepath.Base(path), ".txtar")
		got := map[string]string{}
		for _, c := range casesOf(a) {
			t.Run(family+"/"+c.name, func(t *testing.T) {
				_, ds, sources := c.load(t)
				got[c.name] = transcript(ds, sources)
				checkFindings(t, ds)
				if !*update && got[c.name] != c.want {
					t.Errorf("findings:\n%s\nwant:\n%s", got[c.name], c.want)
				}
			})
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(updated(a, got)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checkFindings checks what holds for every finding.
func checkFindings(t *testing.T, ds engine.Diagnostics) {
	t.Helper()
	seen := map[string]bool{}
	for _, d := range ds {
		if d.Summary == "" || d.Detail == "" {
			t.Errorf("a finding says nothing: %+v", d)
		}
		if s := fmt.Sprintf("%s %+v", d, place(d)); seen[s] {
			t.Errorf("reported twice: %s", d)
		} else {
			seen[s] = true
		}
		if strings.Contains(d.String(), "%!") {
			t.Errorf("badly formatted: %s", d)
		}
	}
}

// updated returns the archive with the findings that there are now, each after
// the other files of its case.
func updated(a *txtar.Archive, got map[string]string) *txtar.Archive {
	out := &txtar.Archive{Comment: a.Comment}
	left := maps.Clone(got)
	flush := func(name string) {
		if text, ok := left[name]; ok {
			out.Files = append(out.Files, txtar.File{Name: name + "/want", Data: []byte(text)})
			delete(left, name)
		}
	}
	last := ""
	for _, f := range a.Files {
		name, file, inside := strings.Cut(f.Name, "/")
		if inside && name != last {
			flush(last)
			last = name
		}
		if !inside || file != "want" {
			out.Files = append(out.Files, f)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		flush(name)
	}
	return out
}

// place returns where a finding starts.
func place(d engine.Diagnostic) engine.Pos {
	if d.Source == nil {
		return engine.Pos{}
	}
	return d.Source.Start
}
