package runtime

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowctl/flowctl/engine"
)

// CheckHands finds what forbids to set sizes by hand: a scaling block that owns
// one. Sizes that no machine has room for are the plan's to find.
func CheckHands(d engine.Desired, hands map[engine.Address]int) engine.Diagnostics {
	var diags engine.Diagnostics
	for _, group := range slices.SortedFunc(maps.Keys(hands), engine.Address.Compare) {
		b, ok := boundsOf(d, group)
		if !ok || !b.Autoscaled {
			continue
		}
		owner := ownerOf(d, group)
		diags = append(diags, engine.Diagnostic{
			Summary: "Size owned by a scaling block", Address: group, Source: &owner.Source,
			Detail: fmt.Sprintf("%s owns the size of %s (%d..%d), so it cannot be set by hand. Edit min and max there, or remove the block and write the size into %s itself.", owner.Address, group, b.Min, b.Max, group),
		})
	}
	return diags
}

// ownerOf returns the scaling block that owns a group's size.
func ownerOf(d engine.Desired, group engine.Address) engine.Decl {
	for _, decl := range d.Decls {
		if decl.Address.Kind == engine.KindScaling && slices.ContainsFunc(decl.Needs, func(n engine.Need) bool { return n.Target == group }) {
			return decl
		}
	}
	panic("bug: nobody owns the size of " + group.String())
}

func boundsOf(d engine.Desired, group engine.Address) (engine.Bounds, bool) {
	for _, f := range d.Functions {
		if f.Address == group {
			return f.Replicas, true
		}
	}
	for _, m := range d.Machines {
		if m.Address == group {
			return m.Count, true
		}
	}
	return engine.Bounds{}, false
}

// resized puts the sizes that a request orders in place of those recorded. One
// that is just the spec's is not kept.
func resized(recorded []engine.HandSize, r Request) []engine.HandSize {
	if len(r.Hands) == 0 {
		return recorded
	}
	sizes := slices.DeleteFunc(slices.Clone(recorded), func(h engine.HandSize) bool {
		_, ordered := r.Hands[h.Group]
		return ordered
	})
	for group, n := range r.Hands {
		if b, ok := boundsOf(r.Desired, group); ok && n != SpecSize && n != b.Min && !b.Autoscaled {
			sizes = append(sizes, engine.HandSize{Group: group, Size: n, Spec: b.Min})
		}
	}
	engine.SortSizes(sizes)
	return sizes
}
