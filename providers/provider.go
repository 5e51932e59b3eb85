package providers

import (
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// Provider realises resources of one or more kinds. Every method may be called
// concurrently for different objects, and again for the same.
type Provider interface {
	// Read looks for an object by its address and generation; of its value it
	// may use what is set, which is little after a crash. It reports what it
	// found; an error means that nobody could say.
	Read(ctx context.Context, o engine.Object) (engine.Observation, error)
	// Apply makes reality match the call and returns the object with all
	// computed attributes. On an error the object is what exists now, with a
	// NilVal value if nothing does.
	Apply(ctx context.Context, c Call) (engine.Object, error)
	// Delete removes an object. Deleting what is gone succeeds.
	Delete(ctx context.Context, o engine.Object, operation string) error
}

// Call asks for one object to be created or changed.
type Call struct {
	Operation string // the same for all attempts at one step
	Address   engine.Address
	Gen       int
	Want      cty.Value      // computed attributes unknown on create, as they were on update
	Prior     *engine.Object // nil on create
	Standby   bool           // of a backend: it joins without getting requests, until a Shift says so
	Stock     func() Stock   // of a machine: what may be on it from the start, as far as that is known by now; nil for nothing
}

// Stock is what machines of a group will have on them besides: the images of the
// functions that may run there. A provider that makes machines of the saved state of
// one may bring it to that one, so that nobody waits for it later.
type Stock struct {
	Group engine.Address // of those machines: for warm ones, that of what they become
	Key   string         // the same for the same content, "" for none
	Wait  bool           // the machine that is made may wait until it is brought
	Bring func(ctx context.Context, machineID string) error
}

// Object returns the object that the call makes, with a given value.
func (c Call) Object(v cty.Value) engine.Object {
	return engine.Object{Address: c.Address, Gen: c.Gen, Value: v, Operation: c.Operation}
}

// As finds what a provider, or one that it decorates, can do besides.
func As[T any](p Provider) (T, bool) {
	for {
		if t, ok := p.(T); ok {
			return t, true
		}
		u, ok := p.(interface{ Unwrap() Provider })
		if !ok {
			var none T
			return none, false
		}
		p = u.Unwrap()
	}
}

// What a provider can do besides, found with As:

// Checker finds, while a plan is made, what would make it fail: a program that
// is not there, a port that is taken. It changes nothing. Unknown attributes of
// want are passed over.
type Checker interface {
	Check(ctx context.Context, a engine.Address, want cty.Value, prior *engine.Object) engine.Diagnostics
}

// Refiner adjusts the default comparison of a resource: computed attributes that
// can be told in advance, attributes that can or cannot change in place. Pure.
type Refiner interface {
	Refine(p engine.Proposal) engine.Proposal
}

// Lister finds everything that carries the flow's labels.
type Lister interface {
	List(ctx context.Context) ([]engine.Object, error)
}

// Importer finds an existing thing by the provider's own name of it, to be put
// under an address.
type Importer interface {
	Import(ctx context.Context, a engine.Address, id string) (engine.Object, error)
}

// Logger reads what a replica prints.
type Logger interface {
	Logs(ctx context.Context, o engine.Object, opts LogOptions) iter.Seq2[LogLine, error]
}

// LogOptions picks log lines.
type LogOptions struct {
	Tail   int       // only the last so many; negative means all
	Since  time.Time // only those from then on; zero means all
	Follow bool      // go on until the context ends
}

// LogLine is one line of a log.
type LogLine struct {
	At     time.Time
	Stream string // "out" or "err"
	Text   string
}

// Execer runs a command in the surroundings of a replica, or on a machine, and
// returns its exit status.
type Execer interface {
	Exec(ctx context.Context, o engine.Object, argv []string, io Streams) (status int, err error)
}

// Consoler connects to the console of a machine.
type Consoler interface {
	// Console passes keys to the console and what that prints to out. It goes on until
	// ctx ends, which is no error, or the machine does.
	Console(ctx context.Context, machine engine.Object, keys <-chan []byte, out io.Writer) error
}

// Streams are the standard streams of a command.
type Streams struct {
	In       io.Reader // nil for nothing
	Out, Err io.Writer
	Terminal *Terminal // what all three are, to be that for the command, too; nil if they are to be pipes
}

// Terminal is the operator's terminal, for providers that have to make one of
// their own of it. One whose commands run on this machine hands it over as it is.
type Terminal struct {
	Raw           func() (restore func(), err error) // passes every key on
	Width, Height int
}

// Copier copies files into and out of a replica, as tar streams. Paths are the
// program's own: relative ones start in its working directory.
type Copier interface {
	// Stat finds out what is at a path; it wraps fs.ErrNotExist if nothing is.
	Stat(ctx context.Context, o engine.Object, path string) (dir bool, err error)
	// CopyFrom returns what is at a path, under its own name.
	CopyFrom(ctx context.Context, o engine.Object, path string) (io.ReadCloser, error)
	// CopyTo unpacks a stream into a folder.
	CopyTo(ctx context.Context, o engine.Object, dir string, tar io.Reader) error
}

// Prober checks once whether a replica can serve, for providers that know more of
// their replicas than the network tells. The error says why it cannot;
// errors.ErrUnsupported means that the check is one like any other: over the
// network, or by a command.
type Prober interface {
	Probe(ctx context.Context, o engine.Object) error
}

// Stayer watches a replica that has no check through its first moments. It returns
// nil when the replica is still up as ctx ends, and at once why it ended if it did.
type Stayer interface {
	Stays(ctx context.Context, o engine.Object) error
}

// Suspender makes objects pause, with all that they hold in memory, and go on.
// Both do nothing to an object that is so already.
type Suspender interface {
	Suspends(k engine.Kind) bool // whether it can do so with objects of kind k
	Suspend(ctx context.Context, o engine.Object) error
	Resume(ctx context.Context, o engine.Object) error
}

// Snapshotter keeps what machines are at one moment, with their memory if they run, and
// lets them be that again. What does not know the name of a snapshot is an error.
type Snapshotter interface {
	Snapshotted(k engine.Kind) bool // whether it can do so with objects of kind k
	// Snapshots lists a machine's, the eldest first.
	Snapshots(ctx context.Context, machine engine.Object) ([]Snapshot, error)
	// TakeSnapshot succeeds if the machine's operation has taken one of that name already;
	// one of another operation is in the way.
	TakeSnapshot(ctx context.Context, machine engine.Object, name string) error
	// RestoreSnapshot makes a machine what it was: one that ran does not go on before it
	// is resumed.
	RestoreSnapshot(ctx context.Context, machine engine.Object, name string) error
	// DeleteSnapshot succeeds if there is none of that name.
	DeleteSnapshot(ctx context.Context, machine engine.Object, name string) error
}

// Snapshot is what a machine was at one moment.
type Snapshot struct {
	Name    string
	At      time.Time
	State   string // the provider's own word for what the machine was: "running"
	Current bool   // the machine has gone on from this one
}

// Restarter ends a replica's program, as its stop block says, and starts it again
// at the same address.
type Restarter interface {
	Restart(ctx context.Context, o engine.Object) error
}

// Signaler sends a signal to the program of a replica.
type Signaler interface {
	Signal(ctx context.Context, o engine.Object, name string) error
}

// Taker keeps machines ready: it makes objects of engine.KindWarm, and of those what
// a call asks for.
type Taker interface {
	// Take makes the object that a call asks for of a warm one, which is no more then.
	// Which of the two there is changes in one step, so that Read finds one of them at
	// any moment. It may be called again for the same operation. The error wraps
	// ErrNotFound if the warm one is not there, or not fit, and nothing was made of it.
	Take(ctx context.Context, c Call, warm engine.Object) (engine.Object, error)
}

// Stocker brings what a delivery tells of to a machine that is no object: one whose
// saved state machines are made of. It remembers nothing of it.
type Stocker interface {
	Stock(ctx context.Context, d engine.Delivery) error
}

// Introducer lets machines know each other by name and by key, for clusters.
type Introducer interface {
	// Greet asks a machine what it is to be known by, and what it knows of a cluster.
	// With mint, a machine or user that has no key makes one. The private part of it
	// does not leave the machine.
	Greet(ctx context.Context, machine engine.Object, cluster, user string, mint bool) (Greeting, error)
	// Introduce makes what a machine knows of a cluster just what the roster says. An
	// empty one leaves nothing of it.
	Introduce(ctx context.Context, machine engine.Object, cluster, user string, r Roster) error
}

// Greeting is what a machine says of itself.
type Greeting struct {
	Hostname string   // what it calls itself
	Key      string   // of its user, as in authorized_keys: type, key; "" if there is none
	HostKeys []string // of its ssh server, likewise
	Knows    Roster
}

// Roster is what the machines of a cluster know of it, as lines of files.
type Roster struct {
	Members    []string // "role name address"
	Hosts      []string // hosts(5)
	Authorized []string // sshd(8), "AUTHORIZED_KEYS FILE FORMAT"
	Known      []string // sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"
}

// Equal reports whether two rosters say the same.
func (r Roster) Equal(o Roster) bool {
	return slices.Equal(r.Members, o.Members) && slices.Equal(r.Hosts, o.Hosts) &&
		slices.Equal(r.Authorized, o.Authorized) && slices.Equal(r.Known, o.Known)
}

// Sizer tells the capacity of a machine that exists without flowctl. Of the
// object's value it may use what is set: it is the block's.
type Sizer interface {
	Capacity(ctx context.Context, o engine.Object) (engine.Capacity, error)
}

// Cleaner removes what is left of objects that do not exist any more: folders,
// processes that outlived their keeper. With all it removes everything that
// carries the flow's labels, for the end of a destroy. still are the ids of machines that
// are suspended: of what is on them nobody can be asked.
type Cleaner interface {
	Clean(ctx context.Context, all bool, still []string) error
}

// Meter reports what objects use, as far as they are of this provider. The caller
// keeps what it returns.
type Meter interface {
	Usage(ctx context.Context, objects []engine.Object) ([]Usage, error)
}

// Usage is what one machine, replica, frontend or backend uses at one instant.
type Usage struct {
	Address     engine.Address
	CPUCores    float64       // in use, averaged over about a second
	MemoryBytes int64         // working set
	IO          *IO           // of a machine; nil if its provider does not tell
	Restarts    int           // since it was made
	State       string        // the provider's own word: "running", "backoff", "draining"
	Since       time.Time     // when it reached that state
	Rate        float64       // requests (or connections) per second
	InFlight    int           // requests now
	P50, P95    time.Duration // latency over the last seconds
	Errors      float64       // failed requests per second
	Queued      int           // requests that wait for a backend now
	Requests    uint64        // all requests since the data plane began; it only grows
	Failed      uint64        // those of them that failed: answered with a status from 500, or not at all
	Counted     time.Time     // when the two were read, by the clock of the data plane; zero where that is not known
}

// IO is what went in and out of a machine since it started, in bytes.
type IO struct {
	DiskRead        uint64 `json:"disk_read_bytes"`
	DiskWritten     uint64 `json:"disk_written_bytes"`
	NetworkReceived uint64 `json:"network_received_bytes"`
	NetworkSent     uint64 `json:"network_sent_bytes"`
}

// Watcher tells at once what happens to objects behind flowctl's back: a container
// that dies, or is removed. What flowctl does itself is told, too. It goes on until
// the context ends; after an error that ends it, the caller begins again, and then
// reads everything, since it may have missed something.
type Watcher interface {
	Watch(ctx context.Context) iter.Seq2[Event, error]
}

// Event is one thing that happened to one object.
type Event struct {
	At      time.Time
	Address engine.Address
	Gen     int
	What    string // "died", "started", "removed", "paused", "unhealthy", …: for a reader
}

// Shifter moves the requests of a frontend between its backends, and counts what
// came of them.
type Shifter interface {
	// Shift gives backends their shares of the requests, all at one instant: 100
	// is the same as all others have, 0 is none for now, and what is between is
	// the percentage that all with that share get together. Backends that are not
	// there are passed over.
	Shift(ctx context.Context, frontend engine.Address, shares map[engine.Key]int) error
	// Tally reads what became of the requests to some backends. The counts only
	// grow, but start anew with the data plane.
	Tally(ctx context.Context, frontend engine.Address, backends []engine.Key) (Tally, error)
}

// Tally is what became of requests to backends.
type Tally struct {
	Began    time.Time                // since when the counts are
	Answered uint64                   // requests that are over, failed ones included
	Failed   uint64                   // answered with a status from 500, or not at all
	Latency  map[time.Duration]uint64 // answers by how long they took
	Out      map[engine.Key]string    // backends that get no requests because they do not work: why
}

// Since returns what was counted after an earlier tally of the same backends.
func (t Tally) Since(before Tally) Tally {
	if !t.Began.Equal(before.Began) {
		return t
	}
	d := Tally{Began: t.Began, Answered: t.Answered - before.Answered, Failed: t.Failed - before.Failed, Latency: map[time.Duration]uint64{}, Out: t.Out}
	for took, n := range t.Latency {
		if n -= before.Latency[took]; n > 0 {
			d.Latency[took] = n
		}
	}
	return d
}

// Add adds another's counts.
func (t *Tally) Add(o Tally) {
	t.Answered += o.Answered
	t.Failed += o.Failed
	if t.Latency == nil {
		t.Latency = map[time.Duration]uint64{}
	}
	for took, n := range o.Latency {
		t.Latency[took] += n
	}
	if t.Out == nil {
		t.Out = map[engine.Key]string{}
	}
	maps.Copy(t.Out, o.Out)
}

// P95 is the 95th percentile of the latencies; 0 for none.
func (t Tally) P95() time.Duration {
	total := uint64(0)
	for _, n := range t.Latency {
		total += n
	}
	rank := (total*95 + 99) / 100
	for _, took := range slices.Sorted(maps.Keys(t.Latency)) {
		if n := t.Latency[took]; rank > n {
			rank -= n
		} else {
			return took
		}
	}
	return 0
}

// Closer ends what a provider holds open.
type Closer interface {
	Close() error
}
