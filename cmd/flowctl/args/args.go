// Package args turns what users type into what commands take. It does no I/O.
package args

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/spf13/pflag"
)

// Normalise lets long flags be written with one dash, as Terraform's users do:
// -auto-approve becomes --auto-approve, -var=x=1 becomes --var=x=1. known tells
// whether a word is a long flag of the command; what is not stays as it is, so
// that clusters of short flags such as -it still work. Everything after -- is
// left alone.
func Normalise(argv []string, known func(string) bool) []string {
	out := make([]string, 0, len(argv))
	for i, a := range argv {
		if a == "--" {
			return append(out, argv[i:]...)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(a, "-"), "=")
		if strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && len(name) > 1 && known(name) {
			a = "-" + a
		}
		out = append(out, a)
	}
	return out
}

// Flow holds the flags that say which flow is meant.
type Flow struct {
	Path     string // the positional argument: a spec file or its folder
	StateDir string
	VarFiles []string
	Vars     []string
}

// Register adds the flags.
func (f *Flow) Register(fs *pflag.FlagSet, vars bool) {
	fs.StringVar(&f.StateDir, "state", "", "folder of the state (default .flowctl beside the spec; FLOWCTL_STATE)")
	if vars {
		f.RegisterVars(fs)
	}
}

// RegisterVars adds the flags about variables.
func (f *Flow) RegisterVars(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.Vars, "var", nil, "set a variable: name=value (may be repeated)")
	fs.StringArrayVar(&f.VarFiles, "var-file", nil, "read variables from a file (may be repeated)")
}

// Plan holds the flags that shape a plan.
type Plan struct {
	Destroy     bool
	Targets     []string
	Replace     []string
	Refresh     bool
	Parallelism int
}

// Register adds the flags.
func (p *Plan) Register(fs *pflag.FlagSet, destroyFlag bool) {
	if destroyFlag {
		fs.BoolVar(&p.Destroy, "destroy", false, "plan to delete everything")
	}
	fs.StringArrayVar(&p.Targets, "target", nil, "only this address and what it needs (may be repeated)")
	fs.StringArrayVar(&p.Replace, "replace", nil, "replace this address even if nothing changed (may be repeated)")
	p.RegisterPace(fs)
}

// RegisterPace adds the flags that do not choose what is planned.
func (p *Plan) RegisterPace(fs *pflag.FlagSet) {
	fs.BoolVar(&p.Refresh, "refresh", true, "look at the world before planning")
	fs.IntVar(&p.Parallelism, "parallelism", 0, "how many tasks run at once (default 10, or the flow's own)")
}

// Words returns the flags as they would be written, without those that say
// nothing new.
func (p *Plan) Words() []string {
	var words []string
	for _, t := range p.Targets {
		words = append(words, "-target="+t)
	}
	for _, r := range p.Replace {
		words = append(words, "-replace="+r)
	}
	if !p.Refresh {
		words = append(words, "-refresh=false")
	}
	if p.Parallelism > 0 {
		words = append(words, fmt.Sprintf("-parallelism=%d", p.Parallelism))
	}
	return words
}

// Addresses parses addresses that were given to a flag or as arguments.
func Addresses(texts []string) ([]engine.Address, error) {
	var all []engine.Address
	for _, t := range texts {
		a, err := engine.ParseAddress(t)
		if err != nil {
			return nil, Usage(err)
		}
		all = append(all, a)
	}
	return all, nil
}

// SpecSize is the size in "web=spec": the one that the spec says.
const SpecSize = -1

// Size is a size ordered by hand: "web=5".
type Size struct {
	Group engine.Address
	Size  int  // or SpecSize
	Bare  bool // only the name was given
}

// Sizes parses the arguments of scale. A bare name is taken for a function's.
func Sizes(texts []string) ([]Size, error) {
	var all []Size
	seen := map[engine.Address]bool{}
	for _, t := range texts {
		at := strings.LastIndexByte(t, '=')
		if at < 1 {
			return nil, Usagef("%q is not NAME=SIZE, such as web=5 or vm.node=3", t)
		}
		name, size := t[:at], SpecSize
		if t[at+1:] != "spec" {
			n, err := strconv.Atoi(t[at+1:])
			if err != nil || n < 0 {
				return nil, Usagef("%q is no size: write a number from 0 on, or %s=spec for the size in the spec", t[at+1:], name)
			}
			size = n
		}
		bare := !strings.Contains(strings.SplitN(name, "[", 2)[0], ".")
		if bare {
			name = string(engine.KindFunction) + "." + name
		}
		a, err := engine.ParseAddress(name)
		if err != nil {
			return nil, Usage(err)
		}
		if a != a.Group() || !a.Kind.Sized() {
			return nil, Usagef("%s has no size: only whole functions and vms have one", a)
		}
		if seen[a] {
			return nil, Usagef("%s is named twice", a)
		}
		seen[a] = true
		all = append(all, Size{a, size, bare})
	}
	return all, nil
}

// Place is one side of a copy.
type Place struct {
	Address string // of replicas; "" for this machine
	Path    string
}

// ParsePlace parses "function.web[0]:/etc/hosts", or a path here.
func ParsePlace(text string) Place {
	for i, r := range text {
		if r != ':' {
			continue
		}
		if a, err := engine.ParseAddress(text[:i]); err == nil && a.Kind == engine.KindFunction {
			if text[i+1:] == "" {
				return Place{text[:i], "."}
			}
			return Place{text[:i], text[i+1:]}
		}
	}
	return Place{Path: text}
}

// UsageError is a mistake in how a command was called.
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.err }

// Usage marks an error as one of usage.
func Usage(err error) error { return &UsageError{err} }

// Usagef makes an error of usage.
func Usagef(format string, a ...any) error { return &UsageError{fmt.Errorf(format, a...)} }

// Progress is how an apply shows what it does.
type Progress string

// The ways to show progress.
const (
	Auto  Progress = "auto" // TTY on a terminal, else Plain
	TTY   Progress = "tty"
	Plain Progress = "plain"
	JSON  Progress = "json"
	Quiet Progress = "quiet"
)

// String implements pflag.Value.
func (p *Progress) String() string { return string(*p) }

// Type implements pflag.Value.
func (p *Progress) Type() string { return "auto|tty|plain|json|quiet" }

// Set implements pflag.Value.
func (p *Progress) Set(s string) error {
	switch v := Progress(s); v {
	case Auto, TTY, Plain, JSON, Quiet:
		*p = v
		return nil
	}
	return fmt.Errorf("one of auto, tty, plain, json and quiet is needed")
}

// Apply holds the flags of apply and destroy.
type Apply struct {
	AutoApprove bool
	NoServe     bool // only of apply
	LockTimeout time.Duration
	Grace       time.Duration
	Progress    Progress
}

// Register adds the flags.
func (a *Apply) Register(fs *pflag.FlagSet) {
	fs.BoolVar(&a.AutoApprove, "auto-approve", false, "do not ask")
	a.RegisterRun(fs)
}

// RegisterRun adds the flags of commands that do not ask.
func (a *Apply) RegisterRun(fs *pflag.FlagSet) {
	a.Progress = Auto
	fs.DurationVar(&a.LockTimeout, "lock-timeout", 0, "how long to wait for whoever holds the lock")
	fs.DurationVar(&a.Grace, "grace", 30*time.Second, "after the first ^C, how long running tasks may take to finish")
	fs.Var(&a.Progress, "progress", "how to show progress")
	fs.BoolFunc("json", "the same as -progress=json", func(string) error { a.Progress = JSON; return nil })
}

// Words returns the flags that a second call should have, too.
func (a *Apply) Words() []string {
	var words []string
	if a.AutoApprove {
		words = append(words, "-auto-approve")
	}
	if a.NoServe {
		words = append(words, "-no-serve")
	}
	return words
}
