package spec_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/spec"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/zclconf/go-cty/cty"
)

// eachSample calls f for every spec file of the testdata.
func eachSample(tb testing.TB, f func(name string, text []byte)) {
	tb.Helper()
	archives, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(archives) == 0 {
		tb.Fatal("no archives", err)
	}
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		base := []byte(nil)
		for _, file := range a.Files {
			if !strings.Contains(file.Name, "/") {
				base = file.Data
			}
		}
		for _, file := range a.Files {
			if strings.HasSuffix(file.Name, ".hcl") {
				f(path+" "+file.Name, slices.Concat(base, file.Data))
			}
		}
	}
}

// FuzzLoad loads any text, as a spec and as a variable file, and evaluates all
// that comes of it: nothing panics, and no finding is empty or said twice.
func FuzzLoad(f *testing.F) {
	eachSample(f, func(_ string, text []byte) { f.Add(text) })
	opts := options()
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			t.Skip("small texts find more")
		}
		b := bundleOf(string(text))
		b.Dir = t.TempDir()
		b.VarFiles = []spec.File{{Name: "x.vars.hcl", Bytes: text}}
		b.Args = []spec.Assignment{{Name: "a", Value: string(text), From: "-var a"}}
		spec.FlowName(b)
		d, ds := spec.Load(b, opts)
		checkFindings(t, ds)
		checkRanges(t, ds, b)
		again, dsAgain := spec.Load(b, opts)
		if len(ds) != len(dsAgain) || len(d.Decls) != len(again.Decls) {
			t.Fatal("loading twice gives two results")
		}
		if ds.HasErrors() {
			return
		}
		checkOrder(t, d)
		for _, decl := range d.Decls {
			evaluate(t, decl.Config, engine.ValueSchema(decl.Address.Kind).Type())
		}
		for _, o := range d.Outputs {
			evaluate(t, o.Config, cty.DynamicPseudoType)
		}
	})
}

// evaluate evaluates a config with nothing known, and in a world of nulls.
func evaluate(t *testing.T, c engine.Config, want cty.Type) {
	for _, w := range []engine.Values{world{}, nothing{}} {
		v, ds := c.Eval(w)
		if want != cty.DynamicPseudoType && !v.Type().Equals(want) {
			t.Errorf("a value has type %#v, not %#v", v.Type(), want)
		}
		checkFindings(t, ds)
	}
}

// nothing is a world in which every attribute is null, and groups are empty.
type nothing struct{}

func (nothing) Value(a engine.Address) cty.Value {
	if _, one := a.Index(); a.Kind.Sized() && !one {
		return cty.EmptyTupleVal
	}
	all := map[string]cty.Value{}
	for _, attr := range engine.ValueSchema(a.Kind).Attributes {
		if !attr.Meta {
			all[attr.Name] = cty.NullVal(attr.Type)
		}
	}
	return cty.ObjectVal(all)
}

// checkRanges checks that every finding is about a stretch of a file.
func checkRanges(t *testing.T, ds engine.Diagnostics, b spec.Bundle) {
	sources := b.Sources()
	for _, d := range ds {
		if d.Source == nil {
			continue
		}
		text, ok := sources[d.Source.Filename]
		if s := d.Source; !ok || s.Start.Byte < 0 || s.Start.Byte > s.End.Byte || s.End.Byte > len(text) || s.Start.Line < 1 || s.Start.Column < 1 {
			t.Errorf("a finding is about no place in the files: %+v %+v", d, *d.Source)
		}
	}
}

// FuzzFormat formats any text: twice is the same as once, and what it means
// does not change.
func FuzzFormat(f *testing.F) {
	eachSample(f, func(_ string, text []byte) { f.Add(text) })
	f.Fuzz(func(t *testing.T, text []byte) {
		once, ds := spec.Format(spec.File{Name: "a.hcl", Bytes: text})
		if ds.HasErrors() {
			return
		}
		twice, ds := spec.Format(spec.File{Name: "a.hcl", Bytes: once})
		if ds.HasErrors() {
			t.Fatalf("what was formatted does not parse: %v\n%s", ds, once)
		}
		if !bytes.Equal(once, twice) {
			t.Fatalf("formatting twice changes something:\n%q\n%q", once, twice)
		}
		if before, after := tokens(text), tokens(once); before != after {
			t.Fatalf("formatting changes the text:\n%s\n%s", before, after)
		}
	})
}

// tokens writes a text without what layout is made of.
func tokens(text []byte) string {
	all, _ := hclsyntax.LexConfig(text, "a.hcl", hcl.InitialPos)
	var b strings.Builder
	for _, tok := range all {
		if tok.Type != hclsyntax.TokenNewline {
			b.Write(bytes.TrimRight(tok.Bytes, "\r\n"))
			b.WriteByte(' ')
		}
	}
	return b.String()
}
