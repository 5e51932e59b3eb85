package libvirt

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/flowctl/flowctl/providers"
)

// hypervisor is one connection to a libvirt daemon. Errors for what is not there
// wrap providers.ErrNotFound; those for a name that is taken wrap errExists, and
// for a daemon that does not answer errLost. It is safe for concurrent use.
type hypervisor interface {
	domains
	snapshots
	networks
	volumes

	Alive() bool
	// Version tells who saves machines, and where: QEMU, libvirt and the computer.
	Version() (string, error)
	// Simulated reports whether there are no machines behind it: it is libvirt's
	// own driver for tests.
	Simulated() bool
	Close() error
}

type domains interface {
	Domains() ([]domain, error)
	DomainNames() ([]string, error)
	Domain(name string) (domain, error)
	Define(xml string) error
	// Config is what a domain will be at its next start.
	Config(name string) (xml string, err error)
	// SetVCPUs and SetMemory change how large a domain is, up to its maximum, now and for
	// its next start. What its guest makes of it comes later.
	SetVCPUs(name string, n uint) error
	SetMemory(name string, kib uint) error
	Start(name string) error
	// Boot starts a domain that ends with this connection. One of its name must not
	// exist.
	Boot(xml string) error
	// Save stops a domain and saves it into a file of the daemon's computer; Restore
	// goes on with one that was saved.
	Save(name, file string) error
	Restore(file string) error
	Suspend(name string) error
	Resume(name string) error
	Stop(name string) error // at once; stopping what is stopped succeeds
	Undefine(name string) error
	// Tag gives a domain another title, and another element with the namespace of
	// tags in its metadata, for now and for its next start.
	Tag(name, title, xml string) error
	// Agent gives the agent in a domain's guest one command, as JSON, and returns its
	// answer. The error wraps errSilent if nobody answered within patience.
	Agent(name, command string, patience time.Duration) (string, error)
	// Console passes keys to a domain's console and what that prints to out, until ctx
	// ends, which is no error, or the domain does.
	Console(ctx context.Context, name string, keys <-chan []byte, out io.Writer) error
	// Stats reports on all domains, and asks one for those of its slow figures that due
	// says of its id.
	Stats(due func(id uint) slow) ([]stats, error)
	// Follow calls tell for everything that happens to a domain, until ctx ends.
	Follow(ctx context.Context, tell func(name, what string)) error
}

type snapshots interface {
	Snapshots(domain string) ([]snapshot, error)
	// TakeSnapshot keeps what a domain is, in its disk.
	TakeSnapshot(domain, xml string) error
	// RedefineSnapshot changes what libvirt knows of a snapshot.
	RedefineSnapshot(domain, xml string) error
	// RestoreSnapshot lets a domain be what it was: paused, if it is to have its memory.
	RestoreSnapshot(domain, name string, memory bool) error
	DeleteSnapshot(domain, name string) error
}

type networks interface {
	Networks() ([]string, error) // their XML
	Network(name string) (string, error)
	MakeNetwork(xml string) error // persistent, started and started again with the machine
	StartNetwork(name string) error
	RemoveNetwork(name string) error
	Leases(network string) ([]string, error) // addresses
}

type volumes interface {
	Pool(pool string) (path string, err error)
	Refresh(pool string) error
	Volumes(pool string) ([]volume, error)
	Volume(pool, name string) (volume, error)
	MakeVolume(pool, xml string) error
	CopyVolume(pool, xml, from string) error
	Upload(pool, name string, content io.Reader, size int64) error
	Download(pool, name string, into io.Writer) error
	RemoveVolume(pool, name string) error
}

// domain is a domain as it is.
type domain struct {
	Name  string
	XML   string
	State string // libvirt's word: "running", "paused", "shut off", "crashed", …
	Why   string // of one that is paused: pausedByUser, pausedByDisk, or ""
}

// snapshot is a snapshot of a domain.
type snapshot struct {
	XML     string
	Current bool // the domain has gone on from this one
}

// volume is a volume as it is.
type volume struct {
	Name string
	Path string
	XML  string
}

// stats is what one domain uses.
type stats struct {
	Name    string
	ID      uint // another after each start, and 0 of one that does not run
	State   string
	CPUTime uint64 // nanoseconds, of all its processors
	Memory  int64  // bytes in use in the guest, or of its process if the guest does not tell
	IO      providers.IO
}

var (
	errExists = errors.New("there is one of that name already")
	errLost   = errors.New("the connection to libvirt is lost")
)
