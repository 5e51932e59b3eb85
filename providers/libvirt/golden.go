package libvirt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"libvirt.org/go/libvirtxml"
)

// golden is a machine that was started once and saved as soon as its engine waited for
// a certificate, so that others are made of its state rather than started. It has no
// name, no address and no secret. Its disk is one that machines share, like an image;
// the state is a file beside it in the pool, and its name tells what it was made of.
//
// It is made as a domain of a fixed name that ends with the connection of whoever makes
// it: so libvirt lets one make it, and whoever dies while making it leaves volumes that
// nothing uses, which are swept up like any.
type golden struct {
	key   string
	state string // path of the saved state
	disk  string // path of the disk, which is not written to any more
	size  uint64 // of the disk, in bytes
}

const goldenPrefix = basePrefix + "golden-"

// cloneTimeout is how long a machine may take that is made of a golden one's state,
// before it is started instead.
const cloneTimeout = 2 * time.Minute

// goldens remembers the golden machines that were seen, and lets one at a time be made
// of each.
type goldens struct {
	mu   sync.Mutex
	each map[string]*one
}

type one struct {
	mu  sync.Mutex
	why error // why it, or a machine of its state, could not be made: it is not tried again
}

// spoil gives a golden machine up.
func (g *goldens) spoil(key string, why error) {
	o := g.of(key)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.why = why
}

func (g *goldens) of(key string) *one {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.each == nil {
		g.each = map[string]*one{}
	}
	if g.each[key] == nil {
		g.each[key] = &one{}
	}
	return g.each[key]
}

// clones reports whether machines of an image can be made of a golden one's state: the
// daemon must be here, since it reads the state from a pipe of ours, and the image must
// know what is asked of it, as those of 'flowctl disk build' do.
func (l *Libvirt) clones(h hypervisor, src source) bool {
	u, err := url.Parse(l.cfg.URI)
	if !l.cfg.Golden || h.Simulated() || err != nil || u.Host != "" {
		return false
	}
	_, err = os.Stat(goldenNote(src))
	return err == nil
}

// goldenNote is the file beside an image that says what it knows of golden machines.
func goldenNote(src source) string { return filepath.Join(filepath.Dir(src.image), "golden") }

// goldenOf finds the golden machine for a machine, or makes it; nil if there is to be
// none.
func (l *Libvirt) goldenOf(ctx context.Context, h hypervisor, want engine.VM) (*golden, error) {
	if h.Simulated() {
		return nil, nil
	}
	src, err := l.sourceOf(want)
	if err != nil || !l.clones(h, src) {
		return nil, err
	}
	pool, err := poolPath(h, l.cfg.Pool)
	if err != nil {
		return nil, err
	}
	l.storing.Lock()
	base, parts, err := l.bases(h, src)
	l.storing.Unlock()
	if err != nil {
		return nil, err
	}
	key, err := l.goldenKey(h, want, base, parts)
	if err != nil {
		return nil, err
	}
	o := l.goldens.of(key)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.why != nil {
		return nil, nil
	}
	g := &golden{key: key, size: max(base.size, uint64(want.DiskSize))}
	for p := (pause{100 * time.Millisecond, time.Second}); !g.find(pool); {
		err := l.makeGolden(ctx, h, want, *g)
		if err != nil && !errors.Is(err, errExists) { // else somebody else makes it
			if ctx.Err() == nil && !errors.Is(err, errLost) {
				o.why = err
			}
			return nil, err
		}
		if err != nil && !p.wait(ctx) {
			return nil, fmt.Errorf("wait for the golden machine that somebody else makes: %w", context.Cause(ctx))
		}
	}
	return g, nil
}

// find looks for the state and the disk of a golden machine that is whole.
func (g *golden) find(pool string) bool {
	states, _ := filepath.Glob(filepath.Join(pool, goldenPrefix+g.key+".*.save")) // the pattern is right
	for _, state := range states {
		disk := strings.TrimSuffix(state, ".save") + ".disk"
		if _, err := os.Stat(disk); err != nil || !wholeState(state) {
			continue
		}
		g.state, g.disk = state, disk
		return true
	}
	return false
}

func wholeState(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = readSaved(f)
	return err == nil
}

// goldenKey names all that a saved state depends on: what the guest sees, what it has
// started from, and who saved it where.
func (l *Libvirt) goldenKey(h hypervisor, want engine.VM, base shared, parts disks) (string, error) {
	version, err := h.Version()
	if err != nil {
		return "", err
	}
	d := l.outline(h, want, plot{net: subnet{name: "any"}, ip: nobody, disks: disks{own: "disk", seed: "seed", console: "console", kernel: parts.kernel, initrd: parts.initrd}})
	text, err := d.Marshal()
	if err != nil {
		return "", err
	}
	size := fmt.Sprint(max(base.size, uint64(want.DiskSize)), seedSize(want))
	return short(version, text, base.path, size, fmt.Sprint(savedVersion)), nil
}

// nobody is the address of a golden machine.
var nobody = netip.IPv4Unspecified()

// makeGolden starts a golden machine, waits until it rests, and saves it.
func (l *Libvirt) makeGolden(ctx context.Context, h hypervisor, want engine.VM, g golden) error {
	pool, err := poolPath(h, l.cfg.Pool)
	if err != nil {
		return err
	}
	m := l.making(h, g)
	defer m.sweep()
	if err := l.bootGolden(h, want, g, m); err != nil {
		return startFault(err)
	}
	defer h.Stop(m.name) // it is gone once it is saved
	if g.find(pool) {    // somebody has made it in the meantime
		return nil
	}
	l.settings.Log.Info("a golden machine is made, of whose state others are made", "key", g.key)
	if err := l.rested(ctx, h, m.name); err != nil {
		return m.shown(err)
	}
	return m.save()
}

// bootGolden makes what a golden machine consists of, and starts it. Nobody in this
// process sweeps up what nothing uses yet.
func (l *Libvirt) bootGolden(h hypervisor, want engine.VM, g golden, m *making) error {
	net, err := l.subnetOf(h, want)
	if err != nil {
		return err
	}
	src, err := l.sourceOf(want)
	if err != nil {
		return err
	}
	image, err := burn(map[string]string{"flowctl/env": "GOLDEN=yes\n"})
	if err != nil {
		return err
	}
	l.storing.Lock()
	defer l.storing.Unlock()
	base, d, err := l.bases(h, src)
	if err != nil {
		return err
	}
	if d.own, err = l.makeVolume(h, overlay(m.disk, base, g.size)); err != nil {
		return err
	}
	if d.seed, err = l.fillVolume(h, m.seed, padded(image, seedSize(want))); err != nil {
		return err
	}
	domain, err := m.draw(want, plot{net: net, ip: nobody, disks: d})
	if err != nil {
		return err
	}
	text, err := domain.Marshal()
	if err != nil {
		return err
	}
	return h.Boot(text)
}

// rested waits until a golden machine has come as far as it can, and is at rest.
func (l *Libvirt) rested(ctx context.Context, h hypervisor, name string) error {
	if err := awake(ctx, h, name); err != nil {
		return err
	}
	const notYet = 75
	for p := (pause{250 * time.Millisecond, time.Second}); ; {
		e, err := runInGuest(ctx, h, name, []string{"/etc/golden"}, nil)
		switch {
		case err != nil:
			return err
		case e.Status != notYet:
			return e.fault("bring the golden machine to rest")
		}
		if !p.wait(ctx) {
			return fmt.Errorf("the engine of the golden machine did not get as far as its certificate: %w", context.Cause(ctx))
		}
	}
}

// clone makes a machine of a golden one's state.
func (l *Libvirt) clone(ctx context.Context, h hypervisor, r providers.Ref, want engine.VM, g *golden) (netip.Addr, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, cloneTimeout)
	defer cancel()
	ip, err := l.build(h, r, want, g)
	if err != nil {
		return ip, err
	}
	name, at := l.domainName(r), []any{"addr", r.Address}
	lap := func(what string) { at = append(at, what, time.Since(began).Round(time.Millisecond)) }
	lap("built")
	d, err := find(h, name)
	if err != nil {
		return ip, err
	}
	if err := l.restore(h, g, d.xml); err != nil {
		return ip, fmt.Errorf("restore domain %s from the golden machine's state: %w", name, err)
	}
	lap("restored")
	if err := l.become(ctx, h, name); err != nil {
		return ip, err
	}
	lap("told")
	if err := l.ready(ctx, h, name, ip); err != nil {
		return ip, err
	}
	lap("ready")
	l.settings.Log.Debug("a machine is made of a golden one's state", at...)
	return ip, nil
}

// pipeSize is how much of a state is under way at a time, in bytes.
const pipeSize = 1 << 20

// restore restores a domain that is defined from a golden machine's state. Libvirt
// reads it from a pipe, with another head, so that nothing of it is copied.
func (l *Libvirt) restore(h hypervisor, g *golden, as libvirtxml.Domain) error {
	state, err := os.Open(g.state)
	if err != nil {
		return err
	}
	defer state.Close()
	s, err := readSaved(state)
	if err != nil {
		return err
	}
	if s, err = s.as(as); err != nil {
		return err
	}
	fifo := filepath.Join(l.settings.Dir, as.Name+".state")
	if err := os.Remove(fifo); err != nil && !errors.Is(err, os.ErrNotExist) { // whoever had it has been killed
		return err
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		return err
	}
	defer os.Remove(fifo)
	// Open at both ends it waits for nobody, and whoever writes is told when it closes,
	// even if libvirt never came to read.
	pipe, err := os.OpenFile(fifo, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	widen(pipe)
	written := make(chan error, 1)
	go func() {
		_, err := pipe.Write(s.bytes())
		if err == nil {
			err = pour(pipe, state)
		}
		written <- err
	}()
	err = h.Restore(fifo)
	closed := pipe.Close()
	if wrote := <-written; err == nil && wrote != nil {
		err = fmt.Errorf("it was taken for whole before all of it was read: %w", wrote)
	}
	return errors.Join(err, closed)
}

// pour moves the rest of a file into a pipe: its pages, which nobody copies. It ends with
// an error when the pipe is closed.
func pour(pipe, file *os.File) error {
	to, err := pipe.SyscallConn()
	if err != nil {
		return err
	}
	const nonblock = 2 // SPLICE_F_NONBLOCK of splice(2)
	var failed error
	err = to.Write(func(fd uintptr) bool {
		for {
			n, err := syscall.Splice(int(file.Fd()), nil, int(fd), nil, pipeSize, nonblock)
			switch {
			case errors.Is(err, syscall.EAGAIN): // it is full
				return false
			case errors.Is(err, syscall.EINTR), err == nil && n > 0:
			default:
				failed = err
				return true
			}
		}
	})
	return errors.Join(err, failed)
}

// widen makes a pipe hold pipeSize; one that stays narrow is slower.
func widen(pipe *os.File) {
	const setPipeSize = 1031 // F_SETPIPE_SZ of fcntl(2)
	if c, err := pipe.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, pipeSize) })
	}
}

// entropyBytes is how many random bytes of this computer a machine begins with.
const entropyBytes = 256

// become makes of a machine that has a golden one's state the one that its seed tells of.
func (l *Libvirt) become(ctx context.Context, h hypervisor, name string) error {
	if err := awake(ctx, h, name); err != nil {
		return err
	}
	entropy := make([]byte, entropyBytes)
	_, _ = rand.Read(entropy) // never fails
	e, err := runInGuest(ctx, h, name, []string{"/etc/become", strconv.FormatInt(time.Now().Unix(), 10)}, entropy)
	if err != nil {
		return err
	}
	return e.fault("tell domain " + name + " who it is")
}

// endGoldens ends the golden machines that this flow was making when whoever made them
// died: libvirt ends them, too, but in its own time.
func (l *Libvirt) endGoldens(h hypervisor) error {
	all, err := everything(h)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range all {
		if !strings.HasPrefix(d.Name, goldenPrefix) || !l.ours(d.tag) {
			continue
		}
		if err := h.Stop(d.Name); err != nil && !errors.Is(err, providers.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sweepGoldens removes golden machines that are to go, but for those that something
// stands on which stays.
func (l *Libvirt) sweepGoldens(h hypervisor, volumes []volume, domains []domain, goes func(golden) bool) error {
	stems := map[string]bool{} // whether it stays
	for _, v := range volumes {
		stem, ok := stemOf(v)
		if _, known := stems[stem]; !ok || known {
			continue
		}
		key, _, _ := strings.Cut(strings.TrimPrefix(stem, goldenPrefix), ".")
		stems[stem] = !goes(golden{key: key, state: path.Join(path.Dir(v.Path), stem+".save")}) ||
			slices.ContainsFunc(domains, func(d domain) bool { return strings.Contains(d.XML, stem+".") })
	}
	for more := true; more; { // one may stand on another
		more = false
		for _, v := range volumes {
			if stem, ok := stemOf(v); ok && !stems[stem] {
				continue
			}
			for stem, stays := range stems {
				if !stays && strings.Contains(v.XML, stem+".") {
					stems[stem], more = true, true
				}
			}
		}
	}
	var unused []string
	for _, v := range volumes {
		if stem, ok := stemOf(v); ok && !stems[stem] {
			unused = append(unused, v.Name)
		}
	}
	return l.removeVolumes(h, unused)
}

// stemOf is what the volumes of one golden machine have in common.
func stemOf(v volume) (stem string, ok bool) {
	return strings.TrimSuffix(v.Name, path.Ext(v.Name)), strings.HasPrefix(v.Name, goldenPrefix)
}
