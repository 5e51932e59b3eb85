package view

import (
	"fmt"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// writeBackend writes a backend's change on one line: it follows from others.
func (e entry) writeBackend(b *strings.Builder, p engine.Plan, s Style) {
	frontend, replica := e.first.Address.Membership()
	does := map[engine.Action]string{
		engine.Create: "joins", engine.Update: "is put right in", engine.Delete: "leaves, drained,",
		engine.Replace: "changes places with its successor in", engine.NoOp: "has a leftover in",
	}[e.first.Action]
	if e.first.Action == engine.Replace && p.Find(replica) != nil && p.Find(replica).Pauses() {
		does = "leaves, drained, and joins again:"
	}
	r := entry{first: &engine.Change{Address: replica}}
	for _, c := range e.all {
		_, x := c.Address.Membership()
		r.all = append(r.all, engine.Change{Address: x})
	}
	line := fmt.Sprintf("%s %s %s %s", sign(*e.first, s), r.names(), does, frontend)
	if why := e.first.Why; why != "" && e.first.Action != engine.Create {
		line += s.dim(" (" + why + ")")
	}
	b.WriteString(line + "\n\n")
}

// writeDelivery writes a delivery's change on one line: it follows from others.
func (e entry) writeDelivery(b *strings.Builder, s Style) {
	image, machine := e.first.Address.Consignment()
	does := map[engine.Action]string{
		engine.Create: "is brought to", engine.Update: "is brought anew to", engine.Delete: "is removed from",
		engine.Replace: "is brought anew to", engine.NoOp: "has a leftover on",
	}[e.first.Action]
	m := entry{first: &engine.Change{Address: machine}}
	for _, c := range e.all {
		_, x := c.Address.Consignment()
		m.all = append(m.all, engine.Change{Address: x})
	}
	line := fmt.Sprintf("%s %s %s %s", sign(*e.first, s), image, does, m.names())
	if v := e.first.Planned; e.first.Action != engine.Delete && e.first.Action != engine.NoOp && v != cty.NilVal {
		how := map[string]string{"pull": ", which pulls it", "push": ", sent by the host that makes it"}
		line += how[engine.Object{Value: v}.Attr("distribute")]
	}
	if why := e.first.Why; why != "" {
		line += s.dim(" (" + why + ")")
	}
	b.WriteString(line + "\n\n")
}
