package spec

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/flowctl/flowctl/engine"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
)

// Assets keeps what the functions file, templatefile and their like have read,
// so that a saved plan finds the same again. It is safe for concurrent use, and
// its zero value is empty.
type Assets struct {
	mu    sync.Mutex
	files map[string][]byte // by absolute path
}

// maxAsset is the most that a function reads.
const maxAsset = 16 << 20

// read returns the content of a file, which it reads once.
func (a *Assets) read(path string) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b, ok := a.files[path]; ok {
		return b, nil
	}
	b, err := readAsset(path)
	if err != nil {
		return nil, err
	}
	if a.files == nil {
		a.files = map[string][]byte{}
	}
	a.files[path] = b
	return b, nil
}

func readAsset(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("it is no regular file")
	case info.Size() > maxAsset:
		return nil, fmt.Errorf("it is larger than %d MiB", maxAsset>>20)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxAsset))
}

// MarshalJSON implements json.Marshaler.
func (a *Assets) MarshalJSON() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return json.Marshal(a.files)
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Assets) UnmarshalJSON(b []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return json.Unmarshal(b, &a.files)
}

func asText(b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", fmt.Errorf("it is not UTF-8 text; use filebase64 or filesha256")
	}
	return string(b), nil
}

// asset reads a file; a relative path starts at the spec's folder.
func (l *loader) asset(path string) ([]byte, error) {
	where, from := path, ""
	if !filepath.IsAbs(path) {
		where, from = filepath.Join(l.bundle.Dir, path), " in the spec's folder"
	}
	b, err := l.bundle.Assets.read(filepath.Clean(where))
	if err != nil {
		return nil, fmt.Errorf("cannot read %q%s: %w", path, from, cause(err))
	}
	return b, nil
}

// fileFunc makes a function of a file's content.
func (l *loader) fileFunc(f func([]byte) (string, error)) function.Function {
	return stringFunc("path", func(path string) (string, error) {
		b, err := l.asset(path)
		if err != nil {
			return "", err
		}
		return f(b)
	})
}

// templateFunc makes templatefile: a file's content with ${…} and %{…} filled in.
func (l *loader) templateFunc(functions map[string]function.Function) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "vars", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
			vars := args[1].Type()
			if !vars.IsObjectType() && !vars.IsMapType() {
				return cty.UnknownVal(t), function.NewArgErrorf(1, "an object is needed, such as { name = \"value\" }")
			}
			b, err := l.asset(args[0].AsString())
			if err != nil {
				return cty.UnknownVal(t), function.NewArgError(0, err)
			}
			text, err := asText(b)
			if err != nil {
				return cty.UnknownVal(t), function.NewArgError(0, err)
			}
			return renderTemplate(File{args[0].AsString(), []byte(text)}, args[1].AsValueMap(), functions)
		},
	})
}

func renderTemplate(f File, vars map[string]cty.Value, functions map[string]function.Function) (cty.Value, error) {
	fail := func(err error) (cty.Value, error) { return cty.UnknownVal(cty.String), function.NewArgError(0, err) }
	if deep := tooDeepTemplate(f); deep != nil {
		return fail(fmt.Errorf("%s", deep.Detail))
	}
	expr, ds := hclsyntax.ParseTemplate(f.Bytes, f.Name, hcl.InitialPos)
	if ds.HasErrors() {
		return fail(templateError(syntaxDiags(ds, f.Bytes)))
	}
	for _, t := range expr.Variables() {
		if _, ok := vars[t.RootName()]; !ok {
			return fail(fmt.Errorf("%s: the template needs %q, which vars does not have.%s", place(t.SourceRange()), t.RootName(), didYouMean(t.RootName(), slices.Sorted(maps.Keys(vars)), "")))
		}
	}
	v, ds := evaluate(expr, &hcl.EvalContext{Variables: vars, Functions: functions})
	if ds.HasErrors() {
		return fail(templateError(convertDiags(ds)))
	}
	v, err := convert.Convert(v, cty.String)
	if err != nil {
		return fail(fmt.Errorf("%s does not make text: %w", f.Name, err))
	}
	if v.IsNull() {
		return fail(fmt.Errorf("%s makes null, not text", f.Name))
	}
	return v, nil
}

func templateError(ds engine.Diagnostics) error {
	d := ds[0]
	where := ""
	if d.Source != nil {
		where = d.Source.String() + ": "
	}
	return fmt.Errorf("%s%s: %s", where, strings.ToLower(d.Summary), d.Detail)
}
