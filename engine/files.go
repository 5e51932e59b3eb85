package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// Reload is what makes changed files take effect in a replica that runs.
type Reload struct {
	Restart bool // which makes the rest needless
	Signals []string
	Execs   [][]string
}

// String says it as an operator reads it: "restart", "SIGHUP, nginx -s reload", or
// "" if nothing is to be done.
func (r Reload) String() string {
	if r.Restart {
		return "restart"
	}
	parts := slices.Clone(r.Signals)
	for _, argv := range r.Execs {
		parts = append(parts, strings.Join(argv, " "))
	}
	return strings.Join(parts, ", ")
}

// ReloadOf compares the files of a replica with those that it is to have: what is
// to be done when the new ones are in, and whether that is possible without a new
// replica at all.
func ReloadOf(was, want []File) (r Reload, possible bool) {
	for _, f := range was {
		if !slices.ContainsFunc(want, func(w File) bool { return w.Path == f.Path }) {
			return r, false
		}
	}
	for _, f := range ChangedFiles(was, want) {
		switch f.OnChange {
		case "restart":
			r.Restart = true
		case "signal":
			if !slices.Contains(r.Signals, f.Signal) {
				r.Signals = append(r.Signals, f.Signal)
			}
		case "exec":
			if !slices.ContainsFunc(r.Execs, func(argv []string) bool { return slices.Equal(argv, f.Exec) }) {
				r.Execs = append(r.Execs, f.Exec)
			}
		case "none":
		default:
			return r, false
		}
	}
	return r, true
}

// ChangedFiles returns those files that are new or other than they were.
func ChangedFiles(was, want []File) []File {
	var changed []File
	for _, f := range want {
		i := slices.IndexFunc(was, func(w File) bool { return w.Path == f.Path })
		if i < 0 || was[i].Content != f.Content || was[i].Mode != f.Mode {
			changed = append(changed, f)
		}
	}
	return changed
}

// FileMode reads the permissions of a file: octal digits; "" is 0644.
func FileMode(mode string) (int64, error) {
	if mode == "" {
		return 0o644, nil
	}
	n, err := strconv.ParseInt(mode, 8, 64)
	if err != nil || n < 0 || n > 0o7777 {
		return 0, fmt.Errorf("mode %q is none: write octal digits, such as \"0600\"", mode)
	}
	return n, nil
}

// CheckFiles finds files of a function that nobody could put anywhere.
func CheckFiles(a Address, files []File) Diagnostics {
	var diags Diagnostics
	fault := func(summary, format string, args ...any) {
		diags = append(diags, Diagnostic{Summary: summary, Address: a, Detail: fmt.Sprintf(format, args...)})
	}
	for _, f := range files {
		if f.Path != "" && !strings.HasPrefix(f.Path, "/") {
			fault("File without an absolute path", "%s has a file %q. Write where it is in the container, beginning with a slash.", a.Group(), f.Path)
		}
		if _, err := FileMode(f.Mode); err != nil {
			fault("Invalid file mode", "%s has a file %s, whose %s.", a.Group(), f.Path, err)
		}
	}
	return diags
}

// FilesInPlace takes the files of a replica off the reasons for a new one, if they
// say how they can change without. It is for providers that can put them there.
func FilesInPlace(p Proposal) Proposal {
	if p.Prior == nil || !slices.Contains(p.ReplacePaths, "file") {
		return p
	}
	if _, possible := PlannedReload(p.Prior.Value, p.Want); possible {
		p.ReplacePaths = slices.DeleteFunc(slices.Clone(p.ReplacePaths), func(name string) bool { return name == "file" })
	}
	return p
}

// PlannedReload is ReloadOf of two values of a replica. A content that is not
// known yet counts as changed.
func PlannedReload(was, want cty.Value) (Reload, bool) {
	files := MustDecode[Replica](want).Files
	list := want.GetAttr("file")
	for i := range files {
		if !list.Index(cty.NumberIntVal(int64(i))).GetAttr("content").IsKnown() {
			files[i].Content = "\x00" // which no file of a container has
		}
	}
	return ReloadOf(MustDecode[Replica](was).Files, files)
}
