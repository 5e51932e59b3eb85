package main

import (
	"github.com/spf13/cobra"
)

func (a *app) consoleCommand() *cobra.Command {
	return &cobra.Command{Use: "console"}
}
