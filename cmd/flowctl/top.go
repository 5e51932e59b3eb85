package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/spf13/cobra"
)

const topHelp = `Shows what replicas and machines use, the largest first: cores and memory, and of their
limits; requests per second, requests in flight and the 95th percentile of latencies,
as their frontends measure them. A machine has those of its replicas, too. Addresses
choose some: a machine with what runs on it, a function, one replica.

On a terminal it goes on: c, m, r, f, p and n sort by cpu, memory, rps, requests in
flight, p95 and name. Else, and with -once, it prints one table.

  flowctl top
  flowctl top -once -sort=p95 function.web
  flowctl top -json vm.node[0]`

func (a *app) topCommand() *cobra.Command {
	var f args.Flow
	var once, asJSON bool
	var interval time.Duration
	p := &topPage{}
	kinds := []engine.Kind{engine.KindFunction, engine.KindVM, engine.KindHost}
	c := &cobra.Command{
		Use: "top [ADDRESS ...]", Short: "Show what replicas and machines use", Long: topHelp, ValidArgsFunction: a.completeAddresses(kinds...),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if !slices.Contains(view.TopSorts, p.by) {
				return args.Usagef("-sort=%s is none of %s", p.by, strings.Join(view.TopSorts, ", "))
			}
			return a.withState(cmd, f, func(s *session) error {
				p.session, p.only = s, argv
				if asJSON || once || !a.inTTY || !a.outTTY {
					return p.print(cmd.Context(), asJSON)
				}
				return a.watch(cmd.Context(), p, interval)
			})
		},
	}
	specFlag(c, &f.Path)
	f.Register(c.Flags(), false)
	c.Flags().BoolVar(&once, "once", false, "print one table")
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON, once")
	c.Flags().StringVar(&p.by, "sort", "cpu", "by what: "+strings.Join(view.TopSorts, ", "))
	c.Flags().DurationVar(&interval, "interval", time.Second, "on a terminal: how often")
	return c
}

// topPage is what replicas and machines use, on a screen or printed.
type topPage struct {
	*session
	only []string // addresses; empty for all
	by   string   // what rows are sorted by
	top  view.Top
}

// load implements pager.
func (p *topPage) load(ctx context.Context) (func(), error) {
	st, err := p.status(ctx)
	if err != nil {
		return nil, err
	}
	top := view.TopOf(st, p.app.now())
	if len(p.only) > 0 {
		picked, err := p.pick(ctx, p.only, engine.KindFunction, engine.KindVM, engine.KindHost)
		if err != nil {
			return nil, err
		}
		top.Rows = slices.DeleteFunc(top.Rows, func(r view.TopRow) bool {
			return !slices.ContainsFunc(picked, func(o engine.Object) bool {
				return r.Address == o.Address.String() || r.Machine == o.Address.String()
			})
		})
	}
	return func() { p.top = top }, nil
}

func (p *topPage) print(ctx context.Context, asJSON bool) error {
	take, err := p.load(ctx)
	if err != nil {
		return err
	}
	take()
	p.top.Sort(p.by)
	if asJSON {
		p.app.writeJSON(p.top)
		return nil
	}
	fmt.Fprint(p.app.out, p.top.Text(p.by, p.app.now(), p.app.outStyle()))
	return nil
}

// draw implements pager.
func (p *topPage) draw(int, int) ([]string, int) {
	shown := p.top
	shown.Rows = slices.Clone(p.top.Rows)
	shown.Sort(p.by)
	now := p.app.now()
	title := fmt.Sprintf("Flow %s   %d machines and replicas   %s", p.session.name, len(shown.Rows), now.Format(time.TimeOnly))
	lines := strings.Split(strings.TrimRight(shown.Text(p.by, now, p.app.outStyle()), "\n"), "\n")
	return append([]string{title, ""}, lines...), 3
}

// press implements pager.
func (p *topPage) press(key string) {
	if by, ok := map[string]string{"c": "cpu", "m": "memory", "r": "rps", "f": "in_flight", "p": "p95", "n": "name"}[key]; ok {
		p.by = by
	}
}

func (p *topPage) keys() string { return "sort: c(pu) m(emory) r(ps) f(light) p(95) n(ame)" }
