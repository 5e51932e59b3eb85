package libvirt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	small "github.com/flowctl/flowctl/providers/libvirt/machine"
	"libvirt.org/go/libvirtxml"
)

// basePrefix begins the names of volumes that machines share: disks that they
// start from, kernels, initial file systems. The rest is a hash of the content.
const basePrefix = "flowctl-"

// source are the files that a machine is made from.
type source struct {
	image, kernel, initrd string
	url                   string // where the image is to be fetched from, "" if it is a file of its own
	sum                   string // the image's SHA-256, in hexadecimal; "" if nobody said
}

// sourceOf finds the files that a machine is made from: its own, the provider
// block's, or what 'flowctl disk build' has built.
func (l *Libvirt) sourceOf(want engine.VM) (source, error) {
	s := source{image: want.Image, sum: want.SHA256}
	if want.Boot != nil {
		s.kernel, s.initrd = want.Boot.Kernel, want.Boot.Initrd
	}
	if s.image == "" {
		s.image, s.kernel, s.initrd, s.sum = l.cfg.Image, cmp.Or(s.kernel, l.cfg.Kernel), cmp.Or(s.initrd, l.cfg.Initrd), l.cfg.SHA256
	}
	if s.image == "" {
		dir, err := small.Dir()
		if err != nil {
			return s, err
		}
		s = source{image: filepath.Join(dir, "disk.qcow2"), kernel: cmp.Or(s.kernel, filepath.Join(dir, "kernel")), initrd: cmp.Or(s.initrd, filepath.Join(dir, "initrd"))}
		if _, err := os.Stat(s.image); err != nil {
			return s, fmt.Errorf("there is no image: write image in the vm or in the provider block, or build the small Docker machine with 'flowctl disk build'")
		}
	}
	if s.sum = strings.ToLower(s.sum); s.sum != "" && !sha256Form.MatchString(s.sum) {
		return s, fmt.Errorf("sha256 is %q: write the 64 hexadecimal digits that 'sha256sum' prints for the image", s.sum)
	}
	if remote(s.image) {
		if s.sum == "" {
			return s, fmt.Errorf("%s is to be fetched, but nothing says what it has to be: write sha256 beside image, as who publishes it tells", s.image)
		}
		at, err := fetchedAt(s.sum)
		if err != nil {
			return s, err
		}
		s.url, s.image = s.image, at
	}
	for _, f := range []*string{&s.image, &s.kernel, &s.initrd} {
		if *f == "" || f == &s.image && s.url != "" {
			continue
		}
		*f = l.path(*f)
		if info, err := os.Stat(*f); err != nil || !info.Mode().IsRegular() {
			return s, fmt.Errorf("there is no file %s", *f)
		}
	}
	return s, nil
}

// The names of a machine's own volumes. The state is part of them, so that nobody
// takes them for those of another flow of this name.
func (l *Libvirt) volumeName(machine, what string) string {
	return machine + "." + l.state() + "." + what
}

var ownVolumes = []string{"disk", "seed", "console"}

// makeDisk makes a machine's disk, a layer over the one that it shares: a golden
// machine's, unless that is nil, or its image's.
func (l *Libvirt) makeDisk(h hypervisor, r providers.Ref, want engine.VM, g *golden) (disks, error) {
	var d disks
	pool, err := poolPath(h, l.cfg.Pool)
	if err != nil {
		return d, err
	}
	machine := l.domainName(r)
	if err := l.removeDisks(h, machine); err != nil {
		return d, err
	}
	d.console = path.Join(pool, l.volumeName(machine, "console"))
	var src source
	if !h.Simulated() {
		if src, err = l.sourceOf(want); err != nil {
			return d, providers.Permanent(err)
		}
	}
	base, parts, err := l.bases(h, src)
	if err != nil {
		return d, err
	}
	d.kernel, d.initrd = parts.kernel, parts.initrd
	size := max(base.size, uint64(want.DiskSize))
	if g != nil {
		base, size = shared{path: g.disk, format: "qcow2"}, g.size
	}
	d.own, err = l.makeVolume(h, overlay(l.volumeName(machine, "disk"), base, size))
	return d, err
}

// overlay describes a layer over a shared disk.
func overlay(name string, base shared, size uint64) libvirtxml.StorageVolume {
	return libvirtxml.StorageVolume{
		Name: name, Capacity: &libvirtxml.StorageVolumeSize{Value: size, Unit: "B"},
		Allocation:   &libvirtxml.StorageVolumeSize{Value: 0},
		Target:       &libvirtxml.StorageVolumeTarget{Format: &libvirtxml.StorageVolumeTargetFormat{Type: "qcow2"}},
		BackingStore: &libvirtxml.StorageVolumeBackingStore{Path: base.path, Format: &libvirtxml.StorageVolumeTargetFormat{Type: base.format}},
	}
}

// bases finds the volumes with what a machine starts from, or makes them. Whoever
// builds on them keeps others from sweeping them up.
func (l *Libvirt) bases(h hypervisor, src source) (base shared, parts disks, err error) {
	if base, err = l.base(h, src.image); err != nil {
		return base, parts, err
	}
	for _, p := range []struct {
		file string
		at   *string
	}{{src.kernel, &parts.kernel}, {src.initrd, &parts.initrd}} {
		if p.file == "" {
			continue
		}
		b, err := l.base(h, p.file)
		if err != nil {
			return base, parts, err
		}
		*p.at = b.path
	}
	return base, parts, nil
}

func (l *Libvirt) makeVolume(h hypervisor, v libvirtxml.StorageVolume) (string, error) {
	text, err := v.Marshal()
	if err != nil {
		return "", err
	}
	if err := h.MakeVolume(l.cfg.Pool, text); err != nil {
		return "", storageFault(err)
	}
	made, err := h.Volume(l.cfg.Pool, v.Name)
	return made.Path, err
}

// storageFault says what to do about a volume that could not be made or filled.
func storageFault(err error) error {
	if err == nil {
		return nil
	}
	if strings.Contains(err.Error(), "No space left") || strings.Contains(err.Error(), "Not enough") {
		return providers.Permanent(fmt.Errorf("%w. Make room on the pool's disk, or name another pool in the provider block", err))
	}
	return err
}

// plain describes a volume of raw content.
func plain(name string, size int64) libvirtxml.StorageVolume {
	return libvirtxml.StorageVolume{
		Name: name, Capacity: &libvirtxml.StorageVolumeSize{Value: uint64(size), Unit: "B"}, Allocation: &libvirtxml.StorageVolumeSize{Value: 0},
		Target: &libvirtxml.StorageVolumeTarget{Format: &libvirtxml.StorageVolumeTargetFormat{Type: "raw"}},
	}
}

func poolPath(h hypervisor, pool string) (string, error) {
	text, err := h.Pool(pool)
	if err != nil {
		return "", providers.Permanent(fmt.Errorf("%w. Correct pool in the provider block", err))
	}
	var p libvirtxml.StoragePool
	if err := p.Unmarshal(text); err != nil {
		return "", err
	}
	if p.Target == nil || p.Target.Path == "" {
		return "", providers.Permanent(fmt.Errorf("pool %s is no folder: name one that is in the provider block", pool))
	}
	return p.Target.Path, nil
}

// shared is a volume that machines share.
type shared struct {
	path, format string
	size         uint64 // of the disk in it
}

// base finds the volume with a file's content, or makes it. It is filled under
// another name first, so that nobody takes half of it for the whole.
func (l *Libvirt) base(h hypervisor, file string) (shared, error) {
	if h.Simulated() {
		return l.simulatedBase(h)
	}
	f, err := os.Open(file)
	if err != nil {
		return shared{}, providers.Permanent(err)
	}
	defer f.Close()
	s, size, err := inspect(f)
	if err != nil {
		return s, providers.Permanent(fmt.Errorf("image %s: %w", file, err))
	}
	sum, err := l.hashes.sum(f)
	if err != nil {
		return s, err
	}
	name := basePrefix + sum[:24]
	v, err := h.Volume(l.cfg.Pool, name)
	if errors.Is(err, providers.ErrNotFound) {
		v, err = l.upload(h, f, name, size, s)
	}
	s.path = v.Path
	return s, err
}

func (l *Libvirt) upload(h hypervisor, f *os.File, name string, size int64, s shared) (volume, error) {
	half := name + "." + l.state() + ".part"
	if err := h.RemoveVolume(l.cfg.Pool, half); err != nil && !errors.Is(err, providers.ErrNotFound) {
		return volume{}, err
	}
	if _, err := l.makeVolume(h, plain(half, size)); err != nil {
		return volume{}, err
	}
	defer h.RemoveVolume(l.cfg.Pool, half)
	if err := h.Upload(l.cfg.Pool, half, f, size); err != nil {
		return volume{}, storageFault(err)
	}
	// Libvirt looks into what it copies, once it has looked at the pool again.
	if err := h.Refresh(l.cfg.Pool); err != nil {
		return volume{}, err
	}
	whole := plain(name, int64(s.size))
	whole.Target.Format.Type = s.format
	text, err := whole.Marshal()
	if err != nil {
		return volume{}, err
	}
	if err := h.CopyVolume(l.cfg.Pool, text, half); err != nil && !errors.Is(err, errExists) {
		return volume{}, storageFault(err)
	}
	return h.Volume(l.cfg.Pool, name)
}

// inspect tells what kind of disk a file holds, and how large it is. The header is
// that of docs/interop/qcow2.txt in QEMU.
func inspect(f *os.File) (shared, int64, error) {
	info, err := f.Stat()
	if err != nil {
		return shared{}, 0, err
	}
	head := make([]byte, 32)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return shared{}, 0, err
	}
	if info.Size() == 0 {
		return shared{}, 0, errors.New("it is empty")
	}
	if !bytes.HasPrefix(head, []byte("QFI\xfb")) {
		return shared{format: "raw", size: uint64(info.Size())}, info.Size(), nil
	}
	if binary.BigEndian.Uint64(head[8:]) != 0 {
		return shared{}, 0, errors.New("it is a layer over another image: make one of both with 'qemu-img convert'")
	}
	return shared{format: "qcow2", size: binary.BigEndian.Uint64(head[24:])}, info.Size(), nil
}

// simulatedBase stands for any image where there are no machines.
func (l *Libvirt) simulatedBase(h hypervisor) (shared, error) {
	const name, size = basePrefix + "simulated", 1 << 20
	v, err := h.Volume(l.cfg.Pool, name)
	if err == nil {
		return shared{v.Path, "raw", size}, nil
	}
	at, err := l.makeVolume(h, plain(name, size))
	return shared{at, "raw", size}, err
}

// removeDisks removes a machine's own volumes.
func (l *Libvirt) removeDisks(h hypervisor, machine string) error {
	// The console is written by QEMU, so that libvirt has not heard of it yet.
	if err := h.Refresh(l.cfg.Pool); err != nil {
		return err
	}
	var names []string
	for _, what := range ownVolumes {
		names = append(names, l.volumeName(machine, what))
	}
	return l.removeVolumes(h, names)
}

// removeVolumes removes volumes, as far as they exist.
func (l *Libvirt) removeVolumes(h hypervisor, names []string) error {
	var errs []error
	for _, name := range names {
		if err := h.RemoveVolume(l.cfg.Pool, name); err != nil && !errors.Is(err, providers.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// holdings are all volumes of the pool, and all domains, which may stand on them.
func (l *Libvirt) holdings(h hypervisor) (volumes []volume, domains []domain, err error) {
	if domains, err = h.Domains(); err != nil {
		return nil, nil, err
	}
	volumes, err = h.Volumes(l.cfg.Pool)
	return volumes, domains, err
}

// sweepShared removes shared volumes that nothing uses any more. Golden machines that
// are whole stay until the flow's end, for the next machine, unless all are to go.
func (l *Libvirt) sweepShared(h hypervisor, all bool) error {
	l.storing.Lock()
	defer l.storing.Unlock()
	volumes, domains, err := l.holdings(h)
	if err != nil {
		return err
	}
	if err := l.sweepGoldens(h, volumes, domains, func(g golden) bool { return all || !wholeState(g.state) }); err != nil {
		return err
	}
	return l.sweepBases(h, domains)
}

func (l *Libvirt) sweepBases(h hypervisor, domains []domain) error {
	all, err := h.Volumes(l.cfg.Pool)
	if err != nil {
		return err
	}
	uses := func(v volume) bool {
		return slices.ContainsFunc(domains, func(d domain) bool { return strings.Contains(d.XML, v.Path) }) ||
			slices.ContainsFunc(all, func(o volume) bool { return o.Name != v.Name && strings.Contains(o.XML, v.Path) })
	}
	var errs []error
	for _, v := range all {
		half := strings.HasSuffix(v.Name, ".part") && !strings.Contains(v.Name, l.state()) // it is being filled by another flow
		if !strings.HasPrefix(v.Name, basePrefix) || strings.HasPrefix(v.Name, goldenPrefix) || half || uses(v) {
			continue
		}
		if err := h.RemoveVolume(l.cfg.Pool, v.Name); err != nil && !errors.Is(err, providers.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
