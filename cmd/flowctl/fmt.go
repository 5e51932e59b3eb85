package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"

	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/spec"
	"github.com/spf13/cobra"
)

func (a *app) fmtCommand() *cobra.Command {
	var check, diff, recursive bool
	c := &cobra.Command{
		Use: "fmt [PATH ... | -]", Short: "Put specs into the canonical layout",
		Long: "Rewrites *.hcl files in the canonical layout and lists those that changed. With -, it\nreads from standard input and writes to standard output.",
		RunE: func(_ *cobra.Command, argv []string) error {
			if len(argv) == 1 && argv[0] == "-" {
				return a.formatStdin(check)
			}
			if len(argv) == 0 {
				argv = []string{"."}
			}
			files, err := sourceFiles(argv, recursive)
			if err != nil {
				return err
			}
			return a.format(files, check, diff)
		},
	}
	c.Flags().BoolVar(&check, "check", false, "change nothing; exit with 3 if something would change")
	c.Flags().BoolVar(&diff, "diff", false, "show what changes")
	c.Flags().BoolVar(&recursive, "recursive", false, "folders within folders, too")
	return c
}

// sourceFiles lists the files that paths name.
func sourceFiles(paths []string, recursive bool) ([]string, error) {
	var files []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, p)
			continue
		}
		err = filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && path != p && (!recursive || strings.HasPrefix(d.Name(), ".")):
				return fs.SkipDir
			case !d.IsDir() && strings.HasSuffix(d.Name(), ".hcl"):
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

func (a *app) formatStdin(check bool) error {
	text, err := io.ReadAll(a.in)
	if err != nil {
		return err
	}
	out, diags := spec.Format(spec.File{Name: "<stdin>", Bytes: text})
	if diags.HasErrors() {
		fmt.Fprint(a.err, view.Diagnostics(diags, view.NewSources(map[string][]byte{"<stdin>": text}), a.errStyle()))
		return shown(exitInvalid)
	}
	if check {
		if !bytes.Equal(out, text) {
			return shown(exitInvalid)
		}
		return nil
	}
	_, err = a.out.Write(out)
	return err
}

func (a *app) format(files []string, check, diff bool) error {
	changed, invalid := 0, false
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		out, diags := spec.Format(spec.File{Name: f, Bytes: text})
		if diags.HasErrors() {
			fmt.Fprint(a.err, view.Diagnostics(diags, view.NewSources(map[string][]byte{f: text}), a.errStyle()))
			invalid = true
			continue
		}
		if bytes.Equal(out, text) {
			continue
		}
		changed++
		fmt.Fprintln(a.out, f)
		if diff {
			a.diff(f, out)
		}
		if !check {
			if err := replaceFile(f, out); err != nil {
				return err
			}
		}
	}
	if invalid || check && changed > 0 {
		return shown(exitInvalid)
	}
	return nil
}

// replaceFile writes a file anew, whole or not at all, with its old mode.
func replaceFile(path string, content []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".flowctl-fmt-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(content); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Chmod(tmp.Name(), info.Mode()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// diff shows a difference with the system's diff, as Terraform does.
func (a *app) diff(path string, content []byte) {
	cmd := osexec.Command("diff", "-u", "--label", path, "--label", path+" (formatted)", path, "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(content), a.out, a.err
	cmd.Run() // its status is 1 for a difference
}
