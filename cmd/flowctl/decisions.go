package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/runtime/api"
	"github.com/spf13/cobra"
)

func (a *app) decisionsCommand() *cobra.Command {
	var f args.Flow
	var asJSON, follow, all bool
	var limit int
	c := &cobra.Command{
		Use: "decisions [NAME]", Short: "List what the controller decided, and why", Args: cobra.MaximumNArgs(1),
		Long: "Lists the decisions of one scaling block, or of all, the newest last: those that changed a\nsize, or with -all every one that said something new.\n\n  flowctl decisions -f\n  flowctl decisions web -all -n 50",
		RunE: func(cmd *cobra.Command, argv []string) error {
			return a.withState(cmd, f, func(s *session) error {
				show := func(list []api.Decision) {
					if asJSON {
						for _, d := range list {
							a.writeLine(d)
						}
						return
					}
					fmt.Fprint(a.out, view.Decisions(list, a.now(), a.outStyle()))
				}
				last, err := s.decisions(cmd.Context(), path(argv), time.Time{}, limit, all)
				if err != nil {
					return err
				}
				if len(last) == 0 && !follow {
					return s.noDecisions(cmd.Context(), path(argv))
				}
				show(last)
				if !follow {
					return nil
				}
				return s.followDecisions(cmd.Context(), path(argv), last, all, show)
			})
		},
	}
	specFlag(c, &f.Path)
	f.Register(c.Flags(), false)
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON, a line each")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new ones")
	c.Flags().BoolVarP(&all, "all", "a", false, "also those that changed nothing")
	c.Flags().IntVarP(&limit, "limit", "n", 20, "how many")
	return c
}

// scanned is how many decisions are looked through for those that changed a size.
const scanned = 10_000

// decisions lists the newest up to an instant, the newest last.
func (s *session) decisions(ctx context.Context, rule string, until time.Time, limit int, all bool) ([]api.Decision, error) {
	n := limit
	if !all {
		n = scanned
	}
	stored, err := s.store.Decisions(ctx, rule, until, n)
	if err != nil {
		return nil, err
	}
	var list []api.Decision
	for _, d := range stored {
		one, err := api.DecisionOf(d)
		if err != nil {
			return nil, err
		}
		if (all || one.Act) && len(list) < limit {
			list = append(list, one)
		}
	}
	slices.Reverse(list)
	return list, nil
}

// noDecisions says why there is nothing to list.
func (s *session) noDecisions(ctx context.Context, rule string) error {
	any, err := s.store.Decisions(ctx, rule, time.Time{}, 1)
	if err != nil {
		return err
	}
	switch {
	case len(any) > 0:
		fmt.Fprintln(s.app.err, "No size was changed yet; -all lists the decisions that kept it.")
	case rule != "":
		return fmt.Errorf("nothing was decided for a scaling block %q; 'flowctl status' lists the blocks", rule)
	default:
		fmt.Fprintln(s.app.err, "Nothing was decided yet: is there a scaling block, and does a controller run ('flowctl status')?")
	}
	return nil
}

// followPoll is the time between two looks for new decisions.
const followPoll = 500 * time.Millisecond

func (s *session) followDecisions(ctx context.Context, rule string, shown []api.Decision, all bool, show func([]api.Decision)) error {
	var last time.Time
	if n := len(shown); n > 0 {
		last = shown[n-1].At
	}
	for {
		select {
		case <-time.After(followPoll):
		case <-ctx.Done():
			return nil
		}
		list, err := s.decisions(ctx, rule, time.Time{}, 100, all)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(d api.Decision) bool { return !d.At.After(last) })
		if n := len(list); n > 0 {
			last = list[n-1].At
			show(list)
		}
	}
}

func (a *app) explainCommand() *cobra.Command {
	var f args.Flow
	var asJSON bool
	var at string
	c := &cobra.Command{
		Use: "explain NAME", Short: "Explain one decision of a scaling block", Args: cobra.ExactArgs(1),
		Long: "Shows the newest decision of a scaling block, or the one at some time: what each metric\nwas and asked for, what changed the number on the way and until when, and the run that\ncarried it out.\n\n  flowctl explain web\n  flowctl explain web -at=14:03:10",
		RunE: func(cmd *cobra.Command, argv []string) error {
			return a.withState(cmd, f, func(s *session) error {
				until, err := args.Instant(at, a.now())
				if err != nil {
					return err
				}
				list, err := s.decisions(cmd.Context(), argv[0], until, 1, true)
				if err != nil {
					return err
				}
				if len(list) == 0 {
					if at != "" {
						return errors.New("nothing was decided by then; 'flowctl decisions -all' lists what was")
					}
					return s.noDecisions(cmd.Context(), argv[0])
				}
				if asJSON {
					a.writeJSON(list[0])
					return nil
				}
				e := view.Explained{Decision: list[0], Now: a.now()}
				if run, err := s.store.Run(cmd.Context(), list[0].Run); err == nil {
					e.Run = &run
				}
				fmt.Fprint(a.out, view.Explain(e, a.outStyle()))
				return nil
			})
		},
	}
	specFlag(c, &f.Path)
	f.Register(c.Flags(), false)
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	c.Flags().StringVar(&at, "at", "", "the decision at this time: 15:04, 15:04:05 (today), or 2006-01-02T15:04:05Z")
	return c
}
