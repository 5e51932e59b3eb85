package docs

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	osexec "os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/spec"
)

// sources parses the Go files of a package that are no tests.
func sources(t *testing.T, dir string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all []*ast.File
	for _, n := range names {
		if strings.HasSuffix(n, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), n, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	if len(all) == 0 {
		t.Fatalf("no Go files in %s", dir)
	}
	return all
}

// structs are the struct types of a package, by name.
func structs(t *testing.T, dir string) map[string]*ast.StructType {
	all := map[string]*ast.StructType{}
	for _, f := range sources(t, dir) {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.TypeSpec); ok {
				if st, ok := s.Type.(*ast.StructType); ok {
					all[s.Name.Name] = st
				}
			}
			return true
		})
	}
	return all
}

func tagOf(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	tag, _ := strconv.Unquote(f.Tag.Value)
	return tag
}

// The blocks that are copied here are those of package spec.
func TestBlocksAreThoseOfSpec(t *testing.T) {
	theirs := structs(t, "spec")
	for _, mine := range []reflect.Type{
		reflect.TypeFor[flowBlock](), reflect.TypeFor[variableBlock](), reflect.TypeFor[validationBlock](), reflect.TypeFor[outputBlock](),
	} {
		st := theirs[mine.Name()]
		if st == nil {
			t.Errorf("spec has no %s any more", mine.Name())
			continue
		}
		var want, got []string
		for _, f := range st.Fields.List {
			want = append(want, tagOf(f))
		}
		for i := range mine.NumField() {
			got = append(got, string(mine.Field(i).Tag))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has tags\n%s\nbut spec has\n%s", mine.Name(), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// Every kind of block of the language has a section.
func TestEveryBlockHasASection(t *testing.T) {
	text, err := Language()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range spec.BlockTypes() {
		if !strings.Contains(text, "\n## "+kind+"\n") {
			t.Errorf("docs/language.md has no section about %s blocks", kind)
		}
	}
}

// The providers are those that cmd/flowctl registers.
func TestProvidersAreThoseOfTheProgram(t *testing.T) {
	n := 0
	for _, f := range sources(t, "cmd/flowctl") {
		ast.Inspect(f, func(node ast.Node) bool {
			v, ok := node.(*ast.ValueSpec)
			if !ok || len(v.Names) != 1 || v.Names[0].Name != "factories" {
				return true
			}
			n = len(v.Values[0].(*ast.CompositeLit).Elts)
			return false
		})
	}
	if n != len(Factories) {
		t.Errorf("cmd/flowctl/wire.go registers %d providers, and internal/docs/language.go has %d: list the same", n, len(Factories))
	}
}

// Every exit status that the program has is told.
func TestExitStatusesAreTold(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/exit-codes.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range sources(t, "cmd/flowctl") {
		ast.Inspect(f, func(node ast.Node) bool {
			v, ok := node.(*ast.ValueSpec)
			if !ok || len(v.Values) != 1 || !strings.HasPrefix(v.Names[0].Name, "exit") {
				return true
			}
			lit, ok := v.Values[0].(*ast.BasicLit)
			if !ok || lit.Kind != token.INT {
				return true
			}
			n++
			if !strings.Contains(string(text), "| "+lit.Value+" |") {
				t.Errorf("docs/exit-codes.md does not tell of %s = %s", v.Names[0].Name, lit.Value)
			}
			return true
		})
	}
	if n < 5 {
		t.Errorf("only %d exit statuses were found: the test looks in the wrong place", n)
	}
}

// Commands end with the statuses that docs/exit-codes.md tells. There is no
// terminal, so nothing is asked.
func TestExitStatusesHold(t *testing.T) {
	dir := workshop(t)
	for _, c := range []struct {
		line string
		want int
	}{
		{"plan -detailed-exitcode shop.hcl", 2},
		{"apply shop.hcl", 64},
		{"apply -auto-approve shop.hcl", 0},
		{"plan -detailed-exitcode shop.hcl", 0},
		{"output -spec=shop.hcl none", 1},
		{"validate typo.hcl", 3},
		{"plan -no-such-flag", 64},
		{"destroy shop.hcl", 64},
	} {
		text, err := flowctl(t, dir, strings.Fields(c.line)...)
		got := 0
		if exit := (*osexec.ExitError)(nil); errors.As(err, &exit) {
			got = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("flowctl %s ends with %d, not with %d:\n%s", c.line, got, c.want, text)
		}
	}
}

var jsonTag = regexp.MustCompile(`json:"([^",]+)`)

// Every field of a JSON form is in its reference.
func TestJSONFieldsAreTold(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/json.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range jsonFields(t) {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/json.md does not tell of the field %s", name)
		}
	}
}

var (
	fieldTable = regexp.MustCompile(`(?m)^\| Field \|.*\n\| --- \|.*\n((?:\|.*\n)+)`)
	backquoted = regexp.MustCompile("`([^`]+)`")
)

// Every field that the reference has is one of a JSON form.
func TestToldJSONFieldsAreThere(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/json.md"))
	if err != nil {
		t.Fatal(err)
	}
	known, told := jsonFields(t), 0
	for _, m := range fieldTable.FindAllStringSubmatch(string(text), -1) {
		for row := range strings.Lines(m[1]) {
			cell, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
			for _, name := range backquoted.FindAllStringSubmatch(cell, -1) {
				told++
				if !known[name[1]] {
					t.Errorf("docs/json.md tells of a field %s, which no form has", name[1])
				}
			}
		}
	}
	if told < 80 {
		t.Errorf("only %d fields were found: the test looks in the wrong place", told)
	}
}

// jsonFields are the names of the fields of all JSON forms that commands write.
func jsonFields(t *testing.T) map[string]bool {
	all := map[string]bool{}
	collect := func(n ast.Node) bool {
		f, ok := n.(*ast.Field)
		if !ok {
			return true
		}
		if m := jsonTag.FindStringSubmatch(tagOf(f)); m != nil && m[1] != "-" {
			all[m[1]] = true
		}
		return true
	}
	for _, dir := range []string{"cmd/flowctl", "cmd/flowctl/view"} {
		for _, f := range sources(t, dir) {
			ast.Inspect(f, collect)
		}
	}
	// Forms of other packages that commands write as they are.
	for dir, names := range map[string][]string{
		"state":         {"Holder"},
		"engine":        {"Range", "Pos"},
		"internal/load": {"Report", "Counts", "Failures", "Latency", "Sample"},
		"runtime/api":   {"Status", "Size", "Rule", "Decision", "Wish", "Limit"},
	} {
		types := structs(t, dir)
		for _, n := range names {
			if types[n] == nil {
				t.Fatalf("%s has no struct %s any more", dir, n)
			}
			ast.Inspect(types[n], collect)
		}
	}
	if len(all) < 80 {
		t.Fatalf("only %d fields were found: the test looks in the wrong place", len(all))
	}
	return all
}

// Tables take their words from schemas of which nothing is left out.
func TestAttributesAreDescribed(t *testing.T) {
	for name, s := range schemas() {
		describe(t, name, s)
	}
	for name, f := range Factories {
		if f.Config != nil {
			describe(t, "provider "+name, f.Config)
		}
	}
}

func describe(t *testing.T, name string, s *engine.Schema) {
	for i := range s.Attributes {
		a := &s.Attributes[i]
		if a.Doc == "" || !strings.HasSuffix(a.Doc, ".") && !strings.HasPrefix(a.Doc, "http") {
			t.Errorf("%s: the description of %q is no sentence: %q", name, a.Name, a.Doc)
		}
		if a.Block != nil {
			describe(t, name+": "+a.Name, a.Block)
		}
	}
}
