package libvirt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"libvirt.org/go/libvirtxml"
)

// How large a machine is, it stays, unless its block has said from the start how large it
// may become: max_cpus is the domain's maximum of processors, of which more are plugged in
// while it runs, and max_memory its memory, of which a balloon in the guest takes what the
// machine is not to have. Processors are never unplugged: guests mostly do not give them
// back (libvirt waits five seconds for each, and then fails).

// vcpus is how many processors a machine has: whole ones.
func vcpus(cpus float64) uint { return uint(math.Ceil(cpus)) }

// kib is the memory that a domain gets: libvirt counts in KiB.
func kib(m engine.Size) uint { return uint(m >> 10) }

// refineVM knows which changes of size a machine takes while it runs.
func refineVM(p engine.Proposal) engine.Proposal {
	if p.Prior == nil {
		return p
	}
	was, will := engine.MustDecode[engine.VM](p.Prior.Value), engine.MustDecode[engine.VM](p.Want)
	reasons := map[string]string{"cpus": fixedCPUs(was, will), "memory": fixedMemory(was, will)}
	var why []string
	for _, name := range []string{"cpus", "memory"} {
		if !slices.Contains(p.Changed, name) || p.Want.GetAttr(name).IsKnown() && reasons[name] == "" {
			continue
		}
		p.ReplacePaths = slices.Sorted(slices.Values(append(slices.Clone(p.ReplacePaths), name)))
		if reasons[name] != "" {
			why = append(why, reasons[name])
		}
	}
	p.Why = strings.Join(why, ", and ")
	return p
}

// fixedCPUs is why a machine cannot have other processors while it runs, "" if it can.
func fixedCPUs(was, will engine.VM) string {
	switch n := vcpus(will.CPUs); {
	case n < vcpus(was.CPUs):
		return "a machine that runs gives no processor back"
	case n > vcpus(was.CPUs) && n > vcpus(was.MaxCPUs):
		return "a machine that runs gets more cpus only up to its max_cpus, which " + most(was.MaxCPUs == 0, fmt.Sprint(was.MaxCPUs))
	default:
		return ""
	}
}

// fixedMemory is the same for memory.
func fixedMemory(was, will engine.VM) string {
	if kib(will.Memory) == kib(was.Memory) || will.Memory <= was.MaxMemory {
		return ""
	}
	return "a machine that runs gets other memory only up to its max_memory, which " + most(was.MaxMemory == 0, was.MaxMemory.String())
}

func most(none bool, limit string) string {
	if none {
		return "it does not have"
	}
	return "is " + limit
}

// configOf is what a domain will be at its next start.
func configOf(h hypervisor, d known) (libvirtxml.Domain, error) {
	var next libvirtxml.Domain
	text, err := h.Config(d.Name)
	if err != nil {
		return next, err
	}
	return next, next.Unmarshal(text)
}

// vcpusOf and memoryOf are how many processors a domain has, and how much memory, in KiB.
func vcpusOf(d libvirtxml.Domain) uint {
	switch {
	case d.VCPU == nil:
		return 0
	case d.VCPU.Current > 0:
		return d.VCPU.Current
	default:
		return d.VCPU.Value
	}
}

func memoryOf(d libvirtxml.Domain) uint {
	switch {
	case d.CurrentMemory != nil && d.CurrentMemory.Unit == "KiB":
		return d.CurrentMemory.Value
	case d.Memory != nil && d.Memory.Unit == "KiB":
		return d.Memory.Value
	default:
		return 0
	}
}

// fillSize fills in how large a machine is: as many processors as it has now, and the
// memory that it is to have. What it has of that, its guest says, and that moves.
func fillSize(v *engine.VM, now, next libvirtxml.Domain) {
	if n := vcpusOf(now); n > 0 && n != vcpus(v.CPUs) {
		v.CPUs = float64(n)
	}
	if now.VCPU != nil && now.VCPU.Value != max(vcpus(v.CPUs), vcpus(v.MaxCPUs)) {
		v.MaxCPUs = float64(now.VCPU.Value)
	}
	if m := memoryOf(next); m > 0 && m != kib(v.Memory) {
		v.Memory = engine.Size(m) << 10
	}
	if m := now.Memory; m != nil && m.Unit == "KiB" && m.Value != max(kib(v.Memory), kib(v.MaxMemory)) {
		v.MaxMemory = engine.Size(m.Value) << 10
	}
}

// resize gives a domain the size that its machine is to have. It may be done again, as
// after an interruption between its steps.
func (l *Libvirt) resize(h hypervisor, name string, want engine.VM) error {
	d, err := find(h, name)
	if err != nil {
		return err
	}
	next, err := configOf(h, d)
	if err != nil {
		return err
	}
	if n := vcpus(want.CPUs); vcpusOf(d.xml) != n || vcpusOf(next) != n {
		if err := h.SetVCPUs(name, n); err != nil {
			return err
		}
	}
	if want.MaxMemory == 0 && memoryOf(next) == kib(want.Memory) {
		return nil
	}
	return h.SetMemory(name, kib(want.Memory))
}

// growTime is how long a guest may take to use processors that it got, or to take and
// give back memory.
const growTime = time.Minute

// slack is by how much, in KiB, a guest's memory may miss what it is to be.
const slack = 1 << 10

// resized waits until the guest of a machine whose size changes has made it its own.
func (l *Libvirt) resized(ctx context.Context, h hypervisor, name string, want engine.VM) error {
	ctx, cancel := context.WithTimeout(ctx, growTime)
	defer cancel()
	if want.MaxMemory > 0 {
		if err := balloon(ctx, h, name, kib(want.Memory)); err != nil {
			return err
		}
	}
	if want.MaxCPUs == 0 || h.Simulated() {
		return nil
	}
	err := online(ctx, h, name, int(vcpus(want.CPUs)))
	if errors.Is(err, errSilent) && ctx.Err() == nil {
		l.settings.Log.Warn("nobody in a machine tells whether it uses all of its processors: its image has no QEMU guest agent", "domain", name, "err", err)
		return nil
	}
	return err
}

// balloon waits until a guest has as much memory as it is to have.
func balloon(ctx context.Context, h hypervisor, name string, want uint) error {
	for p := (pause{10 * time.Millisecond, 500 * time.Millisecond}); ; {
		d, err := find(h, name)
		if err != nil {
			return err
		}
		has := memoryOf(d.xml)
		if has <= want+slack && want <= has+slack {
			return nil
		}
		if !p.wait(ctx) {
			return providers.Permanent(fmt.Errorf("domain %s is to have %s of memory, and its guest has %s: it uses more, or has no balloon driver (virtio_balloon): %w",
				name, engine.Size(want)<<10, engine.Size(has)<<10, context.Cause(ctx)))
		}
	}
}

// agentStarts is how long the agent may take to answer in a guest whose engine answers.
const agentStarts = 15 * time.Second

// online lets a guest use as many processors as it has. Many do so by themselves (udev),
// others wait for an order.
func online(ctx context.Context, h hypervisor, name string, want int) error {
	soon, cancel := context.WithTimeout(ctx, agentStarts)
	defer cancel()
	if err := awake(soon, h, name); err != nil {
		return err
	}
	found := 0
	for p := (pause{10 * time.Millisecond, 500 * time.Millisecond}); ; {
		all, err := ask[[]guestCPU](ctx, h, name, "guest-get-vcpus", nil)
		if err != nil && ctx.Err() == nil {
			return err
		}
		found = max(found, len(all))
		var off []guestCPU
		for _, c := range all {
			if !c.Online {
				off = append(off, guestCPU{ID: c.ID, Online: true})
			}
		}
		if len(off) > 0 {
			if _, err := ask[int](ctx, h, name, "guest-set-vcpus", map[string]any{"vcpus": off}); err != nil {
				return err
			}
			continue
		}
		if err == nil && len(all) >= want {
			return nil
		}
		if !p.wait(ctx) {
			return providers.Permanent(fmt.Errorf("domain %s has %d processors, and its guest has found %d of them: %w", name, want, found, context.Cause(ctx)))
		}
	}
}

// guestCPU is a processor as the guest agent tells of it (GuestLogicalProcessor of QEMU's
// qga/qapi-schema.json).
type guestCPU struct {
	ID     int  `json:"logical-id"`
	Online bool `json:"online"`
}
