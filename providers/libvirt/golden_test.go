package libvirt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"libvirt.org/go/libvirtxml"
)

const savedDefinition = `<domain type='qemu'><name>flowctl-golden-1</name><uuid>11111111-1111-1111-1111-111111111111</uuid>` +
	`<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><kernel>/old/kernel</kernel></os><devices>` +
	`<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/pool/golden.disk'/>` +
	`<backingStore type='file'><format type='qcow2'/><source file='/pool/base'/></backingStore><target dev='vda' bus='virtio'/>` +
	`<address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x0'/></disk>` +
	`<interface type='network'><mac address='52:54:00:00:00:00'/><source network='first'/><model type='virtio'/>` +
	`<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></interface>` +
	`<serial type='pty'><log file='/pool/golden.console' append='on'/><target port='0'/></serial></devices></domain>`

// savedFile is a saved machine as libvirt writes it, with a stream.
func savedFile(t *testing.T, definition, cookie, stream string) []byte {
	t.Helper()
	text := definition + "\x00"
	h := savedHead{Version: savedVersion, Running: 1, Length: uint32(len(text) + len(cookie))}
	copy(h.Magic[:], savedMagic)
	if cookie != "" {
		h.CookieOffset = uint32(len(text))
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, h); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), text+cookie+stream...)
}

func TestSavedMachinesAreRead(t *testing.T) {
	for _, cookie := range []string{"", "<cookie/>\x00"} {
		file := savedFile(t, savedDefinition, cookie, "stream")
		r := bytes.NewReader(file)
		s, err := readSaved(r)
		if err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(r)
		if string(rest) != "stream" || string(s.definition) != savedDefinition || string(s.cookie) != cookie {
			t.Errorf("read %q, %q and %q", s.definition, s.cookie, rest)
		}
		if again := append(s.bytes(), rest...); !bytes.Equal(again, file) {
			t.Errorf("written again it is\n%q, not\n%q", again, file)
		}
	}
	const versionAt, formatAt = 16, 28
	for want, spoil := range map[string]func([]byte) []byte{
		"not whole":       func(b []byte) []byte { copy(b, "LibvirtQemudPart"); return b },
		"in version 3":    func(b []byte) []byte { b[versionAt] = 3; return b },
		"compressed":      func(b []byte) []byte { b[formatAt] = 1; return b },
		"read the head":   func(b []byte) []byte { return b[:40] },
		"read the defini": func(b []byte) []byte { return b[:200] },
		"makes no sense":  func(b []byte) []byte { b[23] = 0xff; return b },
	} {
		if _, err := readSaved(bytes.NewReader(spoil(savedFile(t, savedDefinition, "", "stream")))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func FuzzSavedMachines(f *testing.F) {
	f.Add([]byte(savedMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := readSaved(bytes.NewReader(b)); err == nil {
			if again, err := readSaved(bytes.NewReader(s.bytes())); err != nil || !bytes.Equal(again.definition, s.definition) {
				t.Errorf("written and read again: %v", err)
			}
		}
	})
}

// other is a machine that is made of the saved one's state.
func other() libvirtxml.Domain {
	d := libvirtxml.Domain{Name: "shop.node-0", UUID: "22222222-2222-2222-2222-222222222222", OS: &libvirtxml.DomainOS{Kernel: "/pool/kernel"}}
	d.Devices = &libvirtxml.DomainDeviceList{
		Disks: []libvirtxml.DomainDisk{virtioDisk("vda", "qcow2", "/pool/own.disk")},
		Interfaces: []libvirtxml.DomainInterface{{
			MAC:    &libvirtxml.DomainInterfaceMAC{Address: "52:54:0a:4d:00:05"},
			Source: &libvirtxml.DomainInterfaceSource{Network: &libvirtxml.DomainInterfaceSourceNetwork{Network: "second"}},
		}},
		Serials: []libvirtxml.DomainSerial{{Log: &libvirtxml.DomainChardevLog{File: "/pool/own.console", Append: "on"}}},
	}
	return d
}

func TestSavedMachinesBecomeOthers(t *testing.T) {
	s, err := readSaved(bytes.NewReader(savedFile(t, savedDefinition, "", "")))
	if err != nil {
		t.Fatal(err)
	}
	s, err = s.as(other())
	if err != nil {
		t.Fatal(err)
	}
	text := string(s.definition)
	for _, want := range []string{"shop.node-0", "22222222-", "/pool/own.disk", "/pool/own.console", "52:54:0a:4d:00:05", `network="second"`, "/pool/kernel", `bus="0x03"`, `bus="0x01"`, "pc-q35-7.2"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in it", want)
		}
	}
	for _, not := range []string{"golden", "11111111-", "52:54:00:00:00:00", "first", "/pool/base", "/old/kernel"} {
		if strings.Contains(text, not) {
			t.Errorf("there is still %s in it:\n%s", not, text)
		}
	}
	d := other()
	d.Devices.Disks = nil
	if _, err := s.as(d); err == nil || !strings.Contains(err.Error(), "other devices") {
		t.Errorf("a machine with other devices: %v", err)
	}
}

// reader is a hypervisor that restores what it is given, or does not.
type reader struct {
	hypervisor
	most int64 // how much of a state it reads; negative for all of it
	all  int64
	got  []byte
}

func (r *reader) Restore(file string) error {
	if r.most == 0 {
		return errors.New("it does not even open it")
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if r.most > 0 {
		_, err := io.CopyN(io.Discard, f, r.most)
		return errors.Join(err, errors.New("it gives up"))
	}
	r.got = make([]byte, r.all) // like QEMU it knows where the end is
	_, err = io.ReadFull(f, r.got)
	return err
}

// What is restored comes whole, and one that fails leaves nobody waiting at the pipe.
func TestStatesAreRestoredThroughAPipe(t *testing.T) {
	l := bare(t)
	if err := os.MkdirAll(l.settings.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	stream := strings.Repeat("0123456789abcdef", 5<<20/16)
	file := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(file, savedFile(t, savedDefinition, "", stream), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := readSaved(bytes.NewReader(savedFile(t, savedDefinition, "", "")))
	if err != nil {
		t.Fatal(err)
	}
	if s, err = s.as(other()); err != nil {
		t.Fatal(err)
	}
	want := append(s.bytes(), stream...)
	h := &reader{most: -1, all: int64(len(want))}
	if err := os.WriteFile(filepath.Join(l.settings.Dir, other().Name+".state"), nil, 0o600); err != nil { // by one that was killed
		t.Fatal(err)
	}
	if err := l.restore(h, &golden{state: file}, other()); err != nil || !bytes.Equal(h.got, want) {
		t.Errorf("restore: %v; %d bytes, want %d", err, len(h.got), len(want))
	}
	for _, most := range []int64{0, 10, 3 << 20} {
		if err := l.restore(&reader{most: most}, &golden{state: file}, other()); err == nil {
			t.Errorf("one that reads %d bytes only: no error", most)
		}
	}
	left, err := os.ReadDir(l.settings.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

type versioned struct {
	hypervisor
	version string
}

func (v versioned) Version() (string, error) { return v.version, nil }
func (v versioned) Simulated() bool          { return false }

func TestKeysOfGoldenMachinesTellAllThatMatters(t *testing.T) {
	l := bare(t)
	base := shared{path: "/pool/flowctl-1", format: "qcow2", size: 1 << 30}
	parts := disks{kernel: "/pool/flowctl-2"}
	vm := engine.VM{CPUs: 1, Memory: 512 * engine.MiB}
	of := func(l *Libvirt, version string, vm engine.VM, base shared, parts disks) string {
		k, err := l.goldenKey(versioned{version: version}, vm, base, parts)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	key := of(l, "1", vm, base, parts)
	same := vm
	same.Slots, same.Labels, same.Metadata = 5, map[string]string{"a": "b"}, map[string]string{"c": "d"}
	if again := of(bareIn(l), "1", same, base, parts); again != key {
		t.Errorf("what the guest's state does not depend on changes the key")
	}
	more, larger, longer, files := vm, vm, vm, vm
	more.CPUs, larger.Memory, longer.DiskSize = 2, engine.Size(1<<30), engine.Size(2<<30)
	files.Files = []engine.MachineFile{{Name: "a", Content: strings.Repeat("x", seedStep)}}
	kvm := bareIn(l)
	kvm.accel = func() string { return "kvm" }
	seen := map[string]string{key: "the first"}
	for what, k := range map[string]string{
		"another version": of(l, "2", vm, base, parts), "more cpus": of(l, "1", more, base, parts), "more memory": of(l, "1", larger, base, parts),
		"a larger disk": of(l, "1", longer, base, parts), "a larger seed": of(l, "1", files, base, parts), "kvm": of(kvm, "1", vm, base, parts),
		"another image":  of(l, "1", vm, shared{path: "/pool/flowctl-3", size: base.size}, parts),
		"another kernel": of(l, "1", vm, base, disks{kernel: "/pool/flowctl-4"}),
	} {
		if was, ok := seen[k]; ok {
			t.Errorf("%s has the key of %s", what, was)
		}
		seen[k] = what
	}
}

// A golden machine that another stands on stays as long as that does.
func TestGoldenMachinesStayUnderOthers(t *testing.T) {
	l := bare(t)
	const plain, stocked, dead = goldenPrefix + "aa.1", goldenPrefix + "aa-mine-bb.2", goldenPrefix + "aa-mine-cc.3"
	all := []volume{
		{Name: plain + ".disk", XML: "<path>/pool/" + plain + ".disk</path>"}, {Name: plain + ".save"},
		{Name: stocked + ".disk", XML: "<path>/pool/" + stocked + ".disk</path><backingStore>/pool/" + plain + ".disk</backingStore>"}, {Name: stocked + ".save"},
		{Name: dead + ".disk", XML: "<path>/pool/" + dead + ".disk</path><backingStore>/pool/" + plain + ".disk</backingStore>"},
	}
	own := volume{Name: "shop.node-0.disk", XML: "<backingStore>/pool/" + stocked + ".disk</backingStore>"}
	every := func(golden) bool { return true }
	unlike := func(key string) func(golden) bool {
		return func(g golden) bool { return strings.HasPrefix(g.key, "aa-mine-") && g.key != key }
	}
	for _, c := range []struct {
		name    string
		volumes []volume
		domains []domain
		goes    func(golden) bool
		want    []string
	}{
		{"all, and nothing stands on any", all, nil, every, []string{plain + ".disk", plain + ".save", stocked + ".disk", stocked + ".save", dead + ".disk"}},
		{"all, and a machine stands on one", append([]volume{own}, all...), nil, every, []string{dead + ".disk"}},
		{"all, and one runs", all, []domain{{XML: "/pool/" + dead + ".disk"}}, every, []string{stocked + ".disk", stocked + ".save"}},
		{"those with another stock", all, nil, unlike("aa-mine-bb"), []string{dead + ".disk"}},
		{"those with another stock, and a machine stands on one", append([]volume{own}, all...), nil, unlike("aa-mine-cc"), nil},
	} {
		h := &remover{}
		if err := l.sweepGoldens(h, c.volumes, c.domains, c.goes); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(h.removed, c.want) {
			t.Errorf("%s: removed are %v, want %v", c.name, h.removed, c.want)
		}
	}
}

// remover is a hypervisor that remembers which volumes are removed.
type remover struct {
	hypervisor
	removed []string
}

func (r *remover) RemoveVolume(_, name string) error {
	r.removed = append(r.removed, name)
	return nil
}
