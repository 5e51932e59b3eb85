//go:build libvirt_dlopen && cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/flowctl/flowctl/providers"
	"libvirt.org/go/libvirt"
)

// Where a call failed because of the connection, these are its codes.
var lostCodes = []libvirt.ErrorNumber{libvirt.ERR_RPC, libvirt.ERR_NO_CONNECT, libvirt.ERR_INVALID_CONN}

var notFoundCodes = []libvirt.ErrorNumber{
	libvirt.ERR_NO_DOMAIN, libvirt.ERR_NO_NETWORK, libvirt.ERR_NO_STORAGE_VOL, libvirt.ERR_NO_STORAGE_POOL,
	libvirt.ERR_NO_DOMAIN_SNAPSHOT,
}

var existsCodes = []libvirt.ErrorNumber{libvirt.ERR_DOM_EXIST, libvirt.ERR_NETWORK_EXIST, libvirt.ERR_STORAGE_VOL_EXIST}

// fault makes a readable error of libvirt's.
func fault(act string, err error) error {
	if err == nil {
		return nil
	}
	v, ok := errors.AsType[libvirt.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", act, err)
	}
	is := func(codes []libvirt.ErrorNumber) bool {
		for _, c := range codes {
			if v.Code == c {
				return true
			}
		}
		return false
	}
	said := strings.TrimSpace(v.Message)
	switch {
	case is(notFoundCodes):
		return fmt.Errorf("%s: %s: %w", act, said, providers.ErrNotFound)
	case is(existsCodes), strings.Contains(said, "already exists"):
		return fmt.Errorf("%s: %s: %w", act, said, errExists)
	case is(lostCodes), strings.Contains(said, "client socket is closed"), strings.Contains(said, "Failed to connect socket"), strings.Contains(said, "End of file while reading data"):
		return providers.Passing(fmt.Errorf("%s: %s: %w", act, said, errLost))
	default:
		return fmt.Errorf("%s: %s", act, said)
	}
}

// loop is libvirt's event loop. It serves all connections, and there is no way to
// end it, so it runs until the process ends.
var loop = sync.OnceValue(func() error {
	if err := libvirt.EventRegisterDefaultImpl(); err != nil {
		return err
	}
	go func() {
		for libvirt.EventRunDefaultImpl() == nil {
		}
	}()
	return nil
})

// connection is a hypervisor over libvirt's library.
type connection struct {
	c         *libvirt.Connect
	simulated bool
}

var _ hypervisor = (*connection)(nil)

// dial connects to a daemon.
func dial(uri string) (hypervisor, error) {
	if err := loop(); err != nil {
		return nil, fault("start the event loop of libvirt", err)
	}
	c, err := libvirt.NewConnect(uri)
	if err != nil {
		return nil, fault("connect to "+uri, err)
	}
	// A daemon that hangs is noticed after half a minute; the driver for tests
	// knows no such thing.
	_ = c.SetKeepAlive(5, 5)
	return &connection{c: c, simulated: strings.HasPrefix(uri, "test:")}, nil
}

func (h *connection) Alive() bool {
	ok, err := h.c.IsAlive()
	return ok && err == nil
}

func (h *connection) Version() (string, error) {
	qemu, err := h.c.GetVersion()
	if err != nil {
		return "", fault("ask for the version of the hypervisor", err)
	}
	lib, err := h.c.GetLibVersion()
	if err != nil {
		return "", fault("ask for the version of libvirt", err)
	}
	host, err := h.c.GetHostname()
	return fmt.Sprintf("hypervisor %d, libvirt %d, on %s", qemu, lib, host), fault("ask for the name of the computer", err)
}

func (h *connection) Simulated() bool { return h.simulated }

func (h *connection) Close() error {
	_, err := h.c.Close()
	return fault("close the connection to libvirt", err)
}

func (h *connection) Pool(pool string) (string, error) {
	var xml string
	err := h.inPool("look for pool "+pool, pool, func(p *libvirt.StoragePool) (err error) {
		if on, err := p.IsActive(); err != nil || !on {
			return errors.Join(err, fmt.Errorf("it is not running: 'virsh pool-start %s' starts it", pool))
		}
		xml, err = p.GetXMLDesc(0)
		return err
	})
	return xml, err
}

// inPool calls f with a pool.
func (h *connection) inPool(act, pool string, f func(*libvirt.StoragePool) error) error {
	p, err := h.c.LookupStoragePoolByName(pool)
	if err != nil {
		return fault(act, err)
	}
	defer p.Free()
	return fault(act, f(p))
}

// onVolume calls f with a volume.
func (h *connection) onVolume(act, pool, name string, f func(*libvirt.StorageVol) error) error {
	return h.inPool(act, pool, func(p *libvirt.StoragePool) error {
		v, err := p.LookupStorageVolByName(name)
		if err != nil {
			return err
		}
		defer v.Free()
		return f(v)
	})
}

// busyPatience is how long a pool may be filled by others before something that waits
// for it is given up, to be tried again later: as long as a large disk takes.
const busyPatience = 2 * time.Minute

func (h *connection) Refresh(pool string) error {
	ctx, cancel := context.WithTimeout(context.Background(), busyPatience)
	defer cancel()
	return unbusy(ctx, func() error {
		return h.inPool("refresh pool "+pool, pool, func(p *libvirt.StoragePool) error { return p.Refresh(0) })
	})
}

func describeVolume(v *libvirt.StorageVol) (volume, error) {
	name, err := v.GetName()
	if err != nil {
		return volume{}, err
	}
	path, err := v.GetPath()
	if err != nil {
		return volume{}, err
	}
	xml, err := v.GetXMLDesc(0)
	return volume{Name: name, Path: path, XML: xml}, err
}

func (h *connection) Volumes(pool string) ([]volume, error) {
	var all []volume
	err := h.inPool("list the volumes of pool "+pool, pool, func(p *libvirt.StoragePool) error {
		list, err := p.ListAllStorageVolumes(0)
		if err != nil {
			return err
		}
		for _, v := range list {
			d, err := describeVolume(&v)
			v.Free()
			if errors.Is(fault("", err), providers.ErrNotFound) {
				continue // it is being removed
			}
			if err != nil {
				return err
			}
			all = append(all, d)
		}
		return nil
	})
	return all, err
}

func (h *connection) Volume(pool, name string) (volume, error) {
	var d volume
	err := h.onVolume("look for volume "+name, pool, name, func(v *libvirt.StorageVol) (err error) {
		d, err = describeVolume(v)
		return err
	})
	return d, err
}

func (h *connection) MakeVolume(pool, xml string) error {
	return h.inPool("make a volume in pool "+pool, pool, func(p *libvirt.StoragePool) error {
		v, err := p.StorageVolCreateXML(xml, 0)
		if err == nil {
			v.Free()
		}
		return err
	})
}

func (h *connection) CopyVolume(pool, xml, from string) error {
	return h.inPool("copy volume "+from, pool, func(p *libvirt.StoragePool) error {
		old, err := p.LookupStorageVolByName(from)
		if err != nil {
			return err
		}
		defer old.Free()
		v, err := p.StorageVolCreateXMLFrom(xml, old, 0)
		if err == nil {
			v.Free()
		}
		return err
	})
}

// pieceSize is how much of a volume is sent or read at a time: less than what one
// message may hold.
const pieceSize = 128 << 10

func (h *connection) Upload(pool, name string, content io.Reader, size int64) error {
	return h.onVolume("fill volume "+name, pool, name, func(v *libvirt.StorageVol) error {
		return h.stream(func(s *libvirt.Stream) error {
			if err := v.Upload(s, 0, uint64(size), 0); err != nil {
				return err
			}
			return s.SendAll(func(_ *libvirt.Stream, n int) ([]byte, error) {
				piece := make([]byte, min(n, pieceSize))
				got, err := io.ReadFull(content, piece)
				if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
					err = nil
				}
				return piece[:got], err
			})
		})
	})
}

func (h *connection) Download(pool, name string, into io.Writer) error {
	return h.onVolume("read volume "+name, pool, name, func(v *libvirt.StorageVol) error {
		return h.stream(func(s *libvirt.Stream) error {
			if err := v.Download(s, 0, 0, 0); err != nil {
				return err
			}
			return s.RecvAll(func(_ *libvirt.Stream, piece []byte) (int, error) { return into.Write(piece) })
		})
	})
}

// stream calls f with a stream and ends it well or badly, as f did.
func (h *connection) stream(f func(*libvirt.Stream) error) error {
	s, err := h.c.NewStream(0)
	if err != nil {
		return err
	}
	defer s.Free()
	if err := f(s); err != nil {
		_ = s.Abort()
		return err
	}
	return s.Finish()
}

func (h *connection) RemoveVolume(pool, name string) error {
	return h.onVolume("remove volume "+name, pool, name, func(v *libvirt.StorageVol) error { return v.Delete(0) })
}
