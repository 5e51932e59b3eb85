package main

import (
	"fmt"

	"github.com/flowctl/flowctl/providers/libvirt/machine"
	"github.com/spf13/cobra"
)

func (a *app) diskCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "disk", Short: "What virtual machines start from",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.diskBuildCommand())
	return c
}

func (a *app) diskBuildCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "build", Short: "Build the small Docker machine", Args: cobra.NoArgs,
		Long: "Builds the machine that the libvirt provider starts when a vm names no image: busybox, a\nkernel, the Docker engine and ssh, from Debian's packages. It is built once, and again\nwhen this flowctl makes it of other parts. The folder has disk.qcow2, kernel and initrd.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := out, error(nil)
			if dir == "" {
				dir, err = machine.Dir()
			}
			if err != nil {
				return err
			}
			built, err := machine.Build(cmd.Context(), dir, a.err)
			if err != nil {
				return err
			}
			verb := map[bool]string{true: "Built", false: "There already:"}[built]
			fmt.Fprintf(a.out, "%s %s\n", verb, dir)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "the folder to build in; flowctl's cache, if not set")
	return c
}
