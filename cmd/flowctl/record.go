package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/rule"
	"github.com/flowctl/flowctl/internal/load"
	"github.com/flowctl/flowctl/runtime/observe"
	"github.com/flowctl/flowctl/state"
	"github.com/spf13/cobra"
)

const recordHelp = `Writes the requests per second of a function as a trace, a CSV file of t_s,rps: what
'flowctl simulate -trace' and 'flowctl load -trace' read. The past is what the
controller has measured: by the second for an hour, by the minute for 30 days. With
-follow it is measured from now on, with or without a controller.

  flowctl record flow.hcl > load.csv                  the last hour
  flowctl record -since=24h -function=web flow.hcl > day.csv
  flowctl record -follow -for=10m flow.hcl > load.csv
  flowctl simulate -trace=load.csv flow.hcl`

func (a *app) recordCommand() *cobra.Command {
	var f args.Flow
	var r recorder
	c := &cobra.Command{
		Use: "record [PATH]", Short: "Write the load of a function as a trace", Long: recordHelp, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = path(argv)
			switch {
			case r.length > 0 && !r.follow:
				return args.Usagef("-for says how long -follow goes on")
			case r.since < 0 || r.length < 0:
				return args.Usagef("a time must not be negative")
			case !r.follow && !cmd.Flags().Changed("since"):
				r.since = time.Hour
			}
			return a.withState(cmd, f, func(s *session) error {
				r.session = s
				return r.run(cmd.Context())
			})
		},
	}
	f.Register(c.Flags(), false)
	c.Flags().StringVar(&r.name, "function", "", "whose load, if several have one")
	c.Flags().DurationVar(&r.since, "since", 0, "from how long ago on (default 1h, and with -follow 0)")
	c.Flags().BoolVarP(&r.follow, "follow", "f", false, "go on with what is measured from now on")
	c.Flags().DurationVar(&r.length, "for", 0, "with -follow: how long (default until interrupted)")
	return c
}

// recorder writes one trace.
type recorder struct {
	*session
	name          string
	since, length time.Duration
	follow        bool

	function engine.Address
	out      *load.TraceWriter
	begin    time.Time // of the trace
	last     time.Time // of the last point
	gap      time.Duration
	serial   int64 // of what the collector knows
}

func (r *recorder) run(ctx context.Context) error {
	if err := r.choose(ctx); err != nil {
		return err
	}
	if err := r.past(ctx); err != nil && !r.app.readerGone() {
		return err
	}
	if r.follow {
		return r.present(ctx)
	}
	if r.out == nil {
		return fmt.Errorf("no load of %s was measured in the last %s: the controller of a flow with scaling blocks measures it, and -follow does now", r.function, r.since)
	}
	return nil
}

// choose settles whose load is meant: of what frontends balance to, or is measured.
func (r *recorder) choose(ctx context.Context) error {
	snap, err := r.store.Snapshot(ctx)
	if err != nil {
		return err
	}
	var known []engine.Address
	for _, o := range snap.Objects {
		if o.Address.Kind == engine.KindFrontend {
			known = append(known, engine.MustDecode[engine.Frontend](o.Value).Targets()...)
		}
	}
	slices.SortFunc(known, engine.Address.Compare)
	known = slices.Compact(known)
	if r.name != "" {
		if r.function, err = functionNamed(r.name); err != nil {
			return err
		}
		if !slices.Contains(known, r.function) {
			return fmt.Errorf("no frontend sends requests to %s; those that get some: %s", r.function, engine.List(known))
		}
		return nil
	}
	switch len(known) {
	case 0:
		return errors.New("no frontend of the flow sends requests to a function, so there is no load")
	case 1:
		r.function = known[0]
		return nil
	default:
		return args.Usagef("several functions have a load: choose one with -function: %s", engine.List(known))
	}
}

// past writes what was kept.
func (r *recorder) past(ctx context.Context) error {
	if r.since == 0 {
		return nil
	}
	now := r.app.now()
	from := now.Add(-r.since)
	of := state.Series{Of: r.function.String(), Metric: "rps"}
	seconds, err := r.store.Samples(ctx, state.Span{Series: of, Step: state.Second, From: from, Until: now})
	if err != nil {
		return err
	}
	begin := now
	if len(seconds) > 0 {
		begin = seconds[0].At
	}
	minutes, err := r.store.Samples(ctx, state.Span{Series: of, Step: state.Minute, From: from, Until: begin.Truncate(state.Minute)})
	if err != nil {
		return err
	}
	for _, u := range append(minutes, seconds...) {
		at := u.At
		if u.Step == state.Minute { // the mean of all of it
			at = at.Add(u.Step / 2)
		}
		if err := r.write(at, u.Mean, 2*u.Step+5*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// write adds a point; with more than gap since the last one, something is missing.
func (r *recorder) write(at time.Time, rps float64, gap time.Duration) error {
	if r.out == nil {
		var err error
		if r.out, err = load.NewTraceWriter(r.app.out, fmt.Sprintf("%s of %s, from %s", r.function, r.session.name, at.UTC().Format(time.RFC3339))); err != nil {
			return err
		}
		r.begin, r.last = at, at
	}
	if missing := at.Sub(r.last); missing > max(gap, r.gap) {
		fmt.Fprintf(r.app.err, "Nothing was measured for %s from %s on: the trace goes straight through.\n", missing.Round(time.Second), r.last.Local().Format(time.DateTime))
	}
	r.last, r.gap = at, gap
	return r.out.Write(load.Point{At: at.Sub(r.begin), RPS: rps})
}

// present measures, and writes what it does.
func (r *recorder) present(ctx context.Context) error {
	if r.length > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, r.length)
		defer stop()
	}
	readings := make(chan observe.Reading, 10)
	c := &observe.Collector{Providers: r.set, Now: r.app.now, Log: slog.New(slog.DiscardHandler), Took: func(x observe.Reading) {
		select {
		case readings <- x:
		default: // who reads the trace is slow
		}
	}}
	c.Watch([]observe.Watched{{Rule: rule.Rule{Name: "record", Target: r.function}}})
	if err := r.look(ctx, c); err != nil {
		return err
	}
	measuring, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { c.Run(measuring) })
	tick := time.NewTicker(observe.Interval)
	defer tick.Stop()
	for {
		var err error
		select {
		case x := <-readings:
			err = r.write(x.At, x.Value, 7*time.Second)
		case <-tick.C:
			err = r.look(ctx, c)
		case <-ctx.Done():
			return nil
		}
		switch {
		case ctx.Err() != nil || r.app.readerGone():
			return nil
		case err != nil:
			return err
		}
	}
}

// look tells the collector what there is, if that has changed.
func (r *recorder) look(ctx context.Context, c *observe.Collector) error {
	v, err := r.store.Version(ctx)
	if err != nil || v.Serial == r.serial {
		return err
	}
	snap, err := r.store.Snapshot(ctx)
	if err != nil {
		return err
	}
	r.serial = snap.Serial
	c.Objects(snap.Objects)
	return nil
}
