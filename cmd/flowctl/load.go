package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/internal/load"
	"github.com/spf13/cobra"
)

const loadHelp = `Sends requests to a URL at a rate that follows a shape, and prints each second what
came back: rates, latency percentiles (from the moment a request was due, so that a
stalled server shows), errors by kind, and how many replicas answered.

  flowctl load $(flowctl output -raw url)
  flowctl load -mode=spike -base=20 -peak=200 -at=10s -period=20s -duration=1m URL
  flowctl load -mode=low 'http://127.0.0.1:8081/fib/{n}'      the field's classic: n 15..25
  flowctl load -mode=high 'http://127.0.0.1:8081/fib/{n}'     n 30..33

{n} in the URL is a random number of the range -n. Only addresses of this machine are
targets, private ones too with -allow-remote. The exit status is 1 if a request failed.`

func (a *app) loadCommand() *cobra.Command {
	var c load.Config
	var mode, n, trace, csv string
	var headers []string
	var base, peak float64
	var asJSON bool
	cmd := &cobra.Command{
		Use: "load URL", Short: "Send a load and measure what comes back", Long: loadHelp, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, argv []string) error {
			cfg, err := loadConfig(cmd, c, mode, n, trace, headers, base, peak)
			if err != nil {
				return err
			}
			cfg.Request.URL = argv[0]
			return a.load(cmd, cfg, csv, asJSON)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&mode, "mode", "steady", strings.Join(load.Modes(), ", "))
	fs.Float64Var(&base, "base", 10, "requests per second at rest")
	fs.Float64Var(&peak, "peak", 100, "requests per second at the top of a step, spike or sine")
	fs.DurationVar(&c.Shape.At, "at", 0, "when a step or spike begins")
	fs.DurationVar(&c.Shape.Period, "period", 0, "how long a spike or one sine wave lasts")
	fs.DurationVar(&c.Shape.Duration, "duration", 30*time.Second, "how long in all; 0 until interrupted")
	fs.StringVar(&trace, "trace", "", "CSV file of t_s,rps for -mode=trace")
	fs.StringVar(&n, "n", "", "range of {n} in the URL, such as 15..25")
	fs.StringVar(&c.Request.Method, "method", "GET", "the method")
	fs.StringArrayVar(&headers, "header", nil, "a request header, \"Name: value\" (may be repeated)")
	fs.DurationVar(&c.Request.Timeout, "timeout", 10*time.Second, "of one request")
	fs.IntVar(&c.MaxInFlight, "max-in-flight", 0, "most requests at a time; what is above is dropped and counted")
	fs.BoolVar(&c.Poisson, "poisson", false, "random arrivals instead of even ones")
	fs.BoolVar(&c.NewConnections, "new-connections", false, "a connection for each request")
	fs.BoolVar(&c.AllowRemote, "allow-remote", false, "allow private addresses of other machines")
	fs.StringVar(&csv, "csv", "", "write each second to this file")
	fs.BoolVar(&asJSON, "json", false, "write the report as JSON")
	return cmd
}

// loadConfig puts a preset and the flags that were given together.
func loadConfig(cmd *cobra.Command, given load.Config, mode, n, trace string, headers []string, base, peak float64) (load.Config, error) {
	m, err := load.ParseMode(mode)
	if err != nil {
		return given, args.Usage(err)
	}
	c := load.Preset(m)
	changed := cmd.Flags().Changed
	c.Shape.Duration = given.Shape.Duration
	if changed("base") {
		c.Shape.BaseRPS = base
	}
	if changed("peak") {
		c.Shape.PeakRPS = peak
	}
	if changed("at") {
		c.Shape.At = given.Shape.At
	}
	if changed("period") {
		c.Shape.Period = given.Shape.Period
	}
	if given.MaxInFlight > 0 {
		c.MaxInFlight = given.MaxInFlight
	}
	c.Poisson, c.NewConnections, c.AllowRemote = given.Poisson, given.NewConnections, given.AllowRemote
	c.Request.Method, c.Request.Timeout = given.Request.Method, given.Request.Timeout
	c.Request.Header = http.Header{}
	for _, h := range headers {
		k, v, ok := strings.Cut(h, ":")
		if !ok {
			return c, args.Usagef("the header %q is not \"Name: value\"", h)
		}
		c.Request.Header.Add(strings.TrimSpace(k), strings.TrimSpace(v))
	}
	if n != "" {
		if c.Request.N, err = load.ParseRange(n); err != nil {
			return c, args.Usage(err)
		}
	}
	if trace != "" {
		f, err := os.Open(trace)
		if err != nil {
			return c, err
		}
		defer f.Close()
		if c.Shape.Trace, err = load.ReadTrace(f); err != nil {
			return c, fmt.Errorf("read %s: %w", trace, err)
		}
		if c.Shape.Mode = load.Replay; !changed("duration") {
			c.Shape.Duration = 0
		}
	}
	return c, nil
}

func (a *app) load(cmd *cobra.Command, c load.Config, csv string, asJSON bool) error {
	var rows *load.CSV
	if csv != "" {
		f, err := os.Create(csv)
		if err != nil {
			return err
		}
		defer f.Close()
		rows = load.NewCSV(f)
	}
	var rowErr error
	if !asJSON {
		fmt.Fprintln(a.err, load.Header())
	}
	report, err := load.Run(cmd.Context(), c, func(t load.Tick) {
		if !asJSON {
			fmt.Fprintln(a.err, load.Line(t))
		}
		if rows != nil && rowErr == nil {
			rowErr = rows.Write(t)
		}
	})
	if errors.Is(err, load.ErrTarget) {
		return args.Usage(err)
	}
	if err := errors.Join(err, rowErr); err != nil {
		return err
	}
	if asJSON {
		a.writeJSON(report)
	} else {
		fmt.Fprintln(a.out, load.Summary(report))
	}
	if report.Failed() > 0 {
		return shown(exitError)
	}
	return nil
}
