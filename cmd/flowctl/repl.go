package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/spec"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const consoleHelp = `With the address of a machine, connects to its serial console; ^] ends that. What is piped
in is typed there, and what comes back is shown until nothing has come for two seconds.

  flowctl console vm.node[0]
  echo uptime | flowctl console vm.node[0]

Without one, evaluates expressions of the language, one per line, with the flow's variables, locals,
functions, and resources as the state knows them. What has not been made yet is shown as
(known after apply). Nothing is changed. "exit" or ^D ends it.

  echo 'function.web[*].address' | flowctl console -spec=examples/two-tier.hcl`

func (a *app) consoleCommand() *cobra.Command {
	var f args.Flow
	c := &cobra.Command{
		Use: "console [MACHINE]", Short: "Use a machine's console, or try expressions", Args: cobra.MaximumNArgs(1), Long: consoleHelp,
		ValidArgsFunction: a.completeAddresses(engine.KindVM),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if len(argv) > 0 {
				return a.withState(cmd, f, func(s *session) error { return s.connect(cmd.Context(), argv[0]) })
			}
			s, err := a.readSpec(f, false)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.open(cmd.Context(), false); err != nil {
				return err
			}
			if a.inTTY && a.outTTY {
				return s.converse(cmd.Context())
			}
			return s.evaluateAll(cmd.Context(), bufio.NewScanner(a.in))
		},
	}
	specFlag(c, &f.Path)
	f.Register(c.Flags(), true)
	return c
}

// evaluateAll prints the value of each line; a line that has none ends it.
func (s *session) evaluateAll(ctx context.Context, lines *bufio.Scanner) error {
	for lines.Scan() {
		text, err := s.evaluate(ctx, lines.Text())
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case text != "":
			fmt.Fprintln(s.app.out, text)
		}
	}
	return lines.Err()
}

// converse does the same on a terminal, with line editing and a history, and goes
// on after faults.
func (s *session) converse(ctx context.Context) error {
	fd := int(os.Stdin.Fd())
	was, err := term.MakeRaw(fd)
	if err != nil {
		return err
	}
	defer term.Restore(fd, was)
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{s.app.in, s.app.out}, "> ")
	screen := *s.app // in raw mode, only the terminal ends lines rightly
	screen.out, screen.err = t, t
	s.app = &screen
	for {
		line, err := t.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		text, err := s.evaluate(ctx, line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && err.Error() != "":
			fmt.Fprintln(t, err)
		case text != "":
			fmt.Fprintln(t, text)
		}
	}
}

// consoleOutput is the output that an expression becomes. Its name is one that
// no output of a spec has.
const consoleOutput = "flowctl-console"

// evaluate returns the value of an expression as text. Its error is io.EOF for
// the word that ends a console; findings about the expression are shown here.
func (s *session) evaluate(ctx context.Context, line string) (string, error) {
	line = strings.TrimSpace(line)
	switch {
	case line == "exit":
		return "", io.EOF
	case line == "" || strings.HasPrefix(line, "#"):
		return "", nil
	}
	b := s.bundle
	b.Files = append(slices.Clone(b.Files), spec.File{
		Name: "console", Bytes: fmt.Appendf(nil, "output %q {\n  sensitive = true\n  value     = %s\n}\n", consoleOutput, line),
	})
	desired, diags := spec.Load(b, specOptions())
	s.sources = view.NewSources(b.Sources())
	at := slices.IndexFunc(desired.Outputs, func(o engine.OutputDecl) bool { return o.Name == consoleOutput })
	if diags.HasErrors() || at < 0 {
		fmt.Fprint(s.app.err, view.Diagnostics(diags, s.sources, s.app.errStyle()))
		return "", shown(exitError)
	}
	p, _, err := s.flow.Plan(ctx, runtime.Request{Desired: desired, NoRefresh: true})
	if err != nil {
		return "", err
	}
	v, diags := desired.Outputs[at].Config.Eval(s.flow.Values(p))
	if diags.HasErrors() {
		fmt.Fprint(s.app.err, view.Diagnostics(diags, s.sources, s.app.errStyle()))
		return "", shown(exitError)
	}
	return view.Value(v), nil
}
