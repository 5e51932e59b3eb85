package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/spec"
	"github.com/spf13/cobra"
)

func (a *app) suspendCommand() *cobra.Command {
	return a.orderCommand(engine.Suspend, "Suspend replicas or machines", `Lets replicas leave their frontends, drained, and holds them where they are: containers
are paused, programs stopped. A machine stands for everything that runs on it, and takes
no further replica; it is suspended itself if its provider can do that. What is suspended
stays so, whatever apply does, until it is resumed, replaced or deleted.

  flowctl suspend function.web[2]
  flowctl suspend vm.node[0]`)
}

func (a *app) resumeCommand() *cobra.Command {
	return a.orderCommand(engine.Resume, "Let what was suspended go on", `Lets suspended replicas go on, waits until they are healthy, and lets them join their
frontends again.

  flowctl resume vm.node[0]`)
}

func (a *app) restartCommand() *cobra.Command {
	return a.orderCommand(engine.Restart, "Restart replicas, one after the other", `Restarts replicas in place, at the same addresses. Each leaves its frontends, drained,
before it restarts, and joins them again when it is healthy; of one function, so many
are under way at once as the max_unavailable of its update block says. With
max_unavailable = 0 each is replaced by another that is the same and starts first, so
many at once as max_surge says. A machine stands for everything that runs on it.

  flowctl restart function.web
  flowctl restart vm.node[0]`)
}

// orderCommand makes the command for an order.
func (a *app) orderCommand(action engine.Action, short, long string) *cobra.Command {
	var f args.Flow
	var p args.Plan
	var o args.Apply
	kinds := []engine.Kind{engine.KindFunction, engine.KindVM, engine.KindHost}
	c := &cobra.Command{
		Use: action.String() + " ADDRESS ...", Short: short, Long: long,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeAddresses(kinds...),
		RunE: func(cmd *cobra.Command, argv []string) error {
			s, err := a.locate(f)
			if err != nil {
				return err
			}
			defer s.close()
			r := runtime.OrderRequest{Action: action}
			if action == engine.Restart {
				r.Desired = s.policies()
			}
			return s.change(cmd.Context(), change{
				command: action.String(), again: s.againOn(action.String(), argv, slices.Concat(p.Words(), s.given())...), parallelism: s.parallelism(p),
				plan: func() (runtime.Planned, engine.Diagnostics, error) { return s.order(cmd.Context(), r, argv, kinds) },
				sure: func(engine.Plan) bool { return true },
			}, o)
		},
	}
	specFlag(c, &f.Path)
	f.Register(c.Flags(), action == engine.Restart)
	p.RegisterPace(c.Flags())
	o.RegisterRun(c.Flags())
	c.Flags().BoolVar(&o.AutoApprove, "auto-approve", false, "for scripts that give it to every command; this one never asks")
	return c
}

func (s *session) order(ctx context.Context, r runtime.OrderRequest, argv []string, kinds []engine.Kind) (runtime.Planned, engine.Diagnostics, error) {
	snap, err := s.store.Snapshot(ctx)
	if err != nil {
		return runtime.Planned{}, nil, err
	}
	if r.Targets, err = addresses(argv, snap.Objects, kinds); err != nil {
		return runtime.Planned{}, nil, err
	}
	if _, err := s.pick(ctx, argv, kinds...); err != nil {
		return runtime.Planned{}, nil, err
	}
	return s.flow.Order(ctx, r)
}

// policies reads how replicas may be replaced from the spec. The order goes by the
// state, so one that is not in order is no obstacle.
func (s *session) policies() engine.Desired {
	d, diags := spec.Load(s.bundle, specOptions())
	if !diags.HasErrors() {
		s.desired.Hidden = d.Hidden
		return d
	}
	s.diags = engine.Diagnostics{{
		Severity: engine.Warning, Summary: "Update policies not known",
		Detail: fmt.Sprintf("The spec %s is not in order (see flowctl validate), so of each function one replica at a time restarts.", s.bundle.Path),
	}}
	return engine.Desired{}
}
