package spec_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/spec"
	"github.com/zclconf/go-cty/cty"
)

func TestReadAnswersWhatIsNoSpec(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "empty/note.txt", "x")
	write(t, "vars/prod.vars.hcl", "a = 1")
	write(t, "dir.hcl/x.txt", "x")
	write(t, "spec/main.hcl", "flow \"x\" {}")
	if err := os.Symlink("nowhere", "spec/broken.hcl"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"missing.hcl":        "error: Spec not found; Cannot read missing.hcl: no such file or directory. Name a spec file, or a folder with *.hcl files.",
		"empty":              "error: No spec here; The folder empty has no *.hcl files. Name a spec file, such as examples/two-tier.hcl, or change to its folder.",
		"vars":               "error: No spec here; The folder vars has no *.hcl files. Name a spec file, such as examples/two-tier.hcl, or change to its folder.",
		"vars/prod.vars.hcl": "error: Not a spec; vars/prod.vars.hcl is a variable file, as its name says. Name a spec, and this file with -var-file.",
		"":                   "error: No spec here; The folder . has no *.hcl files. Name a spec file, such as examples/two-tier.hcl, or change to its folder.",
		"spec":               "error: File not readable; Cannot read spec/broken.hcl: no such file or directory.",
		"empty/note.txt":     "",
	} {
		_, ds := spec.Read(spec.Request{Path: path})
		if got := strings.Join(texts(ds), "\n"); got != want {
			t.Errorf("%q: %s, want %s", path, got, want)
		}
	}
}

func texts(ds engine.Diagnostics) []string {
	var all []string
	for _, d := range ds {
		all = append(all, d.String())
	}
	return all
}

func TestReadGathersAFolder(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{
		"f/b.hcl": "locals {}", "f/a.hcl": "flow \"x\" {}", "f/x.vars.hcl": "a = 1", "f/.c.hcl": "", "f/d.hcl.bak": "",
		"f/flowctl.auto.vars.hcl": "a = 2", "f/sub/e.hcl": "",
	} {
		write(t, name, text)
	}
	b, ds := spec.Read(spec.Request{
		Path: "f", VarFiles: []string{"f/../f/x.vars.hcl"}, Vars: []string{"a=3", "b=x=y"},
		Environ: []string{"HOME=/", "FLOWCTL_VAR_b=2", "FLOWCTL_VAR_a=1=1", "FLOWCTL_VAR_"},
	})
	if ds.HasErrors() {
		t.Fatal(ds.Err())
	}
	names := func(files []spec.File) (all []string) {
		for _, f := range files {
			all = append(all, f.Name)
		}
		return all
	}
	if got := names(b.Files); !slices.Equal(got, []string{"f/a.hcl", "f/b.hcl"}) {
		t.Errorf("files %v", got)
	}
	if got := names(b.VarFiles); !slices.Equal(got, []string{"f/flowctl.auto.vars.hcl", "f/x.vars.hcl"}) {
		t.Errorf("variable files %v", got)
	}
	if got, want := b.Dir, filepath.Join(dir, "f"); got != want {
		t.Errorf("dir %s, want %s", got, want)
	}
	wantEnv := []spec.Assignment{{Name: "a", Value: "1=1", From: "environment variable FLOWCTL_VAR_a"}, {Name: "b", Value: "2", From: "environment variable FLOWCTL_VAR_b"}}
	if !slices.Equal(b.Env, wantEnv) {
		t.Errorf("environment %v", b.Env)
	}
	wantArgs := []spec.Assignment{{Name: "a", Value: "3", From: "-var a"}, {Name: "b", Value: "x=y", From: "-var b"}}
	if !slices.Equal(b.Args, wantArgs) {
		t.Errorf("options %v", b.Args)
	}
	if got := spec.FlowName(b); got != "x" {
		t.Errorf("flow %q", got)
	}
}

// TestSavedBundleLoadsTheSame loads a bundle, saves it, changes all files that it
// was made of, and loads it again.
func TestSavedBundleLoadsTheSame(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "main.hcl", `
flow "x" {}
variable "a" { type = string }
output "o" { value = [var.a, file("note.txt"), templatefile("t.tmpl", { x = var.a })] }
`)
	write(t, "flowctl.auto.vars.hcl", `a = "first"`)
	write(t, "note.txt", "first")
	write(t, "t.tmpl", "first ${x}")
	b, ds := spec.Read(spec.Request{})
	if ds.HasErrors() {
		t.Fatal(ds.Err())
	}
	first := output(t, b)
	saved, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	digest := b.Digest()
	for _, name := range []string{"main.hcl", "flowctl.auto.vars.hcl", "note.txt", "t.tmpl"} {
		write(t, name, "changed")
	}
	var again spec.Bundle
	if err := json.Unmarshal(saved, &again); err != nil {
		t.Fatal(err)
	}
	if got := output(t, again); got != first {
		t.Errorf("%s, want %s", got, first)
	}
	if again.Digest() != digest {
		t.Error("the digest changed")
	}
	if fresh, _ := spec.Read(spec.Request{}); fresh.Digest() == digest {
		t.Error("the digest did not change with the files")
	}
}

func output(t *testing.T, b spec.Bundle) string {
	t.Helper()
	d, ds := spec.Load(b, options())
	if ds.HasErrors() {
		t.Fatal(ds.Err())
	}
	v, _ := d.Outputs[0].Config.Eval(world{})
	return render(v)
}

// TestEvalIsConcurrent evaluates everything in several goroutines at once.
func TestEvalIsConcurrent(t *testing.T) {
	d := mustLoad(t, `
flow "x" {}
locals { ids = [for k, g in vm.node : g[0].id] }
vm "node" {
  for_each = toset(["a", "b", "c"])
  cpus     = 1
  memory   = "1GiB"
  labels   = { key = each.key }
}
function "f" {
  on   = vm.node
  exec = local.ids
  env  = { A = vm.node["a"][0].id }
  health { http = "/x" }
}
output "o" { value = [local.ids, function.f[0].url] }
`)
	want := facts(d, world{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if got := facts(d, world{}); got != want {
					t.Errorf("%s, want %s", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestSensitiveOutputIsRefusedWhenKnown covers values that turn out to be
// sensitive only when the resource that they come from is planned.
func TestSensitiveOutputIsRefusedWhenKnown(t *testing.T) {
	d := mustLoad(t, "flow \"x\" {}\nnetwork \"n\" {}\noutput \"o\" { value = \"a${network.n.id}\" }\n")
	if _, ds := d.Outputs[0].Config.Eval(world{}); ds.HasErrors() {
		t.Error(ds.Err())
	}
	w := world{engine.Addr(engine.KindNetwork, "n"): cty.ObjectVal(map[string]cty.Value{"id": cty.StringVal("s3cret").Mark(engine.Sensitive)})}
	v, ds := d.Outputs[0].Config.Eval(w)
	if !ds.HasErrors() || ds[0].Summary != "Sensitive output" || strings.Contains(ds[0].Detail, "s3cret") || v.IsKnown() {
		t.Errorf("%#v %v", v, ds)
	}
}

// TestEvalReportsWhatOnlyTheWorldTells covers values that do not fit once they
// are known.
func TestEvalReportsWhatOnlyTheWorldTells(t *testing.T) {
	d := mustLoad(t, `
flow "x" {}
network "n" {}
locals { number = tonumber(network.n.id) }
vm "node" {
  cpus   = 1
  memory = "1GiB"
}
function "f" {
  on       = vm.node
  port     = network.n.id
  drain    = network.n.cidr
  env      = { A = local.number }
}
`)
	made := func(id, cidr string) world {
		return world{engine.Addr(engine.KindNetwork, "n"): cty.ObjectVal(map[string]cty.Value{"id": cty.StringVal(id), "cidr": cty.StringVal(cidr)})}
	}
	f := d.Decls[slices.IndexFunc(d.Decls, func(d engine.Decl) bool { return d.Address.Kind == engine.KindFunction })]
	if v, ds := f.Config.Eval(made("80", "5s")); ds.HasErrors() || !v.IsWhollyKnown() {
		t.Errorf("%#v %v", v, ds)
	}
	_, ds := f.Config.Eval(made("x", "y"))
	want := []string{
		`main.hcl:11: error: Wrong type; "port" expects a whole number, but this is "x".`,
		`main.hcl:12: error: Invalid value; "drain": "y" is not a duration: write a number with a unit, such as "500ms", "30s" or "2m".`,
		`main.hcl:4: error: Invalid function argument; Invalid value for "v" parameter: cannot convert "x" to number; given string must be a decimal representation of a number.`,
	}
	got := texts(ds)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("findings:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestNullFromTheWorldIsTheDefault covers attributes that refer to something
// that turns out to be null.
func TestNullFromTheWorldIsTheDefault(t *testing.T) {
	d := mustLoad(t, "flow \"x\" {}\nnetwork \"n\" {}\nnetwork \"m\" {\n  mode = network.n.cidr\n}\n")
	v, ds := d.Decls[1].Config.Eval(nothing{})
	if ds.HasErrors() || v.GetAttr("mode").AsString() != "nat" {
		t.Errorf("%#v %v", v, ds)
	}
}

func TestFormat(t *testing.T) {
	for before, want := range map[string]string{
		"":                                    "",
		"a  =   1":                            "a = 1",
		"vm \"x\" {\ncpus=2\n}":               "vm \"x\" {\n  cpus = 2\n}",
		"a {\r\n  b = 1\r\n}\r\n":             "a {\r\n  b = 1\r\n}\r\n",
		"# note\na = 1 # why\nlong = 2 # b\n": "# note\na    = 1 # why\nlong = 2 # b\n",
		"\xef\xbb\xbfa=1\n":                   "a = 1\n",
		"a = <<EOT\n  x\n  y=1\nEOT\n":        "a = <<EOT\n  x\n  y=1\nEOT\n",
		"a = \"${ x }\"\n":                    "a = \"${x}\"\n",
	} {
		got, ds := spec.Format(spec.File{Name: "a.hcl", Bytes: []byte(before)})
		if ds.HasErrors() || string(got) != want {
			t.Errorf("%q becomes %q, want %q (%v)", before, got, want, ds)
		}
	}
	if _, ds := spec.Format(spec.File{Name: "a.hcl", Bytes: []byte("a = ")}); !ds.HasErrors() || ds[0].Source.Filename != "a.hcl" {
		t.Errorf("findings %v", ds)
	}
}
