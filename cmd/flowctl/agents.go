package main

import (
	"log/slog"

	"github.com/flowctl/flowctl/internal/agent"
	"github.com/flowctl/flowctl/internal/lb"
	"github.com/flowctl/flowctl/providers/embedded"
	"github.com/flowctl/flowctl/providers/local"
	"github.com/spf13/cobra"
)

// The hidden subcommands are the background processes of a flow.

func (a *app) machineAgentCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: local.AgentCommand, Short: "Be a machine of the local provider", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return agent.Serve(cmd.Context(), agent.ServeOptions{Dir: dir, Log: a.daemonLog()})
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the machine's folder")
	c.MarkFlagRequired("dir")
	return c
}

func (a *app) frontendAgentCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: embedded.ProxyCommand, Short: "Be the data plane of a flow", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return lb.Serve(cmd.Context(), lb.ServeOptions{Dir: dir, Log: a.daemonLog()})
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the data plane's folder")
	c.MarkFlagRequired("dir")
	return c
}

// daemonLog is the log of a background process: its error stream goes to a file.
func (a *app) daemonLog() *slog.Logger { return slog.New(slog.NewTextHandler(a.err, nil)) }
