package libvirt

import (
	"testing"
	"time"

	"github.com/flowctl/flowctl/providers"
)

func TestSlowFiguresAreAskedForInTurns(t *testing.T) {
	both, memory, disks := slow{memory: true, disks: true}, slow{memory: true}, slow{disks: true}
	var m meter
	now := time.Unix(1000, 0)

	for i, c := range []struct {
		after time.Duration
		asked slow
		id    uint
	}{
		{0, both, 1},
		{time.Second, disks, 1},
		{time.Second, memory, 1},
		{time.Second, disks, 1},
		{time.Second, both, 2}, // it has been started again
		{2 * time.Second, both, 2},
		{time.Second, memory, 2},
	} {
		now = now.Add(c.after)
		asked := m.due(now)(c.id)
		if asked != c.asked {
			t.Errorf("reading %d asks for %+v, not %+v", i, asked, c.asked)
		}
		s := stats{ID: c.id, IO: providers.IO{NetworkSent: 1}}
		if asked.memory {
			s.Memory = int64(i + 1)
		}
		if asked.disks {
			s.IO.DiskRead = uint64(i + 1)
		}
		all := []stats{s, {ID: 0}}
		m.fill(all)
		if got := all[0]; got.Memory == 0 || got.Memory < int64(i) || got.IO.DiskRead == 0 || got.IO.DiskRead < uint64(i) || got.IO.NetworkSent != 1 {
			t.Errorf("reading %d tells %+v", i, got)
		}
		if all[1] != (stats{}) {
			t.Errorf("one that does not run has figures: %+v", all[1])
		}
	}
}

func TestABusyDomainHasTheFiguresOfBefore(t *testing.T) {
	var m meter
	m.fill([]stats{{ID: 1, Memory: 5, IO: providers.IO{DiskRead: 2, DiskWritten: 3}}})
	all := []stats{{ID: 1}}
	m.fill(all)
	if all[0].Memory != 5 || all[0].IO.DiskRead != 2 || all[0].IO.DiskWritten != 3 {
		t.Errorf("%+v", all[0])
	}
}
