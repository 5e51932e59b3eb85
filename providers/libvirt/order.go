package libvirt

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// Suspends implements providers.Suspender: machines pause with all that they run.
func (l *Libvirt) Suspends(k engine.Kind) bool { return k == engine.KindVM }

// Suspend implements providers.Suspender.
func (l *Libvirt) Suspend(ctx context.Context, o engine.Object) error {
	return l.order(ctx, o, hypervisor.Suspend)
}

// Resume implements providers.Suspender.
func (l *Libvirt) Resume(ctx context.Context, o engine.Object) error {
	if err := l.order(ctx, o, hypervisor.Resume); err != nil {
		return err
	}
	return l.goOn(ctx, o)
}

// clockPatience is how long a guest is waited for whose clock has stood still.
const clockPatience = 15 * time.Second

// goOn looks after a machine that was resumed: one that was restored to what it was when
// it did not run is started, and the clock of any other has stood still.
func (l *Libvirt) goOn(ctx context.Context, o engine.Object) error {
	h, err := l.hypervisor()
	if err != nil {
		return err
	}
	d, err := l.machine(h, refOf(o))
	if err != nil || h.Simulated() {
		return err
	}
	if d.State != "running" {
		ip, err := netip.ParseAddr(d.tag.IP)
		if err != nil {
			return providers.Permanent(fmt.Errorf("domain %s does not tell its address", d.Name))
		}
		return l.start(ctx, h, d.Name, ip)
	}
	ctx, cancel := context.WithTimeout(ctx, clockPatience)
	defer cancel()
	e, err := runInGuest(ctx, h, d.Name, []string{"date", "-s", "@" + strconv.FormatInt(time.Now().Unix(), 10)}, nil)
	if err == nil {
		err = e.fault("set its clock")
	}
	if err != nil {
		l.settings.Log.Warn("the clock of a machine that was resumed may be late", "addr", o.Address, "err", err)
	}
	return nil
}

func (l *Libvirt) order(ctx context.Context, o engine.Object, do func(hypervisor, string) error) error {
	h, err := l.begin(ctx)
	if err != nil {
		return err
	}
	name, err := l.domainOf(h, o)
	if err != nil {
		return err
	}
	return do(h, name)
}
