package libvirt

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/sync/errgroup"
)

// A machine that was warm keeps the domain that it had, since libvirt gives no domain
// that runs another name. So the domain's tag tells which machine it is, and one call
// to libvirt makes it another. All that is a machine's own by then, its address, keys
// and disk, was the warm one's own, and stays; what has to change is what it calls
// itself, in the guest and in its seed.

// warmMark is in the names of domains that were made warm. What follows is the
// operation that made them, for a later warm machine may have the same address and
// generation while the earlier, as another, still lives.
const warmMark = ".warm-"

// domainName is the name of the domain that is made for a machine.
func (l *Libvirt) domainName(r providers.Ref) string {
	if r.Address.Kind != engine.KindWarm {
		return l.name(r.Address, r.Gen)
	}
	return l.name(r.Address, r.Gen) + warmMark + r.Operation
}

func (l *Libvirt) title(r providers.Ref) string {
	return r.Address.String() + " of " + l.settings.Flow
}

func refOf(o engine.Object) providers.Ref {
	return providers.Ref{Address: o.Address, Gen: o.Gen, Operation: o.Operation}
}

// born remembers the domains of machines that are, or were, warm.
type born struct {
	mu   sync.Mutex
	name map[engine.Key]string
}

func (b *born) note(k engine.Key, domain string) {
	if !strings.Contains(domain, warmMark) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.name == nil {
		b.name = map[engine.Key]string{}
	}
	b.name[k] = domain
}

func (b *born) of(k engine.Key) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name, ok := b.name[k]
	return name, ok
}

// machine finds the domain of a machine: that of its name, or one that was made warm
// and bears its tag. A domain of its name that is another's is returned if there is
// none else.
func (l *Libvirt) machine(h hypervisor, r providers.Ref) (known, error) {
	is := func(d known, err error) bool { return err == nil && l.ours(d.tag) && d.tag.is(r) }
	if name, ok := l.born.of(r.Key()); ok {
		if d, err := find(h, name); is(d, err) {
			return d, nil
		}
	}
	var own known
	missing := fmt.Errorf("look for the domain of %s: %w", r.Address, providers.ErrNotFound)
	if r.Address.Kind != engine.KindWarm {
		if own, missing = find(h, l.name(r.Address, r.Gen)); is(own, missing) || missing != nil && !errors.Is(missing, providers.ErrNotFound) {
			return own, missing
		}
	}
	names, err := h.DomainNames()
	if err != nil {
		return known{}, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, l.settings.Flow+".") || !strings.Contains(name, warmMark) {
			continue
		}
		d, err := find(h, name)
		switch {
		case errors.Is(err, providers.ErrNotFound): // it is being removed
		case err != nil:
			return known{}, err
		case is(d, nil):
			l.born.note(r.Key(), name)
			return d, nil
		}
	}
	return own, missing
}

// domainOf is the name of a machine's domain.
func (l *Libvirt) domainOf(h hypervisor, o engine.Object) (string, error) {
	d, err := l.machine(h, refOf(o))
	return d.Name, err
}

// wasWarm reports whether a machine has the domain of a warm one that it was made of.
func (l *Libvirt) wasWarm(d known, r providers.Ref) bool {
	return r.Address.Kind != engine.KindWarm && strings.Contains(d.Name, warmMark)
}

// sweepWarm removes the volumes of warm machines of an address that were never
// finished.
func (l *Libvirt) sweepWarm(h hypervisor, r providers.Ref) error {
	if r.Address.Kind != engine.KindWarm {
		return nil
	}
	return l.sweepDisksOf(h, func(machine string) bool {
		return strings.HasPrefix(machine, l.name(r.Address, 1)+".") && strings.Contains(machine, warmMark)
	})
}

// talkTime is how long the guest agent of a warm machine may take, once its engine
// answers.
const talkTime = time.Minute

// talks waits until a warm machine can be told who it is.
func (l *Libvirt) talks(ctx context.Context, h hypervisor, r providers.Ref) error {
	if h.Simulated() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, talkTime)
	defer cancel()
	if err := awake(ctx, h, l.domainName(r)); err != nil {
		return fmt.Errorf("%w. A machine that is kept warm is told through the QEMU guest agent what it becomes, which its image must have", err)
	}
	return nil
}

// takeTime is how long it may take to make a machine of a warm one, before it is made
// as others are.
const takeTime = 30 * time.Second

// Take implements providers.Taker.
func (l *Libvirt) Take(ctx context.Context, c providers.Call, warm engine.Object) (engine.Object, error) {
	none, r := c.Object(cty.NilVal), providers.Ref{Address: c.Address, Gen: c.Gen, Operation: c.Operation}
	var want engine.VM
	if err := engine.Decode(c.Want, &want); err != nil {
		return none, err
	}
	h, err := l.begin(ctx)
	if err != nil {
		return none, err
	}
	d, err := l.claim(h, r, refOf(warm))
	if err != nil {
		return none, err
	}
	ip, err := netip.ParseAddr(d.tag.IP)
	if err == nil {
		err = l.identify(ctx, h, r, want, d)
	}
	switch {
	case err == nil:
		l.fill(&want, r, ip)
		return c.Object(engine.Merge(c.Want, want)), nil
	case errors.Is(err, errLost), ctx.Err() != nil:
		return none, err // the next attempt finds it
	}
	l.settings.Log.Warn("a machine is made anew, since the warm one did not become it", "addr", r.Address, "err", err)
	if err := l.strip(h, d.Name); err != nil {
		return none, err
	}
	return none, fmt.Errorf("take %s: %w: %w", warm.Address, err, providers.ErrNotFound)
}

// claim makes the domain of a warm machine that of another, unless that was done
// already.
func (l *Libvirt) claim(h hypervisor, r, warm providers.Ref) (known, error) {
	d, err := l.machine(h, r)
	switch {
	case err == nil && l.ours(d.tag) && d.tag.is(r) && d.tag.Operation == r.Operation && l.wasWarm(d, r):
		return d, nil
	case err == nil: // Apply knows what to do about it
		return d, fmt.Errorf("there is a domain %s: %w", d.Name, providers.ErrNotFound)
	case !errors.Is(err, providers.ErrNotFound):
		return d, err
	}
	if d, err = l.machine(h, warm); err != nil {
		return d, err
	}
	if d.State != "running" {
		return d, fmt.Errorf("domain %s is %s: %w", d.Name, d.State, providers.ErrNotFound)
	}
	d.tag = l.tag(r, d.tag.IP)
	text, err := xml.Marshal(d.tag)
	if err != nil {
		return d, err
	}
	l.born.note(r.Key(), d.Name)
	return d, h.Tag(d.Name, l.title(r), string(text))
}

// identify lets a machine that was warm know who it is, now and when it starts again.
// It may be done again.
func (l *Libvirt) identify(ctx context.Context, h hypervisor, r providers.Ref, want engine.VM, d known) error {
	if h.Simulated() {
		return nil
	}
	ip, err := netip.ParseAddr(d.tag.IP)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, takeTime)
	defer cancel()
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return l.reseed(h, r, want, d, ip) })
	all.Go(func() error {
		if err := awake(ctx, h, d.Name); err != nil {
			return err
		}
		_, err := inGuest(ctx, h, d.Name, nil, rename, hostnameOf(r))
		return err
	})
	all.Go(func() error { return l.ready(ctx, h, d.Name, ip) })
	return all.Wait()
}

// rename gives a machine another name, which its hosts(5) has in place of the old one.
const rename = `old=$(hostname)
[ "$old" != "$1" ] || exit 0
hostname "$1" || exit 1
[ ! -e /etc/hostname ] || echo "$1" >/etc/hostname
hosts=$(awk -v old="$old" -v new="$1" '{ for (i = 2; i <= NF; i++) if ($i == old) $i = new; print }' /etc/hosts) &&
	echo "$hosts" >/etc/hosts`

// instanceOf is what the guest in a domain that was made warm is known by: it stays.
func instanceOf(domain string) string {
	_, operation, _ := strings.Cut(domain, warmMark)
	return domain + "." + operation
}

// reseed writes a machine's name into its seed. What the guest has read of that stays
// where it is: but for the name, and the keys, nothing in it is another.
func (l *Libvirt) reseed(h hypervisor, r providers.Ref, want engine.VM, d known, ip netip.Addr) error {
	net, err := l.subnetOf(h, want)
	if err != nil {
		return err
	}
	keys, err := l.keysOnce()
	if err != nil {
		return err
	}
	files, err := seedFiles(keys, r, instanceOf(d.Name), want, net, ip)
	if err != nil {
		return err
	}
	image, err := burn(files)
	if err != nil {
		return fmt.Errorf("make the seed of %s: %w", r.Address, err)
	}
	image = padded(image, seedSize(want))
	return storageFault(h.Upload(l.cfg.Pool, l.volumeName(d.Name, "seed"), bytes.NewReader(image), int64(len(image))))
}
