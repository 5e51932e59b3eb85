//go:build libvirt_dlopen && cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/flowctl/flowctl/providers"
	"golang.org/x/sync/errgroup"
	"libvirt.org/go/libvirt"
)

var stateNames = map[libvirt.DomainState]string{
	libvirt.DOMAIN_NOSTATE: "without a state", libvirt.DOMAIN_RUNNING: "running", libvirt.DOMAIN_BLOCKED: "running",
	libvirt.DOMAIN_PAUSED: "paused", libvirt.DOMAIN_SHUTDOWN: "shutting down", libvirt.DOMAIN_SHUTOFF: "shut off",
	libvirt.DOMAIN_CRASHED: "crashed", libvirt.DOMAIN_PMSUSPENDED: "suspended by its guest",
}

var pausedNames = map[libvirt.DomainPausedReason]string{
	libvirt.DOMAIN_PAUSED_USER: pausedByUser, libvirt.DOMAIN_PAUSED_IOERROR: pausedByDisk,
}

// onDomain calls f with a domain.
func (h *connection) onDomain(act, name string, f func(*libvirt.Domain) error) error {
	d, err := h.c.LookupDomainByName(name)
	if err != nil {
		return fault(act+" domain "+name, err)
	}
	defer d.Free()
	return fault(act+" domain "+name, f(d))
}

func describeDomain(d *libvirt.Domain) (domain, error) {
	name, err := d.GetName()
	if err != nil {
		return domain{}, err
	}
	xml, err := d.GetXMLDesc(0)
	if err != nil {
		return domain{}, err
	}
	state, reason, err := d.GetState()
	got := domain{Name: name, XML: xml, State: stateNames[state]}
	if state == libvirt.DOMAIN_PAUSED {
		got.Why = pausedNames[libvirt.DomainPausedReason(reason)]
	}
	return got, err
}

func (h *connection) Domains() ([]domain, error) {
	list, err := h.c.ListAllDomains(0)
	if err != nil {
		return nil, fault("list domains", err)
	}
	var all []domain
	var errs []error
	for _, d := range list {
		got, err := describeDomain(&d)
		d.Free()
		switch err := fault("look at a domain", err); {
		case err == nil:
			all = append(all, got)
		case !errors.Is(err, providers.ErrNotFound): // else it is being removed
			errs = append(errs, err)
		}
	}
	return all, errors.Join(errs...)
}

func (h *connection) DomainNames() ([]string, error) {
	list, err := h.c.ListAllDomains(0)
	if err != nil {
		return nil, fault("list domains", err)
	}
	var all []string
	var errs []error
	for _, d := range list {
		name, err := d.GetName()
		all, errs = append(all, name), append(errs, err, d.Free())
	}
	return all, fault("list domains", errors.Join(errs...))
}

func (h *connection) Domain(name string) (domain, error) {
	var got domain
	err := h.onDomain("look for", name, func(d *libvirt.Domain) (err error) {
		got, err = describeDomain(d)
		return err
	})
	return got, err
}

func (h *connection) Define(xml string) error {
	d, err := h.c.DomainDefineXML(xml)
	if err == nil {
		d.Free()
	}
	return fault("define a domain", err)
}

func (h *connection) Config(name string) (string, error) {
	var xml string
	err := h.onDomain("look for", name, func(d *libvirt.Domain) (err error) {
		xml, err = d.GetXMLDesc(libvirt.DOMAIN_XML_INACTIVE)
		return err
	})
	return xml, err
}

func (h *connection) SetVCPUs(name string, n uint) error {
	return h.onDomain("set the processors of", name, func(d *libvirt.Domain) error {
		flags := libvirt.DOMAIN_VCPU_CONFIG
		if on, err := d.IsActive(); err != nil {
			return err
		} else if on {
			flags |= libvirt.DOMAIN_VCPU_LIVE
		}
		return d.SetVcpusFlags(n, flags)
	})
}

func (h *connection) SetMemory(name string, kib uint) error {
	return h.onDomain("set the memory of", name, func(d *libvirt.Domain) error {
		// One after the other: the driver for tests takes no two of them.
		if err := d.SetMemoryFlags(uint64(kib), libvirt.DOMAIN_MEM_CONFIG); err != nil {
			return err
		}
		if on, err := d.IsActive(); err != nil || !on {
			return err
		}
		return d.SetMemoryFlags(uint64(kib), libvirt.DOMAIN_MEM_LIVE)
	})
}

func (h *connection) Start(name string) error {
	return h.onDomain("start", name, func(d *libvirt.Domain) error {
		if on, err := d.IsActive(); err != nil || on {
			return err
		}
		return d.Create()
	})
}

func (h *connection) Boot(xml string) error {
	d, err := h.c.DomainCreateXML(xml, libvirt.DOMAIN_START_AUTODESTROY)
	if err == nil {
		d.Free()
	}
	return fault("start a domain", err)
}

func (h *connection) Save(name, file string) error {
	return h.onDomain("save", name, func(d *libvirt.Domain) error {
		return d.SaveFlags(file, "", libvirt.DOMAIN_SAVE_RUNNING)
	})
}

func (h *connection) Restore(file string) error {
	return fault("restore a domain", h.c.DomainRestoreFlags(file, "", libvirt.DOMAIN_SAVE_RUNNING))
}

func (h *connection) Suspend(name string) error {
	return h.onDomain("suspend", name, func(d *libvirt.Domain) error {
		if state, _, err := d.GetState(); err != nil || state == libvirt.DOMAIN_PAUSED {
			return err
		}
		return d.Suspend()
	})
}

func (h *connection) Resume(name string) error {
	return h.onDomain("resume", name, func(d *libvirt.Domain) error {
		if state, _, err := d.GetState(); err != nil || state != libvirt.DOMAIN_PAUSED {
			return err
		}
		if err := d.Resume(); err != nil {
			if state, _, again := d.GetState(); again != nil || state == libvirt.DOMAIN_PAUSED { // else it ended, or was resumed, just now
				return err
			}
		}
		return nil
	})
}

func (h *connection) Stop(name string) error {
	return h.onDomain("stop", name, func(d *libvirt.Domain) error {
		if on, err := d.IsActive(); err != nil || !on {
			return err
		}
		if err := d.Destroy(); err != nil {
			if on, again := d.IsActive(); again != nil || on { // else it ended by itself just now
				return err
			}
		}
		return nil
	})
}

func (h *connection) Undefine(name string) error {
	return h.onDomain("undefine", name, func(d *libvirt.Domain) error {
		all := libvirt.DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | libvirt.DOMAIN_UNDEFINE_NVRAM
		err := d.UndefineFlags(all)
		if v, ok := errors.AsType[libvirt.Error](err); ok && v.Code == libvirt.ERR_INVALID_ARG { // the driver for tests knows no NVRAM
			err = d.UndefineFlags(all &^ libvirt.DOMAIN_UNDEFINE_NVRAM)
		}
		return err
	})
}

// tagSpace is the namespace of a tag.
const tagSpace = "urn:flowctl"

func (h *connection) Tag(name, title, xml string) error {
	return h.onDomain("tag", name, func(d *libvirt.Domain) error {
		now := libvirt.DOMAIN_AFFECT_CONFIG
		if on, err := d.IsActive(); err != nil {
			return err
		} else if on {
			now |= libvirt.DOMAIN_AFFECT_LIVE
		}
		// The element last: it is what tells whose the domain is.
		if err := d.SetMetadata(libvirt.DOMAIN_METADATA_TITLE, title, "", "", now); err != nil {
			return err
		}
		return d.SetMetadata(libvirt.DOMAIN_METADATA_ELEMENT, xml, "flowctl", tagSpace, now)
	})
}

func (h *connection) Agent(name, command string, patience time.Duration) (string, error) {
	var answer string
	err := h.onDomain("ask the guest agent of", name, func(d *libvirt.Domain) (err error) {
		seconds := max(1, int(patience/time.Second))
		answer, err = d.QemuAgentCommand(command, libvirt.DomainQemuAgentCommandTimeout(seconds), 0)
		switch v, _ := errors.AsType[libvirt.Error](err); v.Code {
		case libvirt.ERR_AGENT_UNRESPONSIVE, libvirt.ERR_AGENT_UNSYNCED, libvirt.ERR_OPERATION_INVALID:
			return fmt.Errorf("%s: %w", v.Message, errSilent)
		default:
			return err
		}
	})
	return answer, err
}

// consolePoll is how often a console is looked at. What it printed is here by then:
// looking asks the daemon nothing.
const consolePoll = 20 * time.Millisecond

func (h *connection) Console(ctx context.Context, name string, keys <-chan []byte, out io.Writer) error {
	return h.onDomain("open the console of", name, func(d *libvirt.Domain) error {
		s, err := h.c.NewStream(libvirt.STREAM_NONBLOCK)
		if err != nil {
			return err
		}
		defer s.Free()
		if err := d.OpenConsole("", s, 0); err != nil {
			return err
		}
		defer s.Abort()
		tick := time.NewTicker(consolePoll)
		defer tick.Stop()
		var typed []byte
		for {
			if err := show(s, out); err != nil {
				return err
			}
			if typed, err = sendSome(s, typed); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case more := <-keys:
				typed = append(typed, more...)
			case <-tick.C:
			}
		}
	})
}

// show passes on all that a console has printed.
func show(s *libvirt.Stream, out io.Writer) error {
	piece := make([]byte, 4<<10)
	for {
		n, err := s.Recv(piece)
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("the console is closed: the domain has ended")
		case err != nil || n <= 0: // nothing more for now
			return err
		}
		if _, err := out.Write(piece[:n]); err != nil {
			return err
		}
	}
}

// sendSome sends as much as the stream takes, and returns the rest.
func sendSome(s *libvirt.Stream, typed []byte) ([]byte, error) {
	for len(typed) > 0 {
		n, err := s.Send(typed)
		if err != nil || n <= 0 {
			return typed, err
		}
		typed = typed[n:]
	}
	return nil, nil
}

// statsAtOnce is how many parts the domains are asked for in: libvirt asks one domain of
// a part after the other, and so do we.
const statsAtOnce = 4

func (h *connection) Stats(due func(id uint) slow) ([]stats, error) {
	domains, err := h.c.ListAllDomains(0)
	if err != nil {
		return nil, fault("list domains", err)
	}
	asked := map[slow][]*libvirt.Domain{}
	for i := range domains {
		d := &domains[i]
		defer d.Free()
		figures := due(idOf(d))
		asked[figures] = append(asked[figures], d)
	}
	var mu sync.Mutex
	var all []stats
	var parts errgroup.Group
	for figures, own := range asked {
		for part := range slices.Chunk(own, (len(own)+statsAtOnce-1)/statsAtOnce) {
			parts.Go(func() error {
				some, err := h.statsOf(part, figures)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, some...)
				return err
			})
		}
	}
	return all, parts.Wait()
}

// idOf is the id of a domain that runs, or 0.
func idOf(d *libvirt.Domain) uint {
	id, err := d.GetID()
	if err != nil {
		return 0
	}
	return id
}

// statsOf asks for the figures of some domains. One that is gone has none.
func (h *connection) statsOf(domains []*libvirt.Domain, figures slow) ([]stats, error) {
	kinds := libvirt.DOMAIN_STATS_INTERFACE
	if figures.memory {
		kinds |= libvirt.DOMAIN_STATS_BALLOON
	}
	if figures.disks {
		kinds |= libvirt.DOMAIN_STATS_BLOCK
	}
	flags := libvirt.CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
	if h.simulated {
		kinds, flags = libvirt.DOMAIN_STATS_STATE, 0
	}
	list, err := h.c.GetAllDomainStats(domains, kinds, flags)
	if err != nil {
		return nil, fault("ask for the figures of domains", err)
	}
	var all []stats
	for _, s := range list {
		one, err := describeUse(s.Domain)
		s.Domain.Free()
		switch err := fault("ask for the figures of a domain", err); {
		case errors.Is(err, providers.ErrNotFound):
			continue
		case err != nil:
			return nil, err
		}
		one.Memory = usedOf(s.Balloon)
		for _, b := range s.Block {
			one.IO.DiskRead, one.IO.DiskWritten = one.IO.DiskRead+b.RdBytes, one.IO.DiskWritten+b.WrBytes
		}
		for _, n := range s.Net {
			one.IO.NetworkReceived, one.IO.NetworkSent = one.IO.NetworkReceived+n.RxBytes, one.IO.NetworkSent+n.TxBytes
		}
		all = append(all, one)
	}
	return all, nil
}

// describeUse tells what the daemon sees of what a domain uses. Those statistics that have
// its processors' time come with more, which the emulator is asked for.
func describeUse(d *libvirt.Domain) (stats, error) {
	name, err := d.GetName()
	if err != nil {
		return stats{}, err
	}
	info, err := d.GetInfo()
	if err != nil {
		return stats{}, err
	}
	return stats{Name: name, ID: idOf(d), State: stateNames[info.State], CPUTime: info.CpuTime}, nil
}

// usedOf is what a guest uses: what it says, as far as its balloon tells.
func usedOf(b *libvirt.DomainStatsBalloon) int64 {
	switch {
	case b == nil:
		return 0
	case b.AvailableSet && b.UsableSet && b.Available > b.Usable:
		return int64(b.Available-b.Usable) << 10
	default:
		return int64(b.Rss) << 10
	}
}

var eventNames = map[libvirt.DomainEventType]string{
	libvirt.DOMAIN_EVENT_DEFINED: "defined", libvirt.DOMAIN_EVENT_UNDEFINED: "removed", libvirt.DOMAIN_EVENT_STARTED: "started",
	libvirt.DOMAIN_EVENT_SUSPENDED: "suspended", libvirt.DOMAIN_EVENT_RESUMED: "resumed", libvirt.DOMAIN_EVENT_STOPPED: "died",
	libvirt.DOMAIN_EVENT_SHUTDOWN: "shut down", libvirt.DOMAIN_EVENT_PMSUSPENDED: "suspended by its guest", libvirt.DOMAIN_EVENT_CRASHED: "crashed",
}

func (h *connection) Follow(ctx context.Context, tell func(name, what string)) error {
	id, err := h.c.DomainEventLifecycleRegister(nil, func(_ *libvirt.Connect, d *libvirt.Domain, e *libvirt.DomainEventLifecycle) {
		if name, err := d.GetName(); err == nil {
			tell(name, eventNames[e.Event])
		}
	})
	if err != nil {
		return fault("follow what happens to domains", err)
	}
	defer h.c.DomainEventDeregister(id)
	lost := make(chan struct{})
	if err := h.c.RegisterCloseCallback(func(*libvirt.Connect, libvirt.ConnectCloseReason) { close(lost) }); err == nil {
		defer h.c.UnregisterCloseCallback()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-lost:
		return providers.Passing(fmt.Errorf("follow what happens to domains: %w", errLost))
	}
}
