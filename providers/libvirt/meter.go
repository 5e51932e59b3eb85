package libvirt

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// meter keeps the last figures of each domain, since a rate takes two.
type meter struct {
	mu   sync.Mutex
	last map[string]reading
}

type reading struct {
	at   time.Time
	used uint64 // nanoseconds of processor time
}

// rate notes a reading and returns how many processors were in use since the last.
func (m *meter) rate(name string, now reading) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, ok := m.last[name]
	if m.last == nil {
		m.last = map[string]reading{}
	}
	m.last[name] = now
	span := now.at.Sub(was.at)
	if !ok || span <= 0 || now.used < was.used { // it has started anew
		return 0
	}
	return float64(now.used-was.used) / float64(span)
}

// Usage implements providers.Meter: all domains in one call, which waits for none.
func (l *Libvirt) Usage(_ context.Context, objects []engine.Object) ([]providers.Usage, error) {
	objects = slices.DeleteFunc(slices.Clone(objects), func(o engine.Object) bool {
		return o.Address.Kind != engine.KindVM && o.Address.Kind != engine.KindWarm
	})
	if len(objects) == 0 {
		return nil, nil
	}
	h, err := l.hypervisor()
	if err != nil {
		return nil, err
	}
	all, err := h.Stats()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	there := map[string]bool{}
	for _, s := range all {
		there[s.Name] = true
	}
	wanted := map[string]engine.Address{}
	for _, o := range objects {
		name := l.name(o.Address, o.Gen)
		if o.Address.Kind == engine.KindWarm || !there[name] { // it was warm, or is gone
			if name, err = l.domainOf(h, o); err != nil {
				continue
			}
		}
		wanted[name] = o.Address
	}
	var usage []providers.Usage
	for _, s := range all {
		a, ok := wanted[s.Name]
		if !ok {
			continue
		}
		usage = append(usage, providers.Usage{
			Address: a, State: s.State, MemoryBytes: s.Memory, CPUCores: l.meter.rate(s.Name, reading{now, s.CPUTime}),
			IO: &s.IO,
		})
	}
	return usage, nil
}
