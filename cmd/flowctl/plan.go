package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
	"github.com/spf13/cobra"
)

func (a *app) planCommand() *cobra.Command {
	var f args.Flow
	var p args.Plan
	var out string
	var detailed, asJSON bool
	c := &cobra.Command{
		Use: "plan [PATH]", Short: "Show what apply would change", Args: cobra.MaximumNArgs(1),
		Long: "Looks at what there is, compares it with the spec, and shows what apply would change\nand why. Nothing is changed.\n\n  flowctl plan -out=plan.flow && flowctl apply plan.flow\n\napplies just what was shown, or nothing if the state has moved on since.",
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = path(argv)
			s := &session{app: a, args: f}
			defer s.close()
			opts := specOptions()
			opts.Named = func(flow string) { s.openAhead(cmd.Context(), flow) }
			if err := s.load(opts, asJSON); err != nil {
				return err
			}
			return s.plan(cmd.Context(), p, out, detailed, asJSON)
		},
	}
	f.Register(c.Flags(), true)
	p.Register(c.Flags(), true)
	c.Flags().StringVar(&out, "out", "", "save the plan to this file, for apply (it may hold secrets)")
	c.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit with 2 if there are changes, 0 if there are none")
	c.Flags().BoolVar(&asJSON, "json", false, "write the plan as JSON")
	return c
}

// request turns flags into what the pipeline takes.
func (s *session) request(p args.Plan) (runtime.Request, error) {
	targets, err := args.Addresses(p.Targets)
	if err != nil {
		return runtime.Request{}, err
	}
	replace, err := args.Addresses(p.Replace)
	if err != nil {
		return runtime.Request{}, err
	}
	r := runtime.Request{Desired: s.desired, Destroy: p.Destroy, Targets: targets, Replace: replace, NoRefresh: !p.Refresh, Parallelism: s.parallelism(p)}
	if err := s.known(targets, "the flow has no"); err != nil {
		return r, err
	}
	return r, s.replaceable(replace)
}

// parallelism is the flag's, or else the flow's own, or else the default.
func (s *session) parallelism(p args.Plan) int {
	switch {
	case p.Parallelism > 0:
		return p.Parallelism
	case s.desired.Parallelism > 0:
		return s.desired.Parallelism
	default:
		return runtime.DefaultParallelism
	}
}

// known checks addresses against the spec and the state.
func (s *session) known(addrs []engine.Address, what string) error {
	if len(addrs) == 0 {
		return nil
	}
	names := map[engine.Address]bool{}
	for _, d := range s.desired.Decls {
		names[d.Address], names[d.Address.Block()] = true, true
	}
	if s.store != nil {
		snap, err := s.store.Snapshot(context.Background())
		if err != nil {
			return err
		}
		for _, o := range snap.Objects {
			names[o.Address], names[o.Address.Group()], names[o.Address.Block()] = true, true, true
		}
	}
	for _, a := range addrs {
		if !names[a] && !names[a.Group()] {
			return args.Usagef("%s %s", what, a)
		}
	}
	return nil
}

// replaceable fails for addresses of which nothing exists that could be replaced.
func (s *session) replaceable(addrs []engine.Address) error {
	if len(addrs) == 0 {
		return nil
	}
	names := map[engine.Address]bool{}
	if s.store != nil {
		snap, err := s.store.Snapshot(context.Background())
		if err != nil {
			return err
		}
		for _, o := range snap.Objects {
			names[o.Address], names[o.Address.Group()] = true, true
		}
	}
	for _, a := range addrs {
		if !names[a] {
			return args.Usagef("there is no %s to replace; 'flowctl state list' tells what there is", a)
		}
	}
	return nil
}

func (s *session) plan(ctx context.Context, p args.Plan, out string, detailed, asJSON bool) error {
	if err := s.open(ctx, false); err != nil {
		return err
	}
	r, err := s.request(p)
	if err != nil {
		return err
	}
	planned, diags, err := s.planSettled(ctx, r)
	if err != nil {
		return err
	}
	s.warnIfBusy(ctx)
	diags = append(s.diags, diags...)
	if asJSON {
		s.app.writeJSON(view.PlanJSON(planned.Plan, diags, s.sources))
	} else {
		s.show(diags)
	}
	if diags.HasErrors() {
		return shown(exitError)
	}
	if !asJSON {
		io.WriteString(s.app.out, view.Plan(planned.Plan, s.app.outStyle()))
	}
	if out != "" {
		if err := s.save(planned, diags, out); err != nil {
			return err
		}
		if !asJSON {
			fmt.Fprintf(s.app.out, "\nSaved to %s. To do just this:\n  flowctl apply %s\n", out, out)
		}
	}
	if detailed && !planned.Plan.Empty() {
		return shown(exitChanges)
	}
	if detailed && len(planned.Plan.Away()) > 0 {
		return shown(exitError) // there may be changes
	}
	return nil
}

// settleTime is how long a plan waits for what the controller has under way.
const settleTime = 10 * time.Second

// planSettled plans, and plans again while it is the controller that is about to do what
// the plan says: half of what it is doing is no change that anybody has to make.
func (s *session) planSettled(ctx context.Context, r runtime.Request) (runtime.Planned, engine.Diagnostics, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for begun := s.app.now(); ; {
		planned, diags, err := s.flow.Plan(ctx, r)
		if err != nil || planned.Plan.Empty() || s.store == nil || s.app.now().Sub(begun) > settleTime || !s.underWay(ctx, planned.Snapshot.Serial) {
			return planned, diags, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return planned, diags, context.Cause(ctx)
		}
	}
}

// underWay reports whether the controller changes the flow, or has since a serial.
func (s *session) underWay(ctx context.Context, serial int64) bool {
	h, err := s.store.Holder(ctx, state.ApplyLock)
	if err != nil {
		return false
	}
	if h != nil && runtime.Alive(*h) {
		return h.Command == runtime.ControllerCommand
	}
	v, err := s.store.Version(ctx)
	return err == nil && v.Serial != serial
}

// warnIfBusy says that what is shown may be changing.
func (s *session) warnIfBusy(ctx context.Context) {
	if s.store == nil {
		return
	}
	h, err := s.store.Holder(ctx, state.ApplyLock)
	if err != nil || h == nil || !runtime.Alive(*h) {
		return
	}
	s.show(engine.Diagnostics{{
		Severity: engine.Warning, Summary: "The flow is being changed",
		Detail: fmt.Sprintf("%s has been running since %s (process %d of %s on %s), so this may be out of date when it ends.", h.Command, h.Since.Local().Format("15:04:05"), h.PID, h.User, h.Host),
	}})
}

func (s *session) save(p runtime.Planned, diags engine.Diagnostics, out string) error {
	bundle, err := json.Marshal(s.bundle)
	if err != nil {
		return err
	}
	shape, err := json.Marshal(view.PlanJSON(p.Plan, diags, s.sources))
	if err != nil {
		return err
	}
	content, err := runtime.Save(p, bundle, shape, version(), s.app.now())
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, content, 0o600); err != nil {
		return fmt.Errorf("save the plan: %w", err)
	}
	return nil
}

// savedPlan reads a file that holds a saved plan; ok is false if it holds
// something else.
func savedPlan(path string) (p runtime.SavedPlan, ok bool, err error) {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return p, false, nil // whatever is wrong, reading the spec will say it
	}
	content, err := os.ReadFile(path)
	if err != nil || !runtime.IsSaved(content) {
		return p, false, nil
	}
	p, err = runtime.ReadSaved(content)
	if err != nil {
		err = errors.Join(args.Usagef("%s cannot be used", path), err)
	}
	return p, true, err
}
