package main

import (
	"context"
	"fmt"
	"regexp"
	"text/tabwriter"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
	"github.com/spf13/cobra"
)

func (a *app) snapshotCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "snapshot", Short: "Keep what machines are, and let them be that again",
		Long: `A snapshot is what a machine is at one moment: its disk and, while it runs, its memory.
It belongs to the machine, and goes with it when that is replaced or deleted. Providers
that have none say so.`,
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(
		a.snapshotOrderCommand(engine.Capture, "create", "Take a snapshot of machines", `Takes a snapshot of each machine, which stands still for it for a second or some.

  flowctl snapshot create vm.node[0] -name before-upgrade`),
		a.snapshotListCommand(),
		a.snapshotOrderCommand(engine.Revert, "restore", "Let machines be what they were", `Lets each machine be what it was when the snapshot was taken. It must be suspended, so
that its replicas have left their frontends; it goes on with 'flowctl resume', when its
replicas are healthy.

  flowctl suspend vm.node[0]
  flowctl snapshot restore vm.node[0] -name before-upgrade
  flowctl resume vm.node[0]`),
		a.snapshotOrderCommand(engine.Discard, "delete", "Delete snapshots", `Deletes the snapshot of that name of each machine. The machines stay what they are.

  flowctl snapshot delete vm.node -name before-upgrade`),
	)
	return c
}

// snapshotName is what names of snapshots are made of: libvirt makes file names of them.
var snapshotName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (a *app) snapshotOrderCommand(action engine.Action, use, short, long string) *cobra.Command {
	var f args.Flow
	var p args.Plan
	var o args.Apply
	var name string
	c := &cobra.Command{
		Use: use + " ADDRESS ...", Short: short, Long: long,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeAddresses(engine.KindVM),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if name == "" && action == engine.Capture {
				name = a.now().UTC().Format("20060102-150405")
			}
			if !snapshotName.MatchString(name) {
				return args.Usagef("write -name=NAME: letters, digits, \".\", \"_\" and \"-\", 64 at most, the first a letter or a digit")
			}
			s, err := a.locate(f)
			if err != nil {
				return err
			}
			defer s.close()
			r := runtime.OrderRequest{Action: action, Snapshot: name}
			return s.change(cmd.Context(), change{
				command: action.String(), again: s.againOn("snapshot", append([]string{use}, argv...), "-name="+name), parallelism: s.parallelism(p),
				plan: func() (runtime.Planned, engine.Diagnostics, error) {
					return s.order(cmd.Context(), r, argv, []engine.Kind{engine.KindVM})
				},
				sure: func(engine.Plan) bool { return true },
			}, o)
		},
	}
	flowFlags(c, &f)
	p.RegisterPace(c.Flags())
	o.RegisterRun(c.Flags())
	usage := "the snapshot's name"
	if action == engine.Capture {
		usage += "; the time, if not given"
	}
	c.Flags().StringVar(&name, "name", "", usage)
	c.Flags().BoolVar(&o.AutoApprove, "auto-approve", false, "for scripts that give it to every command; this one never asks")
	return c
}

func (a *app) snapshotListCommand() *cobra.Command {
	var f args.Flow
	var asJSON bool
	c := &cobra.Command{
		Use: "list [ADDRESS ...]", Short: "List the snapshots of machines, the eldest first",
		ValidArgsFunction: a.completeAddresses(engine.KindVM),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return a.withState(cmd, f, func(s *session) error {
				list, err := s.snapshots(cmd.Context(), argv)
				if err != nil {
					return err
				}
				if asJSON {
					a.writeJSON(list)
					return nil
				}
				w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "ADDRESS\tNAME\tTAKEN\tSTATE\tCURRENT")
				for _, x := range list.Snapshots {
					current := ""
					if x.Current {
						current = "yes"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", x.Address, x.Name, x.Taken.Local().Format(time.DateTime), x.State, current)
				}
				return w.Flush()
			})
		},
	}
	flowFlags(c, &f)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// snapshots asks the providers of machines for what they have. Of all machines, those
// whose provider has no snapshots are passed over.
func (s *session) snapshots(ctx context.Context, argv []string) (view.JSONSnapshots, error) {
	list := view.JSONSnapshots{FormatVersion: view.FormatVersion, Snapshots: []view.JSONSnapshot{}}
	var machines []engine.Object
	var err error
	if len(argv) > 0 {
		machines, err = s.pick(ctx, argv, engine.KindVM)
	} else {
		machines, err = s.recorded(ctx, nil)
	}
	if err != nil {
		return list, err
	}
	for _, o := range machines {
		if o.Address.Kind != engine.KindVM {
			continue
		}
		p, err := s.set.Get(ctx, o.Provider)
		if err != nil {
			return list, err
		}
		x, ok := providers.As[providers.Snapshotter](p)
		if !ok && len(argv) > 0 {
			return list, fmt.Errorf("provider %s of %s has no snapshots", o.Provider, o.Address)
		}
		if !ok {
			continue
		}
		all, err := x.Snapshots(ctx, o)
		if err != nil {
			return list, fmt.Errorf("%s: %w", o.Address, err)
		}
		for _, n := range all {
			list.Snapshots = append(list.Snapshots, view.JSONSnapshot{Address: o.Address.String(), Name: n.Name, Taken: n.At.UTC(), State: n.State, Current: n.Current})
		}
	}
	return list, nil
}
