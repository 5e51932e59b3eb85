package libvirt

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/flowctl/flowctl/engine"
	"libvirt.org/go/libvirtxml"
)

// making is a golden machine that is being made: its domain and volumes.
type making struct {
	l     *Libvirt
	h     hypervisor
	name  string
	saved bool

	disk, seed, console, state string
}

func (l *Libvirt) making(h hypervisor, g golden) *making {
	token := make([]byte, 4)
	_, _ = rand.Read(token) // never fails
	stem := goldenPrefix + g.key + "." + hex.EncodeToString(token)
	return &making{l: l, h: h, name: goldenPrefix + g.key, disk: stem + ".disk", seed: stem + ".seed", console: stem + ".console", state: stem + ".save"}
}

// draw makes the definition of the machine's domain. Its tag says whose making it is, for
// who has to end it when its maker has died, and which address it has, if any.
func (m *making) draw(want engine.VM, p plot) (libvirtxml.Domain, error) {
	whose := tag{Flow: m.l.settings.Flow, State: m.l.state()}
	if p.ip != nobody {
		whose.IP = p.ip.String()
	}
	mark, err := xml.Marshal(whose)
	p.disks.console = path.Join(path.Dir(p.disks.own), m.console)
	d := m.l.outline(m.h, want, p)
	d.Name, d.Title = m.name, "golden machine of flowctl"
	d.Metadata = &libvirtxml.DomainMetadata{XML: string(mark)}
	return d, err
}

// sweep removes what is not needed once the machine is saved, or could not be.
func (m *making) sweep() {
	volumes := []string{m.seed, m.console}
	if !m.saved {
		volumes = append(volumes, m.disk, m.state)
	}
	// The console and the state are written by others, so that libvirt has not heard of
	// them yet. What is left is swept up later.
	if m.h.Refresh(m.l.cfg.Pool) == nil {
		_ = m.l.removeVolumes(m.h, volumes)
	}
}

// save saves the machine, which ends it.
func (m *making) save() error {
	pool, err := poolPath(m.h, m.l.cfg.Pool)
	if err != nil {
		return err
	}
	state := path.Join(pool, m.state)
	if err := m.h.Save(m.name, state); err != nil {
		return storageFault(err)
	}
	f, err := os.Open(state)
	if err != nil {
		return fmt.Errorf("%w. Machines can be made of a golden one's state by whoever may read the pool's files; with golden = false in the provider block they are started", err)
	}
	defer f.Close()
	if _, err := readSaved(f); err != nil {
		return err
	}
	m.saved = true
	return nil
}

// shown completes an error with the end of the machine's console.
func (m *making) shown(err error) error {
	if errors.Is(err, errLost) {
		return err
	}
	return fmt.Errorf("%w. The last that its console shows:\n%s", err, m.l.consoleOf(m.h, m.console))
}
