package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
	"github.com/spf13/cobra"
)

func (a *app) stateCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "state", Short: "Look at the state, and mend it",
		Long: "The state is what flowctl believes to exist. These commands show it, and change it\nwithout touching the world.",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.stateListCommand(), a.stateShowCommand(), a.stateRmCommand(), a.stateImportCommand(), a.stateUnlockCommand())
	return c
}

// flowFlags adds the flags of commands whose arguments are addresses.
func flowFlags(c *cobra.Command, f *args.Flow) {
	c.Flags().StringVar(&f.Path, "spec", "", "the spec file or its folder (default: the current folder)")
	f.Register(c.Flags(), false)
}

func (a *app) stateListCommand() *cobra.Command {
	var f args.Flow
	c := &cobra.Command{
		Use: "list [ADDRESS ...]", Short: "List the addresses of what is recorded",
		RunE: func(cmd *cobra.Command, argv []string) error {
			return a.withState(cmd, f, func(s *session) error {
				objects, err := s.recorded(cmd.Context(), argv)
				if err != nil {
					return err
				}
				last := engine.Address{}
				for _, o := range objects {
					if o.Address != last {
						fmt.Fprintln(a.out, o.Address)
					}
					last = o.Address
				}
				return nil
			})
		},
	}
	flowFlags(c, &f)
	return c
}

// recorded returns the objects that addresses name, or all.
func (s *session) recorded(ctx context.Context, texts []string) ([]engine.Object, error) {
	if len(texts) > 0 {
		return s.pick(ctx, texts)
	}
	snap, err := s.store.Snapshot(ctx)
	return snap.Objects, err
}

func (a *app) stateShowCommand() *cobra.Command {
	var f args.Flow
	var asJSON bool
	c := &cobra.Command{
		Use: "show ADDRESS ...", Short: "Show what is recorded of some resources", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return a.withState(cmd, f, func(s *session) error {
				objects, err := s.pick(cmd.Context(), argv)
				if err != nil {
					return err
				}
				if asJSON {
					a.writeJSON(view.StateJSON(engine.Snapshot{Objects: objects}).Objects)
					return nil
				}
				fmt.Fprint(a.out, view.State(objects, a.outStyle()))
				return nil
			})
		},
	}
	flowFlags(c, &f)
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return c
}

// locked runs something while it holds the flow's lock.
func (s *session) locked(ctx context.Context, command string, do func(*state.Lease) error) error {
	l, err := s.flow.Lock(ctx, runtime.Owner("flowctl "+command, s.app.now()), 0, nil)
	if err != nil {
		return err
	}
	return errors.Join(do(l), l.Release(context.WithoutCancel(ctx)))
}

func (a *app) stateRmCommand() *cobra.Command {
	var f args.Flow
	c := &cobra.Command{
		Use: "rm ADDRESS ...", Short: "Forget resources without touching them", Args: cobra.MinimumNArgs(1),
		Long: "Takes resources out of the state. They go on existing, and flowctl does not know of them\nany more; a later apply finds those that carry the flow's name again and adopts them.",
		RunE: func(cmd *cobra.Command, argv []string) error {
			return a.withState(cmd, f, func(s *session) error {
				return s.locked(cmd.Context(), "state rm", func(l *state.Lease) error {
					objects, err := s.pick(cmd.Context(), argv)
					if err != nil {
						return err
					}
					for _, o := range objects {
						if err := s.store.Drop(cmd.Context(), l, o.Key()); err != nil {
							return err
						}
						fmt.Fprintf(a.out, "Forgot %s\n", o.Key())
					}
					return nil
				})
			})
		},
	}
	flowFlags(c, &f)
	return c
}

func (a *app) stateImportCommand() *cobra.Command {
	var f args.Flow
	c := &cobra.Command{
		Use: "import ADDRESS ID", Short: "Record an existing thing under an address of the spec", Args: cobra.ExactArgs(2),
		Long: "Finds something that exists by its provider's own name and records it, so that the next\nplan compares it with the spec instead of making another.",
		RunE: func(cmd *cobra.Command, argv []string) error {
			s, err := a.readSpec(f, false)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.open(cmd.Context(), true); err != nil {
				return err
			}
			return s.locked(cmd.Context(), "state import", func(l *state.Lease) error { return s.importObject(cmd.Context(), l, argv[0], argv[1]) })
		},
	}
	flowFlags(c, &f)
	return c
}

func (s *session) importObject(ctx context.Context, l *state.Lease, text, id string) error {
	addrs, err := args.Addresses([]string{text})
	if err != nil {
		return err
	}
	a := addrs[0]
	snap, err := s.store.Snapshot(ctx)
	if err != nil {
		return err
	}
	for _, o := range snap.Objects {
		if o.Address == a {
			return fmt.Errorf("%s is recorded already; forget it first with 'flowctl state rm %s'", a, a)
		}
	}
	name, needs, err := s.declared(a, snap)
	if err != nil {
		return err
	}
	p, err := s.set.Get(ctx, name)
	if err != nil {
		return err
	}
	imp, ok := providers.As[providers.Importer](p)
	if !ok {
		return fmt.Errorf("provider %s cannot import", name)
	}
	o, err := imp.Import(ctx, a, id)
	if err != nil {
		return err
	}
	o.Provider, o.Needs, o.Lifecycle = name, needs, engine.Unverified
	if err := s.store.Put(ctx, l, o); err != nil {
		return err
	}
	fmt.Fprintf(s.app.out, "Recorded %s as %s. See what the spec would change about it with 'flowctl plan'.\n", id, a)
	return nil
}

// declared finds the provider of an address that the spec declares, and what it
// needs. A replica's provider is that of the machines that its function is on.
func (s *session) declared(a engine.Address, snap engine.Snapshot) (string, []engine.Address, error) {
	for _, d := range s.desired.Decls {
		if d.Address != a.Group() {
			continue
		}
		if d.Provider != "" {
			return d.Provider, engine.NeedsOf(d.Needs), nil
		}
		for _, f := range s.desired.Functions {
			for _, m := range s.desired.Machines {
				if f.Address == a.Group() && len(f.On) > 0 && m.Address == f.On[0] {
					return m.Provider, engine.NeedsOf(d.Needs), nil
				}
			}
		}
	}
	return "", nil, args.Usagef("the spec declares no %s: write its block first", a)
}

func (a *app) stateUnlockCommand() *cobra.Command {
	var f args.Flow
	c := &cobra.Command{
		Use: "unlock", Short: "Free the lock of a process on a machine that is gone", Args: cobra.NoArgs,
		Long: "Frees the flow's lock whoever holds it. The lock of a dead process on this machine is\ntaken over without it. Should the holder live after all, it can write nothing any more.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withState(cmd, f, func(s *session) error {
				h, err := s.store.Holder(cmd.Context(), state.ApplyLock)
				if err != nil {
					return err
				}
				if h == nil {
					fmt.Fprintln(a.out, "The flow is not locked.")
					return nil
				}
				if err := s.store.Break(cmd.Context(), state.ApplyLock); err != nil {
					return err
				}
				fmt.Fprintf(a.out, "Freed the lock of %s (process %d of %s on %s).\n", h.Command, h.PID, h.User, h.Host)
				return nil
			})
		},
	}
	flowFlags(c, &f)
	return c
}
