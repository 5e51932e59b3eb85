package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/spec"
	"github.com/flowctl/flowctl/state"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The exit statuses; docs and 'flowctl help exit-codes' explain them.
const (
	exitDone        = 0
	exitError       = 1
	exitChanges     = 2
	exitInvalid     = 3
	exitLocked      = 4
	exitIncomplete  = 5
	exitUsage       = 64
	exitInterrupted = 130
)

// app is one invocation of flowctl.
type app struct {
	in                    io.Reader
	out, err              io.Writer
	inTTY, outTTY, errTTY bool
	environ               []string
	now                   func() time.Time
	exe                   string // this program, to start parts of it in the background

	// Seams for tests that need faults: they decorate what touches the world.
	wrapProvider func(name string, p providers.Provider) providers.Provider
	wrapJournal  func(exec.Journal) exec.Journal
	wrapStore    func(runtime.Store) runtime.Store

	colour string
	intr   *interrupts
}

// failure is an error that knows its exit status. A silent one has been shown.
type failure struct {
	code   int
	err    error
	silent bool
}

func (f *failure) Error() string {
	if f.err == nil {
		return ""
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// shown ends with a status after everything has been said.
func shown(code int) error { return &failure{code: code, silent: true} }

func (a *app) getenv(name string) string {
	for _, e := range slices.Backward(a.environ) {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// styles for the two streams.
func (a *app) outStyle() view.Style { return view.Wants(a.colour, a.outTTY, a.getenv) }
func (a *app) errStyle() view.Style { return view.Wants(a.colour, a.errTTY, a.getenv) }

// run executes one command line and returns its exit status.
func (a *app) run(argv []string) int {
	a.intr = newInterrupts()
	defer a.intr.stop()
	// Who reads our output may go away (| head); a run goes on all the same. Not
	// Ignore: the programs that we start would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	out := &stream{Writer: a.out}
	a.out = out
	root := a.root()
	root.SetArgs(args.Normalise(argv, knownFlag(root)))
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(a.intr.soft)
	if lost := out.lost(); err == nil && lost != nil {
		err = fmt.Errorf("write the output: %w", lost)
	}
	if err == nil {
		return exitDone
	}
	return a.explain(cmd, err)
}

// explain shows an error and returns the exit status that it stands for.
func (a *app) explain(cmd *cobra.Command, err error) int {
	var f *failure
	var usage *args.UsageError
	var locked *state.LockedError
	code := exitError
	hint := ""
	if word := straySpec(cmd); word != "" {
		hint = fmt.Sprintf("%s is a spec, and the arguments of this command are something else. Write -spec=%s.", word, word)
	}
	switch {
	case errors.As(err, &f):
		if f.silent {
			if hint != "" {
				fmt.Fprintf(a.err, "\n%s\n", hint)
			}
			return f.code
		}
		code = f.code
	case errors.As(err, &locked):
		code = exitLocked
		hint = "Wait for it with -lock-timeout=1m, or, if that process is stuck, end it and run again. " +
			"A lock whose process is dead is taken over by itself; 'flowctl state unlock' frees one on a machine that is gone."
	case errors.As(err, &usage), isUsage(err):
		code, err = exitUsage, miscounted(cmd, err)
		if hint == "" {
			hint = fmt.Sprintf("See '%s -help'.", cmd.CommandPath())
		}
	case errors.Is(err, context.Canceled):
		code, err = exitError, errors.New("interrupted")
	}
	s := a.errStyle()
	fmt.Fprintf(a.err, "%s %s\n", s.Bad("Error:"), err)
	if hint != "" {
		fmt.Fprintf(a.err, "\n%s\n", hint)
	}
	return code
}

// straySpec returns the argument that is a spec file although the command takes
// its spec by a flag, or "".
func straySpec(cmd *cobra.Command) string {
	if f := cmd.Flags().Lookup("spec"); f == nil || f.Changed {
		return ""
	}
	words := cmd.Flags().Args()
	if n := cmd.Flags().ArgsLenAtDash(); n >= 0 {
		words = words[:n]
	}
	for _, w := range words {
		if info, err := os.Stat(w); err == nil && info.Mode().IsRegular() && filepath.Ext(w) == ".hcl" {
			return w
		}
	}
	return ""
}

// miscounted says which arguments a command takes, in place of cobra's words about how
// many there are.
func miscounted(cmd *cobra.Command, err error) error {
	if !strings.Contains(err.Error(), " arg(s)") {
		return err
	}
	what := "these arguments do not fit"
	if cmd.Flags().NArg() == 0 {
		what = "an argument is missing"
	}
	form := strings.TrimSuffix(cmd.UseLine(), " [flags]")
	return fmt.Errorf("%s: write '%s'", what, form)
}

// isUsage recognises the errors of cobra and pflag, which have no types.
func isUsage(err error) bool {
	text := err.Error()
	for _, p := range []string{"unknown command", "unknown flag", "unknown shorthand", "flag needs an argument", "invalid argument", "accepts ", "requires at least", "bad flag syntax"} {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	return false
}

// knownFlag reports whether a word is a long flag of any command: which command
// is meant is not known before the flags are.
func knownFlag(root *cobra.Command) func(string) bool {
	names := map[string]bool{"help": true}
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		for _, fs := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
			fs.VisitAll(func(f *pflag.Flag) { names[f.Name] = true })
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
	return func(name string) bool { return names[name] }
}

const rootHelp = `flowctl declares machines, functions, load-balancer frontends and scaling rules
in one spec, plans what must change, and changes it: in parallel, journalled, and
again whenever the world drifts.

  flowctl plan  examples/two-tier.hcl      show what would change
  flowctl apply examples/two-tier.hcl      change it
  flowctl graph examples/two-tier.hcl | dot -Tsvg > plan.svg
  flowctl status examples/two-tier.hcl     what runs, and how
  flowctl destroy examples/two-tier.hcl    leave nothing behind
  flowctl simulate -shape=spike examples/two-tier.hcl    try its scaling rules on a load

A flow is one file, or a folder of *.hcl files (the current one if none is named).
Flags may be written with one dash or two.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "flowctl", Short: "A declarative workflow engine", Long: rootHelp,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.PersistentFlags().StringVar(&a.colour, "color", "auto", "colours: auto, always or never (NO_COLOR, CLICOLOR_FORCE)")
	root.PersistentFlags().BoolFunc("no-color", "the same as -color=never", func(string) error { a.colour = "never"; return nil })
	root.AddGroup(&cobra.Group{ID: "main", Title: "Main commands:"}, &cobra.Group{ID: "look", Title: "To look at what is there:"}, &cobra.Group{ID: "more", Title: "More:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("main", a.validateCommand(), a.planCommand(), a.applyCommand(), a.scaleCommand(), a.rollbackCommand(), a.serveCommand(), a.destroyCommand())
	add("more", a.suspendCommand(), a.resumeCommand(), a.restartCommand(), a.snapshotCommand())
	add("look", a.statusCommand(), a.topCommand(), a.outputCommand(), a.graphCommand(), a.logsCommand(), a.execCommand(), a.cpCommand(), a.runsCommand(), a.historyCommand(), a.showCommand(), a.decisionsCommand(), a.explainCommand())
	add("more", a.fmtCommand(), a.diskCommand(), a.stateCommand(), a.consoleCommand(), a.loadCommand(), a.recordCommand(), a.simulateCommand(), a.versionCommand())
	root.AddCommand(a.machineAgentCommand(), a.frontendAgentCommand(), exitCodesTopic())
	root.SetHelpCommandGroupID("more")
	root.SetCompletionCommandGroupID("more")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return args.Usage(err) })
	return root
}

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit statuses mean", Long: `Exit statuses:

    0  done, or nothing to do
    1  error
    2  there are changes (only plan -detailed-exitcode)
    3  the spec is invalid
    4  somebody else holds the lock
    5  the apply is incomplete; what was done is recorded, apply again to go on
   64  the command was called in a wrong way
  130  interrupted twice`}
}

// readSpec reads and checks a spec, and shows what is wrong with it. With
// errors, it returns the status for invalid specs.
func (a *app) readSpec(f args.Flow, asJSON bool) (*session, error) {
	s := &session{app: a, args: f}
	return s, s.load(specOptions(), asJSON)
}

// load reads and checks the session's spec, and shows what is found if that is
// wrong.
func (s *session) load(opts spec.Options, asJSON bool) error {
	a, f := s.app, s.args
	paceCollector()
	s.bundle, s.diags = spec.Read(spec.Request{Path: f.Path, VarFiles: f.VarFiles, Vars: f.Vars, Environ: a.environ})
	if !s.diags.HasErrors() {
		desired, diags := spec.Load(s.bundle, opts)
		s.desired, s.diags = desired, append(s.diags, diags...)
	}
	s.sources = view.NewSources(s.bundle.Sources())
	if s.diags.HasErrors() {
		if asJSON {
			a.writeJSON(view.Validate(s.diags, s.sources))
		} else {
			fmt.Fprint(a.err, view.Diagnostics(s.diags, s.sources, a.errStyle()))
		}
		return shown(exitInvalid)
	}
	return nil
}

// path returns the positional argument of a command that takes one at most.
func path(argv []string) string {
	if len(argv) == 0 {
		return ""
	}
	return argv[0]
}
