package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

func TestMachinesGrowWithinTheirMaximum(t *testing.T) {
	const gib = engine.GiB
	is := engine.VM{CPUs: 2, Memory: gib, MaxCPUs: 4, MaxMemory: 2 * gib}
	fixed := engine.VM{CPUs: 2, Memory: gib}
	for name, c := range map[string]struct {
		was, will engine.VM
		replace   string
		why       string
	}{
		"more cpus":                     {is, engine.VM{CPUs: 4, Memory: gib, MaxCPUs: 4, MaxMemory: 2 * gib}, "", ""},
		"fewer cpus":                    {is, engine.VM{CPUs: 1, Memory: gib, MaxCPUs: 4, MaxMemory: 2 * gib}, "cpus", "a machine that runs gives no processor back"},
		"a part of a processor":         {is, engine.VM{CPUs: 1.5, Memory: gib, MaxCPUs: 4, MaxMemory: 2 * gib}, "", ""},
		"more memory":                   {is, engine.VM{CPUs: 2, Memory: 2 * gib, MaxCPUs: 4, MaxMemory: 2 * gib}, "", ""},
		"less memory":                   {is, engine.VM{CPUs: 2, Memory: gib / 2, MaxCPUs: 4, MaxMemory: 2 * gib}, "", ""},
		"more cpus without a maximum":   {fixed, engine.VM{CPUs: 3, Memory: gib}, "cpus", "only up to its max_cpus, which it does not have"},
		"more memory without a maximum": {fixed, engine.VM{CPUs: 2, Memory: 2 * gib}, "memory", "only up to its max_memory, which it does not have"},
		"less memory without a maximum": {fixed, engine.VM{CPUs: 2, Memory: gib / 2}, "memory", "only up to its max_memory, which it does not have"},
		"another maximum":               {is, engine.VM{CPUs: 2, Memory: gib, MaxCPUs: 8, MaxMemory: 2 * gib}, "max_cpus", ""},
		"another maximum, and above the old": {is, engine.VM{CPUs: 6, Memory: gib, MaxCPUs: 8, MaxMemory: 2 * gib}, "cpus max_cpus",
			"only up to its max_cpus, which is 4"},
		"both": {is, engine.VM{CPUs: 1, Memory: 3 * gib, MaxCPUs: 4, MaxMemory: 3 * gib}, "cpus max_memory memory",
			"gives no processor back, and a machine that runs gets other memory only up to its max_memory, which is 2GiB"},
		"slots": {fixed, engine.VM{CPUs: 2, Memory: gib, Slots: 3}, "", ""},
	} {
		prior := engine.Object{Value: engine.Encode(c.was)}
		p := engine.Difference(engine.KindVM, prior.Value, engine.Encode(c.will))
		p.Prior = &prior
		got := refineVM(p)
		if strings.Join(got.ReplacePaths, " ") != c.replace || !strings.Contains(got.Why, c.why) || c.why == "" && got.Why != "" {
			t.Errorf("%s: replaced for %q: %q; want %q: %q", name, got.ReplacePaths, got.Why, c.replace, c.why)
		}
	}
	prior := engine.Object{Value: engine.Encode(is)}
	unknown := engine.With(prior.Value, map[string]cty.Value{"cpus": cty.UnknownVal(cty.Number)})
	if got := refineVM(engine.Proposal{Prior: &prior, Want: unknown, Changed: []string{"cpus"}}); strings.Join(got.ReplacePaths, " ") != "cpus" {
		t.Errorf("what is not known yet is planned to change in place: %v", got.ReplacePaths)
	}
}

// hotplug is a guest whose processors its agent switches on.
type hotplug struct {
	guest
	has   []guestCPU
	late  int // how often it is asked before it finds its last processor
	order int // how often it was told to switch some on
}

func (g *hotplug) Agent(name, command string, p time.Duration) (string, error) {
	var c struct {
		Execute   string
		Arguments struct{ VCPUs []guestCPU }
	}
	if err := json.Unmarshal([]byte(command), &c); err != nil {
		return "", err
	}
	var answer any = len(c.Arguments.VCPUs)
	switch c.Execute {
	case "guest-get-vcpus":
		answer = g.has[:len(g.has)-min(1, g.late)]
		g.late = max(0, g.late-1)
	case "guest-set-vcpus":
		g.order++
		for _, on := range c.Arguments.VCPUs {
			g.has[on.ID].Online = on.Online
		}
	default:
		return g.guest.Agent(name, command, p)
	}
	text, err := json.Marshal(map[string]any{"return": answer})
	return string(text), err
}

func TestGuestsUseTheProcessorsThatTheyGet(t *testing.T) {
	g := &hotplug{guest: guest{state: "running", silent: 1}, has: []guestCPU{{0, true}, {1, false}, {2, false}}, late: 2}
	if err := online(t.Context(), g, "m", 3); err != nil || !g.has[1].Online || !g.has[2].Online || g.order != 2 {
		t.Errorf("%v, %+v", err, g)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("no more patience"))
	defer cancel()
	if err := online(ctx, g, "m", 4); err == nil || !strings.Contains(err.Error(), "has 4 processors, and its guest has found 3 of them: no more patience") {
		t.Errorf("a guest that does not find all: %v", err)
	}
}

func TestSnapshotsHaveThePluggedProcessorsFromTheStart(t *testing.T) {
	const cpus = "<vcpus>\n<vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>\n<vcpu id='1' enabled='yes' hotpluggable='%s' order='2'/>\n<vcpu id='2' enabled='no' hotpluggable='yes'/>\n</vcpus>"
	if got, want := settledCPUs(strings.ReplaceAll(cpus, "%s", "yes")), strings.ReplaceAll(cpus, "%s", "no"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
