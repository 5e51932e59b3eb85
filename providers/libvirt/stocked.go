package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/google/uuid"
)

// A golden machine is stocked by being made somebody for a while: a machine is made of
// its state, the images of the flow's functions are brought to that one, it is made
// nobody again, and saved. Its keys are of an authority that ends with it, so that what
// is left of them in its memory opens nothing. Unlike the plain one that it is made of,
// it is one group's own.

// stocked finds or makes the golden machine that has on it what machines of r's group
// will need. Whatever is against that, they are made of the plain one.
func (l *Libvirt) stocked(ctx context.Context, h hypervisor, r providers.Ref, want engine.VM, plain *golden) *golden {
	if r.Stock == nil || !l.restocks(want) {
		return plain
	}
	s := r.Stock()
	pool, err := poolPath(h, l.cfg.Pool)
	if s.Key == "" || err != nil {
		return plain
	}
	g := &golden{key: l.stockedKey(plain, s), size: plain.size}
	o := l.goldens.of(g.key)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.why != nil || ctx.Err() != nil:
		return plain
	case g.find(pool):
		return g
	case !s.Wait:
		return plain
	}
	l.settings.Log.Info("images are brought to the golden machine", "key", plain.key)
	err = l.stock(ctx, h, r, want, plain, *g, s)
	if err == nil && !g.find(pool) {
		err = errors.New("its state is not there")
	}
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, errLost) {
			o.why = err
			l.settings.Log.Warn("images are brought to each machine, since the golden one did not take them", "err", err)
		}
		return plain
	}
	if err := l.sweepStocked(h, *g); err != nil {
		l.settings.Log.Warn("golden machines with other images stay for now", "err", err)
	}
	return g
}

// restocks reports whether the golden machine of an image knows how to be nobody again.
func (l *Libvirt) restocks(want engine.VM) bool {
	src, err := l.sourceOf(want)
	if err != nil {
		return false
	}
	text, err := os.ReadFile(goldenNote(src))
	if err != nil {
		return false
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return err == nil && version >= restocking
}

// restocking is what the file golden says at least of an image that has /etc/nobody.
const restocking = 2

// stockedKey names a stocked golden machine by the plain one, whose it is, and the stock.
// No two groups share one, since each sweeps up what it needs no more.
func (l *Libvirt) stockedKey(plain *golden, s providers.Stock) string {
	return plain.key + "-" + short(l.state(), s.Group.String()) + "-" + short(s.Key)
}

// stock makes a stocked golden machine.
func (l *Libvirt) stock(ctx context.Context, h hypervisor, r providers.Ref, want engine.VM, plain *golden, g golden, s providers.Stock) error {
	ctx, cancel := context.WithTimeout(ctx, stockTime(ctx))
	defer cancel()
	name := goldenPrefix + g.key
	if err := h.Stop(name); err != nil && !errors.Is(err, providers.ErrNotFound) { // whoever was making it has been killed
		return err
	}
	dir, err := l.mintKeys()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	keys, err := readKeys(dir)
	if err != nil {
		return err
	}
	m := l.making(h, g)
	defer m.sweep()
	defer h.Stop(name) // it may run even if that failed, and is gone once it is saved
	ip, err := l.lend(h, want, plain, m, keys)
	if err != nil {
		return err
	}
	act := func() error {
		if err := l.become(ctx, h, name); err != nil {
			return err
		}
		if err := l.readyWith(ctx, h, keys, name, ip); err != nil {
			return err
		}
		if err := s.Bring(ctx, engineWith(dir, r, ip)); err != nil {
			return err
		}
		e, err := runInGuest(ctx, h, name, []string{"/etc/nobody"}, nil)
		if err != nil {
			return err
		}
		return e.fault("bring the golden machine to rest again")
	}
	if err := act(); err != nil {
		return m.shown(err)
	}
	return m.save()
}

// stockTimeout is how long it may take to stock a golden machine. Images may be large.
const stockTimeout = 10 * time.Minute

// stockTime is that, or half of the time that is left: in the other half those who wait
// for it are made of the plain one.
func stockTime(ctx context.Context) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return min(stockTimeout, time.Until(end)/2)
	}
	return stockTimeout
}

// lend makes of a golden machine's state one with keys of its own, which nobody has
// declared.
func (l *Libvirt) lend(h hypervisor, want engine.VM, plain *golden, m *making, keys *keyring) (ip netip.Addr, err error) {
	net, err := l.subnetOf(h, want)
	if err != nil {
		return ip, err
	}
	src, err := l.sourceOf(want)
	if err != nil {
		return ip, err
	}
	l.storing.Lock()
	defer l.storing.Unlock()
	_, d, err := l.bases(h, src)
	if err != nil {
		return ip, err
	}
	if d.own, err = l.makeVolume(h, overlay(m.disk, shared{path: plain.disk, format: "qcow2"}, plain.size)); err != nil {
		return ip, err
	}
	l.addressing.Lock()
	defer l.addressing.Unlock()
	taken, err := takenOn(h, net)
	if err != nil {
		return ip, err
	}
	if ip, err = net.pick(sum(m.name), taken); err != nil {
		return ip, err
	}
	// What the spec gives to its machines is not for this one.
	r := providers.Ref{Address: engine.Address{Kind: engine.KindVM, Name: "golden"}, Gen: 1}
	files, err := seedFiles(keys, r, m.name, engine.VM{}, net, ip)
	if err != nil {
		return ip, err
	}
	files["flowctl/env"] += "LENT=yes\n"
	image, err := burn(files)
	if err != nil {
		return ip, err
	}
	if d.seed, err = l.fillVolume(h, m.seed, padded(image, seedSize(want))); err != nil {
		return ip, err
	}
	domain, err := m.draw(want, plot{net: net, ip: ip, disks: d})
	if err != nil {
		return ip, err
	}
	domain.UUID = uuid.NewString() // libvirt has no definition of it that has one
	if err := l.restore(h, plain, domain); err != nil {
		return ip, fmt.Errorf("restore domain %s from the golden machine's state: %w", m.name, err)
	}
	return ip, nil
}

// sweepStocked removes the group's golden machines with another stock that are made of the
// same plain one, and what is left of one that was not finished, but for what machines
// stand on.
func (l *Libvirt) sweepStocked(h hypervisor, now golden) error {
	l.storing.Lock()
	defer l.storing.Unlock()
	if err := h.Refresh(l.cfg.Pool); err != nil {
		return err
	}
	volumes, domains, err := l.holdings(h)
	if err != nil {
		return err
	}
	alike := now.key[:strings.LastIndexByte(now.key, '-')+1]
	return l.sweepGoldens(h, volumes, domains, func(g golden) bool {
		return strings.HasPrefix(g.key, alike) && (g.key != now.key || !wholeState(g.state))
	})
}
