package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

func (l *Libvirt) checkVM(_ context.Context, a engine.Address, want engine.VM, _ *engine.VM) engine.Diagnostics {
	var diags engine.Diagnostics
	fault := func(summary, format string, args ...any) {
		diags = append(diags, engine.Diagnostic{Summary: summary, Address: a, Detail: fmt.Sprintf(format, args...)})
	}
	h, err := l.hypervisor()
	if err != nil {
		fault("Libvirt not usable", "%s: %s.", a.Group(), err)
		return diags
	}
	if _, err := h.Pool(l.cfg.Pool); err != nil {
		fault("Storage pool not usable", "%s needs a pool for its disk, but %s. Correct pool in the provider block; 'virsh pool-list --all' shows those that there are.", a.Group(), err)
	}
	if !h.Simulated() {
		if _, err := l.sourceOf(want); err != nil {
			fault("Machine image not usable", "%s: %s.", a.Group(), err)
		}
	}
	if want.Image != "" && want.Boot != nil && want.Boot.Kernel == "" {
		fault("Kernel missing", "%s has a boot block without a kernel, and an image of its own, which the provider's kernel is not for. Write kernel, too, or remove the block.", a.Group())
	}
	for _, f := range want.Files {
		if f.Name != "" && !seedName.MatchString(f.Name) {
			fault("Invalid file name", "%s has a file %q. Names of files in a machine's seed have letters, digits, \".\", \"_\" and \"-\", 30 at most.", a.Group(), f.Name)
		}
	}
	return diags
}

func (l *Libvirt) applyVM(ctx context.Context, r providers.Ref, want engine.VM, prior *engine.VM) (engine.VM, bool, error) {
	h, err := l.begin(ctx)
	if err != nil {
		return want, false, err
	}
	d, err := l.machine(h, r)
	switch {
	case errors.Is(err, providers.ErrNotFound):
		if err := l.sweepWarm(h, r); err != nil {
			return want, false, err
		}
	case err != nil:
		return want, false, err
	case l.ours(d.tag) && d.tag.is(r) && (prior != nil || d.tag.Operation == r.Operation):
		return l.wake(ctx, h, r, d, want)
	case l.ours(d.tag) && d.tag.is(r): // an operation that had been given up may have made it otherwise
		if err := l.strip(h, d.Name); err != nil {
			return want, false, err
		}
	default:
		return want, false, taken("domain", d.Name, d.tag)
	}
	ip, err := l.create(ctx, h, r, want)
	if err == nil && r.Address.Kind == engine.KindWarm {
		err = l.talks(ctx, h, r)
	}
	switch {
	case errors.Is(err, errLost):
		return want, false, err // the next attempt finds what there is
	case err != nil:
		return want, false, errors.Join(err, l.strip(h, l.domainName(r)))
	}
	l.fill(&want, r, ip)
	return want, true, nil
}

// create makes a machine that answers: of a golden one's state, or, where there is none
// or that fails, by starting it.
func (l *Libvirt) create(ctx context.Context, h hypervisor, r providers.Ref, want engine.VM) (netip.Addr, error) {
	if err := l.fetch(ctx, h, want); err != nil {
		return netip.Addr{}, err
	}
	g, err := l.goldenOf(ctx, h, want)
	if g != nil {
		g = l.stocked(ctx, h, r, want, g)
		var ip netip.Addr
		if ip, err = l.clone(ctx, h, r, want, g); err == nil {
			return ip, nil
		}
	}
	if err != nil {
		switch {
		case errors.Is(err, errLost), ctx.Err() != nil && g == nil:
			return netip.Addr{}, err
		case ctx.Err() != nil:
			return netip.Addr{}, l.mute(h, l.domainName(r), err)
		}
		if g != nil {
			l.goldens.spoil(g.key, err)
		}
		l.settings.Log.Warn("a machine is started, since none could be made of a golden one's state", "addr", r.Address, "err", err)
		if err := l.strip(h, l.domainName(r)); err != nil {
			return netip.Addr{}, err
		}
	}
	ip, err := l.build(h, r, want, nil)
	if err != nil {
		return ip, err
	}
	return ip, l.start(ctx, h, l.domainName(r), ip)
}

// wake brings a machine that exists to run.
func (l *Libvirt) wake(ctx context.Context, h hypervisor, r providers.Ref, d known, want engine.VM) (engine.VM, bool, error) {
	ip, err := netip.ParseAddr(d.tag.IP)
	if err != nil {
		return want, true, providers.Permanent(fmt.Errorf("domain %s does not tell its address", d.Name))
	}
	l.fill(&want, r, ip)
	if d.State == "paused" {
		if err := h.Resume(d.Name); err != nil {
			return want, true, err
		}
	}
	if err := l.resize(h, d.Name, want); err != nil {
		return want, true, err
	}
	if err := l.start(ctx, h, d.Name, ip); err != nil {
		return want, true, err
	}
	if err := l.resized(ctx, h, d.Name, want); err != nil || !l.wasWarm(d, r) {
		return want, true, err
	}
	return want, true, l.identify(ctx, h, r, want, d)
}

// start starts a machine and waits until it is ready.
func (l *Libvirt) start(ctx context.Context, h hypervisor, name string, ip netip.Addr) error {
	if err := h.Start(name); err != nil {
		return startFault(err)
	}
	if h.Simulated() {
		return nil
	}
	return l.ready(ctx, h, name, ip)
}

// fill fills in what became of a machine.
func (l *Libvirt) fill(v *engine.VM, r providers.Ref, ip netip.Addr) {
	v.ID, v.Address = l.engineAt(r, ip), ip.String()
}

// build makes all that a machine consists of, on the disk of a golden one unless that
// is nil. What of it exists already, and no domain, an operation has left that was
// interrupted.
func (l *Libvirt) build(h hypervisor, r providers.Ref, want engine.VM, g *golden) (netip.Addr, error) {
	none := netip.Addr{}
	net, err := l.subnetOf(h, want)
	if err != nil {
		return none, err
	}
	l.storing.Lock() // what machines share must not go before the machine is there
	defer l.storing.Unlock()
	disks, err := l.makeDisk(h, r, want, g)
	if err != nil {
		return none, err
	}
	l.addressing.Lock()
	defer l.addressing.Unlock()
	taken, err := takenOn(h, net)
	if err != nil {
		return none, err
	}
	ip, err := net.pick(sum(l.state(), r.Address.String(), fmt.Sprint(r.Gen)), taken)
	if err != nil {
		return none, err
	}
	if disks.seed, err = l.makeSeed(h, r, want, net, ip); err != nil {
		return none, err
	}
	text, err := l.draw(h, r, want, plot{net: net, ip: ip, disks: disks})
	if err != nil {
		return none, err
	}
	return ip, h.Define(text)
}

// strip removes a machine and all that belongs to it alone.
func (l *Libvirt) strip(h hypervisor, name string) error {
	for _, act := range []func(string) error{h.Stop, h.Undefine} {
		if err := act(name); err != nil && !errors.Is(err, providers.ErrNotFound) {
			return err
		}
	}
	return l.removeDisks(h, name)
}

func (l *Libvirt) readVM(_ context.Context, r providers.Ref, known engine.VM) (engine.VM, providers.Status, error) {
	gone := providers.Status{Presence: engine.Gone, Why: "libvirt does not have the domain"}
	h, err := l.hypervisor()
	if err != nil {
		return known, providers.Status{}, err
	}
	d, err := l.machine(h, r)
	if errors.Is(err, providers.ErrNotFound) || err == nil && !(l.ours(d.tag) && d.tag.is(r)) {
		return known, gone, nil
	}
	if err != nil {
		return known, providers.Status{}, err
	}
	ip, err := netip.ParseAddr(d.tag.IP)
	if err != nil {
		return known, gone, nil
	}
	l.fill(&known, r, ip)
	next := d.xml
	if known.MaxMemory > 0 { // what it has now is the balloon's affair
		if next, err = configOf(h, d); err != nil {
			return known, providers.Status{}, err
		}
	}
	fillSize(&known, d.xml, next)
	if d.State != "running" {
		return known, providers.Status{Presence: engine.Down, Why: "its domain is " + d.State}, nil
	}
	return known, providers.Status{}, nil
}

func (l *Libvirt) removeVM(_ context.Context, r providers.Ref, _ engine.VM) error {
	h, err := l.hypervisor()
	if err != nil {
		return err
	}
	name := l.name(r.Address, r.Gen)
	d, err := l.machine(h, r)
	if err != nil && !errors.Is(err, providers.ErrNotFound) {
		return err
	}
	if err == nil && !(l.ours(d.tag) && d.tag.is(r)) {
		return nil // it is somebody else's
	}
	if err == nil {
		name = d.Name
	} else if r.Address.Kind == engine.KindWarm {
		return l.sweepWarm(h, r)
	}
	if err := l.strip(h, name); err != nil {
		return err
	}
	return l.sweepShared(h, false)
}
