package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flowctl/flowctl/internal/load"
	"github.com/flowctl/flowctl/internal/plot"
	"github.com/flowctl/flowctl/internal/trial"
)

// scaling are the settings of the section scale.
type scaling struct {
	spec, path, plot string
	vars             []string
	base, peak       float64
	at, period       time.Duration
	patience         time.Duration
}

func (s *scaling) flags() {
	flag.StringVar(&s.spec, "spec", "examples/two-tier.hcl", "scale: the spec, whose output url is what answers")
	flag.StringVar(&s.path, "path", "/api?n=15", "scale: what is asked for")
	flag.StringVar(&s.plot, "plot", "", "scale: an SVG of the run")
	flag.Func("var", "scale: NAME=VALUE, a variable of the spec (may be repeated)", func(v string) error { s.vars = append(s.vars, v); return nil })
	flag.Float64Var(&s.base, "base", 40, "scale: requests a second at rest")
	flag.Float64Var(&s.peak, "peak", 350, "scale: requests a second in the spike")
	flag.DurationVar(&s.at, "at", 10*time.Second, "scale: when the spike begins")
	flag.DurationVar(&s.period, "period", 40*time.Second, "scale: how long it lasts")
	flag.DurationVar(&s.patience, "shrink", 5*time.Minute, "scale: how long sizes may take to shrink back")
}

// scale applies a spec for real, sends it a spike, and shows how the sizes follow.
func (b *bench) scale(ctx context.Context) (err error) {
	s := b.scaling
	flow := trial.Flow{Program: b.flowctl, Spec: s.spec, Name: strings.TrimSuffix(filepath.Base(s.spec), ".hcl"), Vars: s.vars, Log: os.Stderr}
	fmt.Printf("\n%s: %.0f requests/s, and %.0f for %s\n", s.spec, s.base, s.peak, s.period)
	defer func() { err = errors.Join(err, flow.Destroy(context.WithoutCancel(ctx))) }()
	if err := flow.Apply(ctx); err != nil {
		return err
	}
	url, err := flow.Output(ctx, "url")
	if err != nil {
		return err
	}
	c := load.Preset(load.Spike)
	// Clients that are patient: what is slow is to be seen as slow, what fails is a fault.
	c.Request.URL, c.Request.Timeout, c.MaxInFlight = url+s.path, time.Minute, 5000
	c.Shape.BaseRPS, c.Shape.PeakRPS, c.Shape.At, c.Shape.Period = s.base, s.peak, s.at, s.period
	var last trial.Point
	r, err := trial.Scale{Flow: flow, Load: c, Patience: s.patience, Tell: func(p trial.Point) {
		if p.Seconds >= last.Seconds+10 || !maps.Equal(p.Sizes, last.Sizes) {
			fmt.Println(p)
			last = p
		}
	}}.Run(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s", r)
	if s.plot != "" {
		if err := draw(s.plot, r.Chart(filepath.Base(s.spec))); err != nil {
			return err
		}
		fmt.Printf("drawn in %s\n", s.plot)
	}
	return errors.Join(ctx.Err(), r.Check())
}

func draw(path string, c plot.Chart) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(plot.Write(f, c), f.Close())
}
