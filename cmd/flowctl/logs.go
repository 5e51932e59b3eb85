package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/spec"
	"github.com/spf13/cobra"
)

func (a *app) logsCommand() *cobra.Command {
	var f args.Flow
	var spec string
	var stamps bool
	opts := providers.LogOptions{}
	var since time.Duration
	c := &cobra.Command{
		Use: "logs ADDRESS ...", Short: "Show what replicas print",
		Long: "Shows the logs of replicas, or of all replicas of a function. With -f, it goes on with\nnew lines, with those of replicas that come, and of those that take the place of others.\n\n  flowctl logs -f web\n  flowctl logs -tail=20 function.web[0] function.api[1]",
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeAddresses(engine.KindFunction),
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = spec
			return a.withState(cmd, f, func(s *session) error {
				l := logReader{session: s, addrs: argv, stamps: stamps, opts: opts}
				if since > 0 {
					l.opts.Since = a.now().Add(-since)
				}
				return l.run(cmd.Context())
			})
		},
	}
	specFlag(c, &spec)
	f.Register(c.Flags(), false)
	c.Flags().BoolVarP(&opts.Follow, "follow", "f", false, "go on with new lines")
	c.Flags().BoolVarP(&stamps, "timestamps", "t", false, "show when each line was printed")
	c.Flags().IntVar(&opts.Tail, "tail", -1, "only the last so many lines of each")
	c.Flags().DurationVar(&since, "since", 0, "only lines not older than this, such as 10m")
	return c
}

// pick finds the recorded objects that addresses name: instances, or all of a
// group.
func (s *session) pick(ctx context.Context, texts []string, kinds ...engine.Kind) ([]engine.Object, error) {
	snap, err := s.store.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	wanted, err := addresses(texts, snap.Objects, kinds)
	if err != nil {
		return nil, err
	}
	var picked []engine.Object
	for _, w := range wanted {
		n := len(picked)
		for _, o := range snap.Objects {
			if o.Kept.IsZero() && within(o.Address, w) {
				picked = append(picked, o)
			}
		}
		if len(picked) == n {
			return nil, missing(w, snap.Objects)
		}
	}
	for _, o := range picked {
		ok := len(kinds) == 0
		for _, k := range kinds {
			ok = ok || o.Address.Kind == k
		}
		if !ok {
			return nil, args.Usagef("%s is a %s; this takes a %s", o.Address, o.Address.Kind, kinds[0])
		}
	}
	return picked, nil
}

// within reports whether an address is another, or in its group or block.
func within(a, of engine.Address) bool { return a == of || a.Group() == of || a.Block() == of }

// addresses parses what was given as addresses. A bare name stands for what has it,
// if that is one thing of the kinds that are taken.
func addresses(texts []string, objects []engine.Object, kinds []engine.Kind) ([]engine.Address, error) {
	full := slices.Clone(texts)
	for i, text := range texts {
		if bare, _, _ := strings.Cut(text, "["); strings.Contains(bare, ".") {
			continue
		}
		var meant []engine.Address
		for _, k := range kinds {
			a, err := engine.ParseAddress(string(k) + "." + text)
			if err == nil && slices.ContainsFunc(objects, func(o engine.Object) bool { return within(o.Address, a) }) {
				meant = append(meant, a)
			}
		}
		switch len(meant) {
		case 0: // the error below says how addresses look
		case 1:
			full[i] = meant[0].String()
		default:
			return nil, args.Usagef("%q is the name of %s: write which", text, engine.List(meant))
		}
	}
	return args.Addresses(full)
}

// missing is the error for an address of nothing, with the nearest one.
func missing(a engine.Address, objects []engine.Object) error {
	var known []string
	for _, o := range objects {
		if o.Address.Kind != engine.KindBackend {
			known = append(known, o.Address.Group().String(), o.Address.String())
		}
	}
	slices.Sort(known)
	hint := spec.Nearest(a.String(), slices.Compact(known))
	if hint != "" {
		hint = " Did you mean " + hint + "?"
	}
	return fmt.Errorf("there is no %s; 'flowctl state list' shows what there is.%s", a, hint)
}

// printable drops what would disturb a terminal, but keeps colours.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != 0x1b {
			return -1
		}
		return r
	}, text)
}

// completeAddresses offers the recorded addresses of some kinds to the shell.
func (a *app) completeAddresses(kinds ...engine.Kind) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		var out []string
		a.withState(cmd, args.Flow{}, func(s *session) error {
			snap, err := s.store.Snapshot(cmd.Context())
			for _, o := range snap.Objects {
				for _, k := range kinds {
					if o.Address.Kind == k && strings.HasPrefix(o.Address.String(), prefix) {
						out = append(out, o.Address.String())
					}
				}
			}
			return err
		})
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
