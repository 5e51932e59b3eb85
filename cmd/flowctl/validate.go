package main

import (
	"fmt"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/spf13/cobra"
)

func (a *app) validateCommand() *cobra.Command {
	var f args.Flow
	var asJSON bool
	c := &cobra.Command{
		Use: "validate [PATH]", Short: "Check a spec", Args: cobra.MaximumNArgs(1),
		Long: "Parses a spec and checks it for all that can be told without looking at the world:\nnames, types, cycles, sizes that can never fit. Everything is reported at once.\nThe exit status is 3 when the spec is invalid.",
		RunE: func(_ *cobra.Command, argv []string) error {
			f.Path = path(argv)
			s, err := a.readSpec(f, asJSON)
			if err != nil {
				return err
			}
			if asJSON {
				a.writeJSON(view.Validate(s.diags, s.sources))
				return nil
			}
			s.show(s.diags)
			fmt.Fprintf(a.out, "%s The flow %q is valid.\n", a.outStyle().Good("Success!"), s.desired.Flow)
			return nil
		},
	}
	f.Register(c.Flags(), true)
	c.Flags().BoolVar(&asJSON, "json", false, "write the findings as JSON")
	return c
}
