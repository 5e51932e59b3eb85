package docker

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// checkReplica finds what a container cannot be. Whether its image is there is
// known only where it is to run.
func (d *Docker) checkReplica(_ context.Context, a engine.Address, want engine.Replica, _ *engine.Replica) engine.Diagnostics {
	var diags engine.Diagnostics
	fault := func(summary, format string, args ...any) {
		diags = append(diags, engine.Diagnostic{Summary: summary, Address: a, Detail: fmt.Sprintf(format, args...)})
	}
	warn := func(summary, format string, args ...any) {
		fault(summary, format, args...)
		diags[len(diags)-1].Severity = engine.Warning
	}
	if h := want.Health; h != nil && (h.HTTP != "" || h.TCP) && want.Port == 0 {
		fault("Health check without a port", "%s is to be checked over the network, but has no port. Write port = N, the one that the program listens on in its container, or use health.exec.", a.Group())
	}
	diags = append(diags, engine.CheckFiles(a, want.Files)...)
	for _, f := range want.Files {
		if want.ReadOnly && f.OnChange != "" && f.OnChange != "replace" {
			warn("File that cannot change in place", "%s has read_only = true, so its replicas are replaced when %s changes, whatever on_change says.", a.Group(), f.Path)
		}
	}
	for _, v := range want.Volumes {
		switch {
		case v.Path != "" && !path.IsAbs(v.Path):
			fault("Volume without an absolute path", "%s has a volume %q. Write where it is in the container, beginning with a slash.", a.Group(), v.Path)
		case v.Source != "" && !path.IsAbs(v.Source):
			fault("Volume without an absolute source", "%s mounts source = %q. Write an absolute path of the host.", a.Group(), v.Source)
		case v.Source != "" && v.Name != "":
			fault("Volume with two sources", "%s has a volume %s with a name and a source. Remove one of them.", a.Group(), v.Path)
		}
	}
	return diags
}

// refineReplica knows which nested settings a container keeps from its creation:
// how it is stopped and the check that its engine makes; and what it will be called.
func refineReplica(p engine.Proposal) engine.Proposal {
	if p.Prior == nil {
		if port := p.Want.GetAttr("port"); port.IsKnown() { // so others that refer to it need not wait to know it
			r := engine.MustDecode[engine.Replica](p.Want)
			p.Want = engine.With(p.Want, map[string]cty.Value{"network_address": cty.StringVal(networkAddress(p.Address, r.Port))})
		}
		return p
	}
	var was, want engine.Replica
	if engine.Decode(p.Prior.Value, &was) != nil || engine.Decode(p.Want, &want) != nil {
		return p
	}
	signal := func(r engine.Replica) string {
		if r.Stop == nil {
			return ""
		}
		return r.Stop.Signal
	}
	if !shelved(was) && !shelved(want) { // what is bound stays what it was
		p = engine.FilesInPlace(p)
	}
	own := func(r engine.Replica) string { return fmt.Sprint(healthcheck(r.Health)) }
	replace := func(name string) {
		if slices.Contains(p.Changed, name) && !slices.Contains(p.ReplacePaths, name) {
			p.ReplacePaths = slices.Sorted(slices.Values(append(slices.Clone(p.ReplacePaths), name)))
		}
	}
	if signal(was) != signal(want) {
		replace("stop")
	}
	if own(was) != own(want) {
		replace("health")
	}
	return p
}
