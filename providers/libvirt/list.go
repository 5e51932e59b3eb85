package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"libvirt.org/go/libvirtxml"
)

// List implements providers.Lister: the flow's machines and networks, but for
// bridges to the network outside, which cannot say what they are.
func (l *Libvirt) List(context.Context) ([]engine.Object, error) {
	h, err := l.hypervisor()
	if err != nil {
		return nil, err
	}
	all, err := everything(h)
	if err != nil {
		return nil, err
	}
	var objects []engine.Object
	for _, d := range all {
		r, ok := d.tag.ref()
		ip, err := netip.ParseAddr(d.tag.IP)
		if !ok || err != nil || !l.ours(d.tag) {
			continue
		}
		l.born.note(r.Key(), d.Name)
		var v engine.VM
		l.fill(&v, r, ip)
		objects = append(objects, engine.Object{Address: r.Address, Gen: r.Gen, Operation: r.Operation, Value: engine.Encode(v)})
	}
	networks, err := l.listNetworks(h)
	return append(objects, networks...), err
}

func (l *Libvirt) listNetworks(h hypervisor) ([]engine.Object, error) {
	texts, err := h.Networks()
	if err != nil {
		return nil, err
	}
	var objects []engine.Object
	for _, text := range texts {
		var n libvirtxml.Network
		if err := n.Unmarshal(text); err != nil {
			return objects, err
		}
		r, ok := networkRef(n)
		if !ok || n.UUID != l.networkID(r) {
			continue
		}
		var v engine.Network
		if err := fillNetwork(text, &v); err != nil {
			return objects, err
		}
		objects = append(objects, engine.Object{Address: r.Address, Gen: r.Gen, Operation: r.Operation, Value: engine.Encode(v)})
	}
	return objects, nil
}

// networkRef reads which object a network is.
func networkRef(n libvirtxml.Network) (providers.Ref, bool) {
	if n.DNS == nil {
		return providers.Ref{}, false
	}
	for _, t := range n.DNS.TXTs {
		var address, operation string
		var gen int
		if c, _ := fmt.Sscan(t.Value, &address, &gen, &operation); t.Name != "flowctl" || c < 2 {
			continue
		}
		a, err := engine.ParseAddress(address)
		return providers.Ref{Address: a, Gen: gen, Operation: operation}, err == nil
	}
	return providers.Ref{}, false
}

// Clean implements providers.Cleaner: golden machines and volumes of machines that were
// never finished, and disks that nothing stands on. With all, it also removes what the state knows
// nothing of, and the provider's folder with the keys.
func (l *Libvirt) Clean(ctx context.Context, all bool, _ []string) error {
	if _, err := os.Stat(l.settings.Dir); errors.Is(err, os.ErrNotExist) {
		return nil // nothing was ever made
	}
	h, err := l.hypervisor()
	if err != nil {
		return err
	}
	if err := errors.Join(l.endGoldens(h), l.clearFolder()); err != nil {
		return err
	}
	if all {
		if err := l.removeAll(ctx, h); err != nil {
			return err
		}
	}
	if err := l.sweepDisks(h); err != nil {
		return err
	}
	if err := l.sweepShared(h, all); err != nil || !all {
		return err
	}
	return os.RemoveAll(l.settings.Dir)
}

// clearFolder removes what whoever was killed has left in the provider's folder: keys
// that were being made or lent, and pipes.
func (l *Libvirt) clearFolder() error {
	files, err := os.ReadDir(l.settings.Dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		if strings.HasPrefix(f.Name(), "keys-") || strings.HasSuffix(f.Name(), ".state") {
			errs = append(errs, os.RemoveAll(filepath.Join(l.settings.Dir, f.Name())))
		}
	}
	return errors.Join(errs...)
}

func (l *Libvirt) removeAll(ctx context.Context, h hypervisor) error {
	objects, err := l.List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, kind := range []engine.Kind{engine.KindVM, engine.KindWarm, engine.KindNetwork} {
		for _, o := range objects {
			if o.Address.Kind != kind {
				continue
			}
			if kind != engine.KindNetwork {
				name, err := l.domainOf(h, o)
				if err == nil {
					err = l.strip(h, name)
				}
				errs = append(errs, err)
			} else if err := h.RemoveNetwork(l.name(o.Address, o.Gen)); !errors.Is(err, providers.ErrNotFound) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// sweepDisks removes the flow's volumes that are of no domain.
func (l *Libvirt) sweepDisks(h hypervisor) error {
	return l.sweepDisksOf(h, func(string) bool { return true })
}

func (l *Libvirt) sweepDisksOf(h hypervisor, of func(machine string) bool) error {
	if err := h.Refresh(l.cfg.Pool); err != nil {
		return err
	}
	volumes, err := h.Volumes(l.cfg.Pool)
	if err != nil {
		return err
	}
	var errs []error
	for _, v := range volumes {
		machine, ok := l.machineOf(v.Name)
		if !ok || !of(machine) {
			continue
		}
		if _, err := h.Domain(machine); !errors.Is(err, providers.ErrNotFound) {
			errs = append(errs, err)
			continue
		}
		if err := h.RemoveVolume(l.cfg.Pool, v.Name); err != nil && !errors.Is(err, providers.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// machineOf reads whose volume one of ours is.
func (l *Libvirt) machineOf(volume string) (machine string, ok bool) {
	for _, what := range ownVolumes {
		machine, ok = strings.CutSuffix(volume, "."+l.state()+"."+what)
		if ok && strings.HasPrefix(machine, l.settings.Flow+".") {
			return machine, true
		}
	}
	return "", false
}
