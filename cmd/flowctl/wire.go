package main

import (
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/builtin"
	"github.com/flowctl/flowctl/providers/docker"
	"github.com/flowctl/flowctl/providers/embedded"
	"github.com/flowctl/flowctl/providers/libvirt"
	"github.com/flowctl/flowctl/providers/local"
	"github.com/flowctl/flowctl/providers/sim"
	"github.com/flowctl/flowctl/spec"
)

// factories is the one list of providers.
var factories = map[string]providers.Factory{
	"local":       local.Factory,
	docker.Name:   docker.Factory,
	libvirt.Name:  libvirt.Factory,
	"sim":         sim.Factory,
	embedded.Name: embedded.Factory,
	builtin.Name:  builtin.Factory,
}

// specOptions tells the language which providers there are.
func specOptions() spec.Options {
	return spec.Options{
		Providers: providers.Schemas(factories), Runners: providers.Runners(factories), Warmers: providers.Warmers(factories),
		DefaultProvider: "local", Builtin: builtin.Name, Balancer: embedded.Name,
	}
}
