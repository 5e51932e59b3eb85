package docker

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/flowctl/flowctl/engine"
)

// holds are the names of images that objects of the flow need, by engine: those of
// image blocks and of deliveries that were made or seen. Several may need one name
// on one engine, since generations may have the same content and several hosts
// one engine. Safe for concurrent use.
type holds struct {
	mu sync.Mutex
	by map[engine.Key]hold
}

// hold is what one object needs.
type hold struct{ place, tag string }

// keep notes what an object needs, instead of what it needed before.
func (h *holds) keep(k engine.Key, place, tag string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by == nil {
		h.by = map[engine.Key]hold{}
	}
	h.by[k] = hold{place, tag}
}

func (h *holds) drop(k engine.Key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.by, k)
}

// needed reports whether something needs a name on an engine, or, for place "", on
// any.
func (h *holds) needed(place, tag string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.by {
		if x.tag == tag && (x.place == place || place == "") {
			return true
		}
	}
	return false
}

// at reports whether anything is needed on an engine.
func (h *holds) at(place string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.by {
		if x.place == place {
			return true
		}
	}
	return false
}

// repositories lists the names without their tags.
func (h *holds) repositories() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string]bool{}
	for _, x := range h.by {
		all[x.tag[:strings.LastIndexByte(x.tag, ':')]] = true
	}
	return slices.Sorted(maps.Keys(all))
}
