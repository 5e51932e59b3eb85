package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/load"
	"github.com/flowctl/flowctl/internal/plot"
	"github.com/flowctl/flowctl/runtime/elastic"
	"github.com/flowctl/flowctl/runtime/simulate"
	"github.com/spf13/cobra"
)

const simulateHelp = `Replays a load through the scaling rules of a spec on a clock of its own: the same
decisions and the same placement as live, on replicas and machines that take as long
to start as they are said to. Nothing is made, and no state is read. Prints how well
the sizes followed what was needed, and what that cost.

  flowctl simulate -shape=spike examples/two-tier.hcl
  flowctl simulate -trace=load.csv -plot=out.svg -compare=other.hcl flow.hcl
  flowctl simulate -shape=noisy-diurnal -fail-if='slo_violation > 1%' flow.hcl

'flowctl record' writes traces that -trace reads, and so does 'flowctl load -csv'. Every
function with a scaling block gets the whole load.`

func (a *app) simulateCommand() *cobra.Command {
	var f args.Flow
	var s args.Simulate
	var asJSON bool
	c := &cobra.Command{
		Use: "simulate [PATH]", Short: "Try scaling rules on a load, without making anything", Long: simulateHelp, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = path(argv)
			s.LengthGiven = cmd.Flags().Changed("length")
			if err := s.Check(); err != nil {
				return err
			}
			return a.simulate(f, s, asJSON)
		},
	}
	s.Register(c.Flags(), load.Classics)
	f.RegisterVars(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "write the figures, and every change of a size with its reason, as JSON")
	return c
}

func (a *app) simulate(f args.Flow, s args.Simulate, asJSON bool) error {
	var limits []args.Limit
	for _, text := range s.FailIf {
		l, err := args.ParseLimit(text)
		if err != nil {
			return err
		}
		limits = append(limits, l)
	}
	for _, name := range s.Figures {
		if _, ok := view.Figure(elastic.Figures{}, name); !ok {
			return args.Usagef("-figures: there is no figure %q; -json shows them all", name)
		}
	}
	sim, err := a.simulateAll(f, s)
	if err != nil {
		return err
	}
	broken, err := judge(sim.Specs[0], limits)
	if err != nil {
		return err
	}
	if asJSON {
		a.writeJSON(view.SimulationJSON(sim, broken))
	} else {
		fmt.Fprint(a.out, view.Simulated(sim, s.Figures, a.outStyle()))
	}
	if s.Plot != "" {
		if err := draw(s.Plot, sim); err != nil {
			return err
		}
	}
	if len(broken) > 0 {
		for _, b := range broken {
			fmt.Fprintf(a.err, "%s %s\n", a.errStyle().Bad("Failed:"), b)
		}
		return shown(exitError)
	}
	return nil
}

// simulateAll simulates the spec and those that it is compared with, on the same
// loads.
func (a *app) simulateAll(f args.Flow, s args.Simulate) (view.Simulation, error) {
	var sim view.Simulation
	var shapes []load.Shape
	for i, p := range append([]string{f.Path}, s.Compare...) {
		of := f
		of.Path = p
		in, err := a.simulated(of, s)
		if err != nil {
			return sim, err
		}
		if i == 0 {
			if shapes, sim.Load, err = loads(s, in); err != nil {
				return sim, err
			}
		}
		sim.Length = shapes[0].Duration
		sim.Specs = append(sim.Specs, view.SimulatedSpec{Name: specName(p), Result: repeated(in, shapes)})
	}
	return sim, nil
}

// repeated simulates several loads. The result is that of the first, but for the
// figures, which are medians.
func repeated(in simulate.Input, shapes []load.Shape) simulate.Result {
	var first simulate.Result
	var figures [][]elastic.Figures // by group
	for i, shape := range shapes {
		in.Load, in.Length = shape.Rate, shape.Duration
		res := simulate.Run(in)
		if i == 0 {
			first, figures = res, make([][]elastic.Figures, len(res.Groups))
		}
		for g := range res.Groups {
			figures[g] = append(figures[g], res.Groups[g].Figures)
		}
	}
	for g := range first.Groups {
		first.Groups[g].Figures = elastic.Median(figures[g])
	}
	return first
}

// simulated reads a spec and takes from it what can be simulated.
func (a *app) simulated(f args.Flow, s args.Simulate) (simulate.Input, error) {
	session, err := a.readSpec(f, false)
	if err != nil {
		return simulate.Input{}, err
	}
	session.show(session.diags)
	in, err := simulate.Of(session.desired)
	if err != nil {
		return in, err
	}
	ruled := false
	for _, r := range in.Rules {
		ruled = ruled || r.Target.Kind == engine.KindFunction
		for _, m := range r.Metrics {
			if m.Name == "memory" {
				session.show(engine.Diagnostics{{Severity: engine.Warning, Summary: "Metric that cannot be simulated",
					Detail: fmt.Sprintf("What a load does to memory is not known, so the metric is missing throughout, and %s does not shrink.", r.Target)}})
			}
		}
	}
	if !ruled {
		return in, fmt.Errorf("no function of the flow %q has a scaling block, so there is nothing to simulate", session.desired.Flow)
	}
	start, err := s.At()
	in.Model = simulate.Model{
		Capacity: s.Capacity, Service: s.Service, Boot: s.Boot, Drain: s.Drain,
		MachineBoot: s.MachineBoot, MachineTake: s.MachineTake, MachineDrain: s.MachineDrain, Start: start,
	}
	return in, err
}

// loads makes the loads of the flags, and says what they are.
func loads(s args.Simulate, in simulate.Input) ([]load.Shape, string, error) {
	if s.Trace != "" {
		shape, err := recorded(s)
		return []load.Shape{shape}, s.Trace, err
	}
	if s.Peak == 0 {
		s.Peak = 0.8 * simulate.Most(in)
	}
	var all []load.Shape
	for i := range s.Repeat {
		trace, err := load.Classic(s.Shape, s.Peak, s.Length, rand.New(rand.NewPCG(s.Seed+uint64(i), 0)))
		if err != nil {
			return nil, "", args.Usage(err)
		}
		all = append(all, load.Shape{Mode: load.Replay, Duration: s.Length, Trace: trace})
	}
	what := fmt.Sprintf("%s of %.0f requests/s", s.Shape, s.Peak)
	if s.Repeat > 1 {
		what += fmt.Sprintf(", the median of %d", s.Repeat)
	}
	return all, what, nil
}

// recorded reads a trace.
func recorded(s args.Simulate) (load.Shape, error) {
	shape := load.Shape{Mode: load.Replay, Duration: s.Length}
	f, err := os.Open(s.Trace)
	if err != nil {
		return shape, err
	}
	defer f.Close()
	if shape.Trace, err = load.ReadTrace(f); err != nil {
		return shape, fmt.Errorf("read %s: %w", s.Trace, err)
	}
	if !s.LengthGiven || shape.Duration > shape.Trace.Duration() {
		shape.Duration = shape.Trace.Duration()
	}
	if shape.Duration > args.LongestSimulation {
		return shape, fmt.Errorf("read %s: the trace lasts %v, and a simulation takes 31 days at most; say how much of it with -length", s.Trace, shape.Duration)
	}
	if shape.Duration < time.Second {
		return shape, fmt.Errorf("read %s: the trace is shorter than a second", s.Trace)
	}
	return shape, nil
}

// judge says which limits a spec breaks.
func judge(s view.SimulatedSpec, limits []args.Limit) ([]string, error) {
	var broken []string
	for _, l := range limits {
		met := false
		for _, g := range s.Result.Groups {
			if l.Target != "" && l.Target != g.Target.String() || l.Target == "" && g.Target.Kind != engine.KindFunction {
				continue
			}
			v, ok := view.Figure(g.Figures, l.Figure)
			if !ok {
				return nil, args.Usagef("-fail-if %q: there is no figure %q; -json shows them all", l.Text, l.Figure)
			}
			if met = true; l.Broken(v) {
				broken = append(broken, fmt.Sprintf("%s: %s is %.4g (-fail-if %q)", g.Target, l.Figure, v, l.Text))
			}
		}
		if !met {
			return nil, args.Usagef("-fail-if %q: nothing called %q scales in this flow", l.Text, l.Target)
		}
	}
	return broken, nil
}

func draw(path string, s view.Simulation) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(plot.Write(f, view.SimulationChart(s)), f.Close())
}

// specName is what a spec is called in a table.
func specName(path string) string {
	if path == "" || path == "." {
		return "this flow"
	}
	return filepath.Base(path)
}
