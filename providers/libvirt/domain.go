package libvirt

import (
	"encoding/xml"
	"net/netip"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"libvirt.org/go/libvirtxml"
)

// plot is what a domain is made from besides what the spec wants.
type plot struct {
	net   subnet
	ip    netip.Addr
	disks disks
}

// disks are the paths of a machine's volumes.
type disks struct {
	own, seed      string
	kernel, initrd string
	console        string
}

// quick are words for the kernel of an emulated machine, where what they leave out
// takes seconds. With norandmaps a program starts at the same address each time, so that
// what QEMU has translated of it serves again: a start takes half as long.
const quick = " quiet mitigations=off cryptomgr.notests tsc=reliable no_timer_check nokaslr norandmaps audit=0"

// mostQueues is how many queues a disk has at most: QEMU has an end at 1024 for all of a
// device.
const mostQueues = 128

// draw makes the definition of a domain.
func (l *Libvirt) draw(h hypervisor, r providers.Ref, want engine.VM, p plot) (string, error) {
	metadata, err := xml.Marshal(l.tag(r, p.ip.String()))
	if err != nil {
		return "", err
	}
	d := l.outline(h, want, p)
	d.Name, d.Title = l.domainName(r), l.title(r)
	d.Metadata = &libvirtxml.DomainMetadata{XML: string(metadata)}
	return d.Marshal()
}

// outline is a domain that is nobody's yet.
func (l *Libvirt) outline(h hypervisor, want engine.VM, p plot) libvirtxml.Domain {
	d := libvirtxml.Domain{
		Type:     "qemu",
		Memory:   &libvirtxml.DomainMemory{Value: kib(max(want.Memory, want.MaxMemory)), Unit: "KiB"},
		VCPU:     &libvirtxml.DomainVCPU{Value: max(vcpus(want.CPUs), vcpus(want.MaxCPUs))},
		OS:       &libvirtxml.DomainOS{Type: &libvirtxml.DomainOSType{Arch: "x86_64", Machine: "q35", Type: "hvm"}},
		Features: &libvirtxml.DomainFeatureList{ACPI: &libvirtxml.DomainFeature{}, APIC: &libvirtxml.DomainFeatureAPIC{}},
		Clock:    &libvirtxml.DomainClock{Offset: "utc"},
		// A guest that panics must not go on: it would take a whole processor.
		OnPoweroff: "destroy", OnReboot: "restart", OnCrash: "destroy",
		Devices: devices(p),
	}
	if kib(want.Memory) < d.Memory.Value { // the balloon takes the rest
		d.CurrentMemory = &libvirtxml.DomainCurrentMemory{Value: kib(want.Memory), Unit: "KiB"}
	}
	if vcpus(want.CPUs) < d.VCPU.Value {
		d.VCPU.Current = vcpus(want.CPUs)
	}
	if want.MaxCPUs > 0 { // QEMU makes as many as a machine has processors when it starts
		queues := min(d.VCPU.Value, mostQueues)
		for i := range d.Devices.Disks {
			d.Devices.Disks[i].Driver.Queues = &queues
		}
	}
	if h.Simulated() {
		d.Type, d.OS.Type = "test", &libvirtxml.DomainOSType{Type: "hvm"}
	} else {
		l.accelerate(&d)
	}
	if p.disks.kernel != "" {
		d.OS.Kernel, d.OS.Initrd = p.disks.kernel, p.disks.initrd
		d.OS.Cmdline = "console=ttyS0 root=/dev/vda rw panic=1"
		if d.Type == "qemu" {
			d.OS.Cmdline += quick
		}
		if want.Boot != nil {
			d.OS.Cmdline = strings.TrimSpace(d.OS.Cmdline + " " + want.Boot.Cmdline)
		}
	}
	return d
}

// accelerate decides what a domain's processor is.
func (l *Libvirt) accelerate(d *libvirtxml.Domain) {
	if l.accel() == "kvm" {
		d.Type, d.CPU = "kvm", &libvirtxml.DomainCPU{Mode: "host-passthrough"}
		return
	}
	// Tables of five levels make an emulated machine start a second later.
	d.CPU = &libvirtxml.DomainCPU{Mode: "maximum", Features: []libvirtxml.DomainCPUFeature{{Policy: "disable", Name: "la57"}}}
}

func devices(p plot) *libvirtxml.DomainDeviceList {
	port := uint(0)
	all := &libvirtxml.DomainDeviceList{
		Disks: []libvirtxml.DomainDisk{virtioDisk("vda", "qcow2", p.disks.own)},
		Interfaces: []libvirtxml.DomainInterface{{
			MAC:    &libvirtxml.DomainInterfaceMAC{Address: macOf(p.ip)},
			Source: &libvirtxml.DomainInterfaceSource{Network: &libvirtxml.DomainInterfaceSourceNetwork{Network: p.net.name}},
			Model:  &libvirtxml.DomainInterfaceModel{Type: "virtio"},
			ROM:    &libvirtxml.DomainROM{Enabled: "no"},
		}},
		Serials: []libvirtxml.DomainSerial{{
			Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
			Target: &libvirtxml.DomainSerialTarget{Port: &port},
			Log:    &libvirtxml.DomainChardevLog{File: p.disks.console, Append: "on"},
		}},
		Channels: []libvirtxml.DomainChannel{{
			Source: &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind"}},
			Target: &libvirtxml.DomainChannelTarget{VirtIO: &libvirtxml.DomainChannelTargetVirtIO{Name: "org.qemu.guest_agent.0"}},
		}},
		Controllers: []libvirtxml.DomainController{{Type: "usb", Model: "none"}},
		MemBalloon:  &libvirtxml.DomainMemBalloon{Model: "virtio", Stats: &libvirtxml.DomainMemBalloonStats{Period: 2}},
		RNGs: []libvirtxml.DomainRNG{{
			Model:   "virtio",
			Backend: &libvirtxml.DomainRNGBackend{Random: &libvirtxml.DomainRNGBackendRandom{Device: "/dev/urandom"}},
		}},
		Panics: []libvirtxml.DomainPanic{{Model: "isa"}},
	}
	if p.disks.seed != "" {
		seed := virtioDisk("vdb", "raw", p.disks.seed)
		seed.ReadOnly = &libvirtxml.DomainDiskReadOnly{}
		all.Disks = append(all.Disks, seed)
	}
	return all
}

func virtioDisk(target, format, path string) libvirtxml.DomainDisk {
	return libvirtxml.DomainDisk{
		Device: "disk",
		Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: format, Discard: "unmap"},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}},
		Target: &libvirtxml.DomainDiskTarget{Dev: target, Bus: "virtio"},
	}
}
