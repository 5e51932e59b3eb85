package graph

import "github.com/flowctl/flowctl/engine"

// warming makes warm machines when all else is done: nobody waits for them, and they
// take no processor from what somebody waits for.
func (b *builder) warming() {
	var warm, others []int
	for i := range b.steps {
		switch s := &b.steps[i]; {
		case s.Op == engine.OpGate:
		case s.Address.Kind != engine.KindWarm:
			others = append(others, i)
		case s.Op != engine.OpDelete:
			warm = append(warm, i)
		}
	}
	if len(warm) == 0 || len(others) == 0 {
		return
	}
	all := b.meet(b.steps[warm[0]].Address, others)
	for _, id := range warm {
		b.prefer(id, all)
	}
}
