package libvirt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"libvirt.org/go/libvirtxml"
)

// savedHead is how a file begins into which libvirt has saved a machine
// (virQEMUSaveHeader in src/qemu/qemu_saveimage.h of libvirt): the numbers are little
// endian; the definition follows, which ends with a zero byte, then libvirt's cookie,
// then QEMU's own stream. The format is libvirt's affair, so that one of another
// version is not touched.
type savedHead struct {
	Magic        [16]byte
	Version      uint32
	Length       uint32 // of definition and cookie
	Running      uint32
	Format       uint32 // 0 for a stream that is not compressed
	CookieOffset uint32 // 0 if there is none
	_            [14]uint32
}

const (
	savedMagic   = "LibvirtQemudSave" // another while it is being written
	savedVersion = 2
	savedMost    = 16 << 20 // bytes of definition and cookie
)

// saved is what a saved machine is, but for its memory.
type saved struct {
	head       savedHead
	definition []byte // without the zero byte
	cookie     []byte
}

// readSaved reads all that comes before QEMU's stream.
func readSaved(r io.Reader) (saved, error) {
	var s saved
	if err := binary.Read(r, binary.LittleEndian, &s.head); err != nil {
		return s, fmt.Errorf("read the head of a saved machine: %w", err)
	}
	switch h := s.head; {
	case string(h.Magic[:]) != savedMagic:
		return s, errors.New("it is no saved machine, or one that is not whole")
	case h.Version != savedVersion:
		return s, fmt.Errorf("machines are saved here in version %d of libvirt's format; %d is the one that is known", h.Version, savedVersion)
	case h.Format != 0:
		return s, errors.New("machines are saved compressed here: save_image_format in qemu.conf must be raw")
	case h.Length > savedMost || h.CookieOffset > h.Length:
		return s, errors.New("the head of the saved machine makes no sense")
	}
	text := make([]byte, s.head.Length)
	if _, err := io.ReadFull(r, text); err != nil {
		return s, fmt.Errorf("read the definition of a saved machine: %w", err)
	}
	if at := s.head.CookieOffset; at > 0 {
		text, s.cookie = text[:at], text[at:]
	}
	s.definition = bytes.TrimRight(text, "\x00")
	return s, nil
}

// bytes returns what comes before QEMU's stream.
func (s saved) bytes() []byte {
	h := s.head
	text := append(bytes.Clone(s.definition), 0)
	if h.CookieOffset > 0 {
		h.CookieOffset = uint32(len(text))
	}
	text = append(text, s.cookie...)
	h.Length = uint32(len(text))
	var all bytes.Buffer
	_ = binary.Write(&all, binary.LittleEndian, h) // into memory, and of fixed size
	return append(all.Bytes(), text...)
}

// as returns the saved machine as another: one that libvirt has a definition of. What
// the guest sees is the saved one's to the last address of a device, since its memory
// knows that; what it is made of is the other's.
func (s saved) as(other libvirtxml.Domain) (saved, error) {
	var d libvirtxml.Domain
	if err := d.Unmarshal(string(s.definition)); err != nil {
		return s, fmt.Errorf("read the definition of a saved machine: %w", err)
	}
	if d.Devices == nil || other.Devices == nil || len(d.Devices.Disks) != len(other.Devices.Disks) ||
		len(d.Devices.Interfaces) != len(other.Devices.Interfaces) || len(d.Devices.Serials) != len(other.Devices.Serials) {
		return s, errors.New("the saved machine has other devices")
	}
	d.ID, d.Name, d.UUID, d.Title, d.Metadata = nil, other.Name, other.UUID, other.Title, other.Metadata
	if d.OS != nil && other.OS != nil {
		d.OS.Kernel, d.OS.Initrd = other.OS.Kernel, other.OS.Initrd
	}
	for i := range d.Devices.Disks {
		d.Devices.Disks[i].Source, d.Devices.Disks[i].BackingStore = other.Devices.Disks[i].Source, nil
	}
	for i := range d.Devices.Interfaces {
		from := other.Devices.Interfaces[i]
		d.Devices.Interfaces[i].MAC, d.Devices.Interfaces[i].Source, d.Devices.Interfaces[i].Target = from.MAC, from.Source, nil
	}
	for i := range d.Devices.Serials {
		d.Devices.Serials[i].Log = other.Devices.Serials[i].Log
	}
	for i := range d.Devices.Consoles {
		d.Devices.Consoles[i].Log = nil
		if len(other.Devices.Serials) > 0 && d.Devices.Consoles[i].Source != nil {
			d.Devices.Consoles[i].Log = other.Devices.Serials[0].Log
		}
	}
	text, err := d.Marshal()
	s.definition = []byte(text)
	return s, err
}
