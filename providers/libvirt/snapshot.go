package libvirt

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"libvirt.org/go/libvirtxml"
)

// Snapshots are inside of a machine's disk, and so go with it. Their description tells
// the operation that took them.
const snapshotMark = "flowctl "

// Snapshotted implements providers.Snapshotter.
func (l *Libvirt) Snapshotted(k engine.Kind) bool { return k == engine.KindVM }

// Snapshots implements providers.Snapshotter.
func (l *Libvirt) Snapshots(_ context.Context, o engine.Object) ([]providers.Snapshot, error) {
	h, err := l.hypervisor()
	if err != nil {
		return nil, err
	}
	domain, err := l.domainOf(h, o)
	if err != nil {
		return nil, err
	}
	list, err := snapshotsOf(h, domain)
	var all []providers.Snapshot
	for _, s := range list {
		all = append(all, s.Snapshot)
	}
	return all, err
}

// kept is a snapshot, with what it says of itself.
type kept struct {
	providers.Snapshot
	description string
	xml         string
}

func snapshotsOf(h hypervisor, domain string) ([]kept, error) {
	list, err := h.Snapshots(domain)
	if err != nil {
		return nil, err
	}
	var all []kept
	for _, s := range list {
		var x libvirtxml.DomainSnapshot
		if err := x.Unmarshal(s.XML); err != nil {
			return nil, fmt.Errorf("read what a snapshot of domain %s is: %w", domain, err)
		}
		seconds, _ := strconv.ParseInt(x.CreationTime, 10, 64) // libvirt always writes it
		all = append(all, kept{providers.Snapshot{Name: x.Name, At: time.Unix(seconds, 0), State: x.State, Current: s.Current}, x.Description, s.XML})
	}
	slices.SortStableFunc(all, func(a, b kept) int { return a.At.Compare(b.At) })
	return all, nil
}

// TakeSnapshot implements providers.Snapshotter.
func (l *Libvirt) TakeSnapshot(ctx context.Context, o engine.Object, name string) error {
	h, err := l.begin(ctx)
	if err != nil {
		return err
	}
	domain, err := l.domainOf(h, o)
	if err != nil {
		return err
	}
	all, err := snapshotsOf(h, domain)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(all, func(k kept) bool { return k.Name == name }); i >= 0 {
		if all[i].description == snapshotMark+o.Operation {
			return nil
		}
		return providers.Permanent(fmt.Errorf("there is a snapshot %s of %s already, taken %s: write another name, or delete it", name, o.Address, all[i].At.Format(time.DateTime)))
	}
	text, err := (&libvirtxml.DomainSnapshot{Name: name, Description: snapshotMark + o.Operation}).Marshal()
	if err != nil {
		return err
	}
	return storageFault(h.TakeSnapshot(domain, text))
}

// RestoreSnapshot implements providers.Snapshotter.
func (l *Libvirt) RestoreSnapshot(ctx context.Context, o engine.Object, name string) error {
	h, err := l.begin(ctx)
	if err != nil {
		return err
	}
	domain, err := l.domainOf(h, o)
	if err != nil {
		return err
	}
	all, err := snapshotsOf(h, domain)
	if err != nil {
		return err
	}
	var names []string
	for _, k := range all {
		if k.Name == name {
			if text := settledCPUs(k.xml); text != k.xml {
				if err := h.RedefineSnapshot(domain, text); err != nil {
					return err
				}
			}
			return h.RestoreSnapshot(domain, name, k.State == "running" || k.State == "paused")
		}
		names = append(names, k.Name)
	}
	if len(names) == 0 {
		names = []string{"none"}
	}
	return providers.Permanent(fmt.Errorf("%s has no snapshot %s; it has %s", o.Address, name, strings.Join(names, ", ")))
}

// pluggedCPU is a processor that a domain has got while it ran.
var pluggedCPU = regexp.MustCompile(`(<vcpu id='\d+' enabled='yes' hotpluggable=)'yes'`)

// settledCPUs lets a snapshot's machine have, when it is restored, the processors from its
// start that it had got while it ran: libvirt plugs those in only once QEMU has read the
// snapshot, which fails for want of them.
func settledCPUs(snapshot string) string {
	return pluggedCPU.ReplaceAllString(snapshot, "${1}'no'")
}

// DeleteSnapshot implements providers.Snapshotter.
func (l *Libvirt) DeleteSnapshot(ctx context.Context, o engine.Object, name string) error {
	h, err := l.begin(ctx)
	if err != nil {
		return err
	}
	domain, err := l.domainOf(h, o)
	if err != nil {
		return err
	}
	if err := h.DeleteSnapshot(domain, name); !errors.Is(err, providers.ErrNotFound) {
		return err
	}
	return nil
}
