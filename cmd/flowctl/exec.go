package main

import (
	"fmt"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/spf13/cobra"
)

func (a *app) execCommand() *cobra.Command {
	var f args.Flow
	var spec string
	c := &cobra.Command{
		Use: "exec ADDRESS -- COMMAND [ARG ...]", Short: "Run a command beside a replica",
		Long: "Runs a command with the environment, the folder and the limits of a replica. The exit\nstatus is the command's.\n\n  flowctl exec function.web[0] -- env",
		Args: cobra.MinimumNArgs(2), ValidArgsFunction: a.completeAddresses(engine.KindFunction),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if cmd.ArgsLenAtDash() != 1 {
				return args.Usagef("write one address, then --, then the command")
			}
			f.Path = spec
			return a.withState(cmd, f, func(s *session) error {
				objects, err := s.pick(cmd.Context(), argv[:1], engine.KindFunction)
				if err != nil {
					return err
				}
				if len(objects) > 1 {
					return args.Usagef("%s has %d replicas: name one, such as %s", argv[0], len(objects), objects[0].Address)
				}
				return s.exec(cmd, objects[0], argv[1:])
			})
		},
	}
	specFlag(c, &spec)
	f.Register(c.Flags(), false)
	return c
}

func (s *session) exec(cmd *cobra.Command, o engine.Object, argv []string) error {
	p, err := s.set.Get(cmd.Context(), o.Provider)
	if err != nil {
		return err
	}
	x, ok := providers.As[providers.Execer](p)
	if !ok {
		return fmt.Errorf("provider %s cannot run commands beside a replica", o.Provider)
	}
	status, err := x.Exec(cmd.Context(), o, argv, providers.Streams{In: s.app.in, Out: s.app.out, Err: s.app.err})
	if err != nil {
		return err
	}
	if status != 0 {
		return shown(status)
	}
	return nil
}
