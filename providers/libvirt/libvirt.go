package libvirt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// Name is the name under which specs and state know this provider.
const Name = "libvirt"

// Config is the provider block.
type Config struct {
	URI     string `flow:"uri" default:"qemu:///system" doc:"The libvirt daemon: qemu:///system here, qemu+ssh://user@box/system elsewhere."`
	Pool    string `flow:"pool" default:"default" doc:"The storage pool for disks: one that is a folder."`
	Network string `flow:"network" default:"default" doc:"The network, as libvirt calls it, of machines whose block names none."`
	Accel   string `flow:"accel" enum:"auto|kvm|tcg" default:"auto" doc:"Whether machines run on the processor itself (kvm) or are emulated (tcg). auto tries once after each start of this computer whether KVM runs; elsewhere, which it cannot try, it takes tcg."`
	Golden  bool   `flow:"golden" default:"true" doc:"Whether machines are made of the saved state of one that was started once, where that is possible: with a daemon here and an image of 'flowctl disk build'. Otherwise each is started."`
	Image   string `flow:"image" rule:"filled" doc:"The disk of machines whose block has no image, relative to the spec, or a URL; the small Docker machine that 'flowctl disk build' makes, if not set."`
	SHA256  string `flow:"sha256" rule:"filled" doc:"The image's SHA-256, in hexadecimal. An image at a URL needs it; a file is compared with it."`
	Kernel  string `flow:"kernel" rule:"filled" doc:"The kernel that goes with image, if it has no boot loader."`
	Initrd  string `flow:"initrd" rule:"filled" doc:"The kernel's initial file system."`
}

// Factory makes the provider.
var Factory = providers.Factory{
	Doc:    "Makes virtual machines and networks with libvirt, here or elsewhere. Functions run in the machines' Docker engines.",
	Config: engine.SchemaOf[Config](),
	Kinds:  []engine.Kind{engine.KindVM, engine.KindWarm, engine.KindNetwork},
	Runner: "docker",
	New: func(_ context.Context, s providers.Settings) (providers.Provider, error) {
		return New(s), nil
	},
}

// Libvirt is the provider.
type Libvirt struct {
	*providers.Native
	settings providers.Settings
	cfg      Config

	mu   sync.Mutex // guards conn
	conn hypervisor // nil until the first call

	addressing sync.Mutex // held from the choice of an address until others see it
	fetching   sync.Mutex // held while an image is fetched
	storing    sync.Mutex // held while disks that machines share come and go
	keysOnce   func() (*keyring, error)
	accel      func() string
	goldens    goldens
	born       born
	hashes     hashes

	meter meter
}

var (
	_ providers.Provider  = (*Libvirt)(nil)
	_ providers.Checker   = (*Libvirt)(nil)
	_ providers.Refiner   = (*Libvirt)(nil)
	_ providers.Lister    = (*Libvirt)(nil)
	_ providers.Cleaner   = (*Libvirt)(nil)
	_ providers.Closer    = (*Libvirt)(nil)
	_ providers.Meter     = (*Libvirt)(nil)
	_ providers.Watcher   = (*Libvirt)(nil)
	_ providers.Suspender = (*Libvirt)(nil)
	_ providers.Execer    = (*Libvirt)(nil)
	_ providers.Consoler  = (*Libvirt)(nil)

	_ providers.Introducer  = (*Libvirt)(nil)
	_ providers.Snapshotter = (*Libvirt)(nil)
	_ providers.Taker       = (*Libvirt)(nil)
)

// New returns the provider. No daemon is asked anything before the first call.
func New(s providers.Settings) *Libvirt {
	l := &Libvirt{settings: s, cfg: engine.MustDecode[Config](s.Config)}
	l.keysOnce = sync.OnceValues(l.openKeys)
	l.accel = sync.OnceValue(l.chooseAccel)
	l.hashes.file = hashesFile()
	machines := providers.Of[engine.VM]{
		ReadFn: l.readVM, ApplyFn: l.applyVM, DeleteFn: l.removeVM, CheckFn: l.checkVM, RefineFn: refineVM,
	}
	warm := machines
	warm.CheckFn = nil // the block's own machines have the same faults
	l.Native = &providers.Native{Name: s.Name, Kinds: map[engine.Kind]providers.Resource{
		engine.KindVM: machines, engine.KindWarm: warm,
		engine.KindNetwork: providers.Of[engine.Network]{
			ReadFn: l.readNetwork, ApplyFn: l.applyNetwork, DeleteFn: l.removeNetwork, CheckFn: l.checkNetwork,
		},
	}}
	return l
}

// hypervisor returns the connection, a new one if the last is lost.
func (l *Libvirt) hypervisor() (hypervisor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil && l.conn.Alive() {
		return l.conn, nil
	}
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
	h, err := dial(l.cfg.URI)
	if err != nil {
		if errors.Is(err, errLost) {
			err = fmt.Errorf("%w. Start libvirtd there, or correct uri in the provider block", err)
		}
		return nil, err
	}
	l.conn = h
	return h, nil
}

// begin returns the connection for something that is to be made. That something
// was made is seen by the provider's folder, which Clean removes.
func (l *Libvirt) begin(ctx context.Context) (hypervisor, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := os.MkdirAll(l.settings.Dir, 0o700); err != nil {
		return nil, err
	}
	return l.hypervisor()
}

// Close ends the connection.
func (l *Libvirt) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return nil
	}
	err := l.conn.Close()
	l.conn = nil
	return err
}

// name is the outside name of an object: no flow's name has a dot.
func (l *Libvirt) name(a engine.Address, gen int) string {
	return l.settings.Flow + "." + providers.Name(a, gen)
}

// state tells the states of flows apart that have the same name.
func (l *Libvirt) state() string { return l.settings.Mark()[:12] }

// path resolves a path of the spec.
func (l *Libvirt) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(l.settings.SpecDir, p)
}

// short is a part of a hash that is long enough to tell a flow's things apart.
func short(parts ...string) string { return hex.EncodeToString(sum(parts...))[:12] }

func sum(parts ...string) []byte {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return h.Sum(nil)
}
