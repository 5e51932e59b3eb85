package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const execHelp = `Runs a command beside a replica: in its container, or with the environment, the folder
and the limits of a program. The exit status is the command's. Standard input is passed
on.

  flowctl exec function.web[0] -- env
  flowctl exec -it function.web[0] -- sh

On a machine it runs as root there, through the machine's guest agent (libvirt); what is
piped in is read to its end first, and there is no terminal: see 'flowctl console'. A
machine of the local provider is this computer, and the command runs in its folder.

  flowctl exec vm.node[0] -- uptime

With several, or a group of several, it runs on all of them at once, with nothing on
standard input; each line has the address before it, and the exit status is the worst.

  flowctl exec function.web -- cat /etc/hostname
  flowctl exec vm.node -- free -m`

var execKinds = []engine.Kind{engine.KindFunction, engine.KindVM, engine.KindHost}

func (a *app) execCommand() *cobra.Command {
	var f args.Flow
	var tty, stdin bool
	c := &cobra.Command{
		Use: "exec ADDRESS ... -- COMMAND [ARG ...]", Short: "Run a command beside replicas or on machines", Long: execHelp,
		Args: cobra.MinimumNArgs(2), ValidArgsFunction: a.completeAddresses(execKinds...),
		RunE: func(cmd *cobra.Command, argv []string) error {
			n := cmd.ArgsLenAtDash()
			if n < 1 || n == len(argv) {
				return args.Usagef("write one address or more, then --, then the command")
			}
			return a.withState(cmd, f, func(s *session) error {
				objects, err := s.pick(cmd.Context(), argv[:n], execKinds...)
				if err != nil {
					return err
				}
				if len(objects) > 1 {
					if tty || stdin {
						return args.Usagef("%d of them are meant, and one at most can have the terminal or standard input: name one, such as %s", len(objects), objects[0].Address)
					}
					return s.execAll(cmd.Context(), objects, argv[n:])
				}
				streams := providers.Streams{In: a.in, Out: a.out, Err: a.err}
				if objects[0].Address.Kind == engine.KindVM && a.inTTY && !stdin {
					streams.In = nil // its end would be waited for
				}
				if tty {
					if streams.Terminal, err = a.terminal(); err != nil {
						return err
					}
				}
				status, err := s.exec(cmd.Context(), objects[0], argv[n:], streams)
				if err != nil || status == 0 {
					return err
				}
				return shown(status)
			})
		},
	}
	specFlag(c, &f.Path)
	f.Register(c.Flags(), false)
	c.Flags().BoolVarP(&tty, "tty", "t", false, "give the command a terminal")
	c.Flags().BoolVarP(&stdin, "interactive", "i", false, "pass standard input on, as it is with one replica anyhow")
	return c
}

// terminal describes the operator's, or says that there is none.
func (a *app) terminal() (*providers.Terminal, error) {
	in, ok := a.in.(*os.File)
	if !ok || !a.inTTY || !a.outTTY {
		return nil, args.Usagef("-t needs a terminal, and standard input or output is none")
	}
	t := &providers.Terminal{Raw: func() (func(), error) {
		was, err := term.MakeRaw(int(in.Fd()))
		return func() { term.Restore(int(in.Fd()), was) }, err
	}}
	var err error
	t.Width, t.Height, err = term.GetSize(int(in.Fd()))
	return t, err
}

func (s *session) exec(ctx context.Context, o engine.Object, argv []string, streams providers.Streams) (int, error) {
	p, err := s.set.Get(ctx, o.Provider)
	if err != nil {
		return 0, err
	}
	x, ok := providers.As[providers.Execer](p)
	if !ok {
		return 0, fmt.Errorf("provider %s cannot run commands on %s", o.Provider, o.Address)
	}
	return x.Exec(ctx, o, argv, streams)
}

// execAll runs a command beside several replicas at once, and ends with the worst
// status.
func (s *session) execAll(ctx context.Context, objects []engine.Object, argv []string) error {
	out := newPrefixer(s.app, objects)
	var mu sync.Mutex // guards worst and errs
	worst := 0
	var errs []error
	var wg sync.WaitGroup
	for _, o := range objects {
		wg.Go(func() {
			stdout, stderr := out.stream(o.Address, s.app.out), out.stream(o.Address, s.app.err)
			status, err := s.exec(ctx, o, argv, providers.Streams{Out: stdout, Err: stderr})
			stdout.flush()
			stderr.flush()
			mu.Lock()
			defer mu.Unlock()
			if worst = max(worst, status); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", o.Address, err))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return &failure{code: max(worst, exitError), err: err}
	}
	if worst != 0 {
		return shown(worst)
	}
	return nil
}
