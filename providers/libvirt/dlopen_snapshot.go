//go:build libvirt_dlopen && cgo

package libvirt

import (
	"errors"

	"libvirt.org/go/libvirt"
)

func (h *connection) Snapshots(name string) ([]snapshot, error) {
	var all []snapshot
	err := h.onDomain("list the snapshots of", name, func(d *libvirt.Domain) error {
		list, err := d.ListAllSnapshots(0)
		if err != nil {
			return err
		}
		var errs []error
		for _, s := range list {
			xml, err := s.GetXMLDesc(0)
			current, again := s.IsCurrent(0)
			errs = append(errs, err, again, s.Free())
			all = append(all, snapshot{xml, current})
		}
		return errors.Join(errs...)
	})
	return all, err
}

func (h *connection) TakeSnapshot(name, xml string) error {
	return h.makeSnapshot("take", name, xml, 0)
}

func (h *connection) RedefineSnapshot(name, xml string) error {
	return h.makeSnapshot("redefine", name, xml, libvirt.DOMAIN_SNAPSHOT_CREATE_REDEFINE)
}

func (h *connection) makeSnapshot(act, name, xml string, flags libvirt.DomainSnapshotCreateFlags) error {
	return h.onDomain(act+" a snapshot of", name, func(d *libvirt.Domain) error {
		s, err := d.CreateSnapshotXML(xml, flags)
		if err != nil {
			return err
		}
		return s.Free()
	})
}

func (h *connection) RestoreSnapshot(name, snapshot string, memory bool) error {
	return h.onSnapshot("restore a snapshot of", name, snapshot, func(s *libvirt.DomainSnapshot) error {
		if memory {
			return s.RevertToSnapshot(libvirt.DOMAIN_SNAPSHOT_REVERT_PAUSED)
		}
		return s.RevertToSnapshot(0)
	})
}

func (h *connection) DeleteSnapshot(name, snapshot string) error {
	return h.onSnapshot("delete a snapshot of", name, snapshot, func(s *libvirt.DomainSnapshot) error { return s.Delete(0) })
}

// onSnapshot calls f with a snapshot of a domain.
func (h *connection) onSnapshot(act, name, snapshot string, f func(*libvirt.DomainSnapshot) error) error {
	return h.onDomain(act, name, func(d *libvirt.Domain) error {
		s, err := d.SnapshotLookupByName(snapshot, 0)
		if err != nil {
			return err
		}
		defer s.Free()
		return f(s)
	})
}
