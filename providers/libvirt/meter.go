package libvirt

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// slow is which figures of a domain are asked of its emulator, by several commands each,
// which it reads byte by byte: its memory and its disks.
type slow struct{ memory, disks bool }

// often is how soon after one reading another asks for some of the slow figures alone: a
// guest tells of its memory every two seconds.
const often = 1500 * time.Millisecond

// meter keeps the last figures of each domain: a rate takes two, and where readings come
// often, only the memory or the disks are asked for, in turns.
type meter struct {
	mu     sync.Mutex
	last   map[string]reading
	at     time.Time      // of the last reading
	memory bool           // it was the memory's turn
	known  map[uint]stats // by the id of the domain: of all that ran at the last reading
}

// due tells which slow figures of a domain a reading asks for.
func (m *meter) due(now time.Time) func(id uint) slow {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := now.Sub(m.at) >= often
	m.at, m.memory = now, !m.memory
	known, memory := m.known, m.memory
	return func(id uint) slow {
		if _, ok := known[id]; all || !ok {
			return slow{memory: true, disks: true}
		}
		return slow{memory: memory, disks: !memory}
	}
}

// fill gives domains what they did not tell, as last known: it was not asked for, or they
// were busy.
func (m *meter) fill(all []stats) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := map[uint]stats{}
	for i := range all {
		s := &all[i]
		if s.ID == 0 {
			continue
		}
		was := m.known[s.ID]
		if s.Memory == 0 {
			s.Memory = was.Memory
		}
		if s.IO.DiskRead == 0 && s.IO.DiskWritten == 0 {
			s.IO.DiskRead, s.IO.DiskWritten = was.IO.DiskRead, was.IO.DiskWritten
		}
		known[s.ID] = *s
	}
	m.known = known
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

// Usage implements providers.Meter: of all domains at once, and waits for none.
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
	all, err := h.Stats(l.meter.due(time.Now()))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	l.meter.fill(all)
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
