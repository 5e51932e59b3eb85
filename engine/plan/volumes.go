package plan

import (
	"fmt"
	"strings"

	"github.com/flowctl/flowctl/engine"
)

// sharing warns of replicas that alone write to a volume with a name, and will
// share it with their successors for a while.
func (c *computer) sharing() {
	for i := range c.in.Desired.Decls {
		d := &c.in.Desired.Decls[i]
		members := c.members[d.Address]
		if d.Address.Kind != engine.KindFunction || len(members) != 1 {
			continue // more than one share it anyhow
		}
		ch := c.changeOf(members[0])
		if ch == nil || ch.Action != engine.Replace || !ch.CreateFirst || c.machine[ch.Address].Machine != c.machine[ch.Address].Was {
			continue
		}
		c.shares(ch, &d.Source, "write update { max_surge = 0 }")
	}
}

// shares warns of a replica that shares a volume with its successor, and says how else
// it would be.
func (c *computer) shares(ch *engine.Change, source *engine.Range, otherwise string) {
	var names []string
	for _, v := range engine.MustDecode[engine.Replica](ch.Planned).Volumes {
		if v.Name != "" && !v.ReadOnly {
			names = append(names, fmt.Sprintf("%q", v.Name))
		}
	}
	if len(names) > 0 {
		c.diags = append(c.diags, engine.Diagnostic{
			Severity: engine.Warning, Summary: "Volume with two writers", Address: ch.Address.Group(), Source: source,
			Detail: fmt.Sprintf("%s is replaced by a new replica that starts before the old one ends, so for a while both have the volume %s. If its program cannot bear that, %s.", ch.Address, strings.Join(names, " and "), otherwise),
		})
	}
}
