package graph

import "github.com/flowctl/flowctl/engine"

// warming makes warm machines, and brings images to them, when all else is done: nobody
// waits for them, and they take no processor from what somebody waits for.
func (b *builder) warming() {
	var warm, others []int
	for i := range b.steps {
		switch s := &b.steps[i]; {
		case s.Op == engine.OpGate:
		case !isWarm(s.Address):
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

func isWarm(a engine.Address) bool {
	if a.Kind == engine.KindDelivery {
		_, a = a.Consignment()
	}
	return a.Kind == engine.KindWarm
}
