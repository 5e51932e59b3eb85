package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/spf13/cobra"
	"github.com/zclconf/go-cty/cty"
)

func (a *app) outputCommand() *cobra.Command {
	var f args.Flow
	var asJSON, raw bool
	var spec string
	c := &cobra.Command{
		Use: "output [NAME]", Short: "Show the outputs of the last apply", Args: cobra.MaximumNArgs(1),
		Long: "Shows all outputs, or one. A sensitive one is shown only when it is asked for by name.\n\n  curl $(flowctl output -raw url)",
		RunE: func(cmd *cobra.Command, argv []string) error {
			f.Path = spec
			s, err := a.locate(f)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.open(cmd.Context(), false); err != nil {
				return err
			}
			if err := s.needState(); err != nil {
				return err
			}
			snap, err := s.store.Snapshot(cmd.Context())
			if err != nil {
				return err
			}
			if len(argv) == 0 {
				if asJSON {
					a.writeJSON(view.OutputsJSON(snap.Outputs))
					return nil
				}
				fmt.Fprint(a.out, view.Outputs(snap.Outputs, ""))
				return nil
			}
			o, ok := snap.Outputs[argv[0]]
			if !ok {
				return fmt.Errorf("there is no output %q; there is %q", argv[0], slices.Sorted(maps.Keys(snap.Outputs)))
			}
			switch {
			case asJSON:
				fmt.Fprintf(a.out, "%s\n", view.ValueJSON(o.Value))
			case raw:
				if t := o.Value.Type(); !o.Value.IsNull() && t != cty.String && t != cty.Number && t != cty.Bool {
					return args.Usagef("the output %q is a %s; -raw writes strings, numbers and booleans, -json everything", argv[0], t.FriendlyName())
				}
				fmt.Fprint(a.out, view.Raw(o.Value))
			default:
				fmt.Fprintln(a.out, view.Value(o.Value))
			}
			return nil
		},
	}
	specFlag(c, &spec)
	f.Register(c.Flags(), false)
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	c.Flags().BoolVar(&raw, "raw", false, "write one string as it is, without quotes and newline")
	return c
}

// specFlag adds the flag that names the spec for commands whose arguments are
// something else.
func specFlag(c *cobra.Command, spec *string) {
	c.Flags().StringVar(spec, "spec", "", "the spec file or its folder (default: the current folder)")
}
