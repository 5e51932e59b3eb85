package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
)

// AutoVars is the variable file that is read without being named, beside the
// spec.
const AutoVars = "flowctl.auto.vars.hcl"

// varFileSuffix marks files that hold variables, not blocks.
const varFileSuffix = ".vars.hcl"

// EnvPrefix starts the names of environment variables that set variables.
const EnvPrefix = "FLOWCTL_VAR_"

// File is one source file.
type File struct {
	Name  string `json:"name"` // as shown to the operator
	Bytes []byte `json:"bytes"`
}

// Assignment sets a variable from outside the files.
type Assignment struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"` // "-var x", "environment variable FLOWCTL_VAR_x"
}

// Bundle is everything that a flow is made of.
type Bundle struct {
	Path     string       `json:"path"` // the file or folder, as given
	Dir      string       `json:"dir"`  // its folder, absolute
	Files    []File       `json:"files"`
	VarFiles []File       `json:"var_files"` // later ones win
	Env      []Assignment `json:"env"`       // weaker than all files
	Args     []Assignment `json:"args"`      // stronger than all files
	Assets   *Assets      `json:"assets"`    // what functions have read; Load adds to it
}

// Request says what Read reads.
type Request struct {
	Path     string   // a file, or a folder whose *.hcl files make the flow; "" is "."
	VarFiles []string // -var-file, in order
	Vars     []string // -var, each "name=value", in order
	Environ  []string // as of os.Environ
}

// Read gathers the files of a flow.
func Read(r Request) (Bundle, engine.Diagnostics) {
	if r.Path == "" {
		r.Path = "."
	}
	b := Bundle{Path: r.Path, Assets: &Assets{}}
	paths, dir, diags := sources(r.Path)
	if diags.HasErrors() {
		return b, diags
	}
	b.Dir = dir
	b.Files, diags = readAll(diags, paths)
	vars := r.VarFiles
	if auto := filepath.Join(filepath.Dir(paths[0]), AutoVars); isFile(auto) {
		vars = append([]string{auto}, vars...)
	}
	b.VarFiles, diags = readAll(diags, vars)
	for _, e := range r.Environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, EnvPrefix) {
			b.Env = append(b.Env, Assignment{strings.TrimPrefix(name, EnvPrefix), value, "environment variable " + name})
		}
	}
	slices.SortFunc(b.Env, func(x, y Assignment) int { return strings.Compare(x.Name, y.Name) })
	for _, v := range r.Vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			diags = append(diags, engine.Diagnostic{
				Summary: "Invalid -var option",
				Detail:  fmt.Sprintf("The option -var %q sets no variable. Write -var 'name=value'.", v),
			})
			continue
		}
		b.Args = append(b.Args, Assignment{name, value, "-var " + name})
	}
	return b, diags
}

// sources lists the files that make up the flow at path, sorted, and its folder.
func sources(path string) (files []string, dir string, diags engine.Diagnostics) {
	fail := func(summary, detail string) ([]string, string, engine.Diagnostics) {
		return nil, "", engine.Diagnostics{{Summary: summary, Detail: detail}}
	}
	info, err := os.Stat(path)
	if err != nil {
		return fail("Spec not found", fmt.Sprintf("Cannot read %s: %v. Name a spec file, or a folder with *.hcl files.", path, cause(err)))
	}
	if strings.HasSuffix(path, varFileSuffix) && !info.IsDir() {
		return fail("Not a spec", fmt.Sprintf("%s is a variable file, as its name says. Name a spec, and this file with -var-file.", path))
	}
	if !info.IsDir() {
		dir, err = filepath.Abs(filepath.Dir(path))
		if err != nil {
			return fail("Spec not found", err.Error())
		}
		return []string{path}, dir, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fail("Spec not found", fmt.Sprintf("Cannot list %s: %v.", path, cause(err)))
	}
	for _, e := range entries {
		if !e.IsDir() && IsSpecFile(e.Name()) {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return fail("No spec here", fmt.Sprintf("The folder %s has no *.hcl files. Name a spec file, such as examples/two-tier.hcl, or change to its folder.", path))
	}
	dir, err = filepath.Abs(path)
	if err != nil {
		return fail("Spec not found", err.Error())
	}
	return files, dir, nil
}

// IsSpecFile reports whether a file of that name in a folder is part of the
// folder's flow.
func IsSpecFile(name string) bool {
	return strings.HasSuffix(name, ".hcl") && !strings.HasSuffix(name, varFileSuffix) && !strings.HasPrefix(name, ".")
}

func readAll(diags engine.Diagnostics, paths []string) ([]File, engine.Diagnostics) {
	var files []File
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			diags = append(diags, engine.Diagnostic{
				Summary: "File not readable",
				Detail:  fmt.Sprintf("Cannot read %s: %v.", p, cause(err)),
			})
			continue
		}
		files = append(files, File{filepath.Clean(p), text})
	}
	return files, diags
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// cause drops the "open path:" that the os package puts before an error.
func cause(err error) error {
	if e, ok := err.(*os.PathError); ok {
		return e.Err
	}
	return err
}

// Digest identifies the bundle's content: the same digest, the same flow.
func (b Bundle) Digest() string {
	text, err := json.Marshal(b)
	if err != nil {
		panic("bug: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Sources returns the text of all files by name, for showing excerpts.
func (b Bundle) Sources() map[string][]byte {
	all := map[string][]byte{}
	for _, f := range append(slices.Clone(b.Files), b.VarFiles...) {
		all[f.Name] = f.Bytes
	}
	return all
}
