package main

import (
	"slices"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/spec"
	"github.com/spf13/cobra"
)

func (a *app) scaleCommand() *cobra.Command {
	var f args.Flow
	var p args.Plan
	var o args.Apply
	c := &cobra.Command{
		Use: "scale NAME=SIZE ...", Short: "Set the size of a function or a vm by hand", Args: cobra.MinimumNArgs(1),
		Long: "Plans and applies like apply, with another number of replicas or machines than the spec\nsays. It asks only if the plan does more than that.\n\n  flowctl scale web=5 api=2\n  flowctl scale vm.node=3    or node=3, if no function is called node\n  flowctl scale web=spec     the size in the spec again\n\nThe size holds until it is given back, or until the spec says another number than it did:\nplan and status show it as '5 (by hand; the spec says 3)'. What a scaling block sizes\ncannot be scaled by hand.",
		RunE: func(cmd *cobra.Command, argv []string) error {
			sizes, err := args.Sizes(argv)
			if err != nil {
				return err
			}
			s, err := a.readSpec(f, o.Progress == args.JSON)
			if err != nil {
				return err
			}
			defer s.close()
			hands, err := s.hands(sizes)
			if err != nil {
				return err
			}
			return s.change(cmd.Context(), change{
				command: "scale", again: s.againOn("scale", argv, slices.Concat(p.Words(), s.given(), o.Words())...), parallelism: s.parallelism(p),
				plan: func() (runtime.Planned, engine.Diagnostics, error) {
					if diags := runtime.CheckHands(s.desired, hands); diags.HasErrors() {
						return runtime.Planned{}, diags, nil
					}
					r, err := s.request(p)
					if err != nil {
						return runtime.Planned{}, nil, err
					}
					r.Hands = hands
					return s.flow.Plan(cmd.Context(), r)
				},
				sure: func(p engine.Plan) bool {
					var groups []engine.Address
					for g := range hands {
						groups = append(groups, g)
					}
					return p.Resizes(groups)
				},
			}, o)
		},
	}
	specFlag(c, &f.Path)
	f.Register(c.Flags(), true)
	p.RegisterPace(c.Flags())
	o.Register(c.Flags())
	return c
}

// hands finds the groups whose sizes are ordered. A bare name is a vm's if no function
// has it.
func (s *session) hands(sizes []args.Size) (map[engine.Address]int, error) {
	var known []string
	groups := map[engine.Address]bool{}
	for _, f := range s.desired.Functions {
		groups[f.Address] = true
	}
	for _, m := range s.desired.Machines {
		if m.Address.Kind.Sized() {
			groups[m.Address] = true
		}
	}
	for g := range groups {
		known = append(known, g.String())
	}
	slices.Sort(known)
	hands := map[engine.Address]int{}
	for _, size := range sizes {
		if vm := size.Group; size.Bare && !groups[size.Group] {
			if vm.Kind = engine.KindVM; groups[vm] {
				size.Group = vm
			}
		}
		if !groups[size.Group] {
			return nil, args.Usagef("the flow has no %s.%s", size.Group, spec.DidYouMean(size.Group.String(), known))
		}
		if _, twice := hands[size.Group]; twice {
			return nil, args.Usagef("%s is named twice", size.Group)
		}
		hands[size.Group] = size.Size
		if size.Size == args.SpecSize {
			hands[size.Group] = runtime.SpecSize
		}
	}
	return hands, nil
}
