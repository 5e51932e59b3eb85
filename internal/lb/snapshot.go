package lb

// Snapshot is the full membership that the data plane is asked to carry: what is
// not in it is taken down.
type Snapshot struct {
	// Version orders snapshots; it never goes back. The same version again must
	// carry the same content.
	Version   uint64     `json:"version"`
	Frontends []Frontend `json:"frontends"`
}

// Protocols of a frontend.
const (
	HTTP = "http" // HTTP/1.1 and HTTP/2 without TLS (h2c, prior knowledge), on one port
	TCP  = "tcp"  // bytes, spliced
)

// Ways to choose a backend.
const (
	RoundRobin = "round_robin" // smooth weighted round robin
	LeastConn  = "least_conn"  // fewest in flight per weight
	P2C        = "p2c"         // the better of two at random, by latency (peak EWMA) and in flight
	Hash       = "hash"        // rendezvous hashing of HashKey, with bounded load
	Random     = "random"      // by weight
)

// Frontend is one listener and the backends behind it. Zero fields take the
// defaults of withDefaults; a negative number or duration switches a limit off.
type Frontend struct {
	// Name identifies the frontend from snapshot to snapshot.
	Name string `json:"name"`
	// Listen is "host:port". Port 0 lets the kernel pick one, which stays the
	// frontend's own while it lives, over restarts too; see Applied.
	Listen   string `json:"listen"`
	Protocol string `json:"protocol,omitempty"` // HTTP (default) or TCP
	Balance  string `json:"balance,omitempty"`  // default P2C
	// HashKey is what Hash hashes: "source" (the client's IP, the default),
	// "header:NAME", "cookie:NAME" or "path". A request without that header or
	// cookie goes to any backend, as by P2C.
	HashKey string `json:"hash_key,omitempty"`

	// Routes say which groups take which requests. None: all backends take all.
	// A TCP frontend has at most one route, with targets only.
	Routes   []Route   `json:"routes,omitempty"`
	Backends []Backend `json:"backends,omitempty"`

	Health   *Health  `json:"health,omitempty"` // nil: backends are trusted as given
	Sticky   *Sticky  `json:"sticky,omitempty"` // nil: no session cookie; HTTP only
	Timeouts Timeouts `json:"timeouts,omitzero"`
	Retry    Retry    `json:"retry,omitzero"`
	Queue    Queue    `json:"queue,omitzero"`
	Eject    Eject    `json:"eject,omitzero"`

	// MaxInFlight is the most requests (TCP: connections) that one backend is
	// given at a time; 0 is unlimited. What is above waits in the queue.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// SlowStart is the time over which the weight of a backend that joined or
	// recovered grows from a tenth to all of it; 0 is off.
	SlowStart Duration `json:"slow_start,omitzero"`
	// MaxConns is the most open client connections; further ones wait in the
	// kernel's accept queue. Default 10,000.
	MaxConns int `json:"max_conns,omitempty"`
	// MaxHeaderBytes bounds the head of a request (431 above); default 64 KiB.
	// It holds for connections accepted after it was set.
	MaxHeaderBytes int `json:"max_header_bytes,omitempty"`
	// MaxBodyBytes bounds the body of a request (413 above); 0 is unlimited.
	MaxBodyBytes int64 `json:"max_body_bytes,omitempty"`
	// MinBodyRate is the least average bytes per second at which a client may
	// send a body, after 5 seconds' grace (408 below); default 240. gRPC and
	// upgraded connections are exempt.
	MinBodyRate int `json:"min_body_rate,omitempty"`
	// TrustedProxies are CIDRs whose X-Forwarded-* and Forwarded headers are
	// kept and appended to. From everybody else they are replaced.
	TrustedProxies []string `json:"trusted_proxies,omitempty"`
}

// Route sends the requests that match it to its targets. Of the routes that
// match, the longest path wins, then the more specific host (exact, then the
// longest suffix, then any), then the most headers, then the first given.
type Route struct {
	Host    string            `json:"host,omitempty"`    // exact, "*.suffix", or "" for any; without port
	Path    string            `json:"path,omitempty"`    // prefix ending at a segment boundary; "" is "/"
	Headers map[string]string `json:"headers,omitempty"` // each must be present with exactly this value
	// Targets share the requests by weight. None: all backends, whatever their group.
	Targets []Target `json:"targets,omitempty"`
	// StripPrefix takes Path off the request before it is forwarded.
	StripPrefix bool `json:"strip_prefix,omitempty"`
}

// Target is a share of a route.
type Target struct {
	Group string `json:"group"`
	// Weight is the share relative to the route's other targets; 0 is nothing,
	// unless all are 0, which share alike. A group with no backend in service
	// leaves its share to the others.
	Weight int `json:"weight"`
}

// Backend is one server behind a frontend.
type Backend struct {
	// ID identifies the backend within its frontend, from snapshot to snapshot.
	// The same ID with another address is another backend.
	ID      string `json:"id"`
	Group   string `json:"group,omitempty"`
	Address string `json:"address"`          // "host:port"
	Weight  int    `json:"weight,omitempty"` // relative; 0 is 1. Out of service is Draining, not a weight
	// Draining takes the backend out of choice, for sticky sessions too; what is
	// in flight goes on. See Client.WaitDrained.
	Draining bool `json:"draining,omitempty"`
	// Standby takes the backend out of choice as Draining does; but it is to come
	// back, and so stays checked.
	Standby bool `json:"standby,omitempty"`
	// Share is the percentage of its group's requests that those of the group with
	// a Share get together, whatever Balance says; the others get the rest. While
	// only one of the two parts is in service, it gets everything. 0 is no share.
	Share int `json:"share,omitempty"`
	// Ready says that its health was checked by whoever made the snapshot: it is
	// used at once. Otherwise, if the frontend has Health, it has to pass first.
	Ready bool `json:"ready,omitempty"`
	H2C   bool `json:"h2c,omitempty"` // speaks HTTP/2 without TLS (gRPC)
	// Health is how this backend is checked; nil: as the frontend says.
	Health *Health `json:"health,omitempty"`
}

// Health is the active check of each backend.
type Health struct {
	// Path is fetched by GET; "" checks by a TCP connect only.
	Path string `json:"path,omitempty"`
	// Statuses that pass: "200", "200-399" (the default); HTTP only.
	Status         string   `json:"status,omitempty"`
	Interval       Duration `json:"interval,omitzero"`         // default 1s
	Timeout        Duration `json:"timeout,omitzero"`          // default 1s
	HealthyAfter   int      `json:"healthy_after,omitempty"`   // passes in a row; default 2
	UnhealthyAfter int      `json:"unhealthy_after,omitempty"` // failures in a row; default 3
}

// Sticky keeps a client on one backend by a cookie (HttpOnly, SameSite=Lax,
// Path=/) whose value says nothing about the backend.
type Sticky struct {
	Cookie string   `json:"cookie,omitempty"` // name; default "flowctl"
	TTL    Duration `json:"ttl,omitzero"`     // 0: until the browser closes
}

// Timeouts of a frontend. 0 is the default, negative is no limit.
type Timeouts struct {
	Connect Duration `json:"connect,omitzero"` // to a backend; default 3s
	// Header is from a request being sent to the head of the answer; default
	// 60s. gRPC calls have none: they carry their own.
	Header Duration `json:"header,omitzero"`
	// Idle is how long a body may stand still in either direction, and how long
	// a client's keep-alive connection waits for its next request; default 60s.
	Idle Duration `json:"idle,omitzero"`
	// Stream takes the place of Idle on upgraded connections, TCP connections,
	// event streams and gRPC calls; default 10m.
	Stream Duration `json:"stream,omitzero"`
	// Total is for the whole of a request, queue and retries included, streams
	// excepted; default none.
	Total Duration `json:"total,omitzero"`
	// ReadHeader is for a client to send the head of a request; default 10s.
	ReadHeader Duration `json:"read_header,omitzero"`
	// DrainStream is how long a stream (see Stream) may go on once its backend is
	// draining; 0 (the default) is until the backend is removed, which cuts it.
	DrainStream Duration `json:"drain_stream,omitzero"`
}

// Retry bounds how often a failed request is tried on another backend.
type Retry struct {
	// Attempts is the most tries of a request, the first included; default 3, 1
	// is no retry.
	Attempts int `json:"attempts,omitempty"`
	// BudgetPercent is the most retries per hundred requests, counted over the
	// last 10 seconds; default 20, negative is none.
	BudgetPercent int `json:"budget_percent,omitempty"`
	// MinPerSecond retries are allowed above that; default 10, negative is none.
	MinPerSecond int `json:"min_per_second,omitempty"`
}

// Queue holds requests while no backend can take them: all are at MaxInFlight,
// or none is in service (a function scaled to zero). First come, first served.
type Queue struct {
	Size    int      `json:"size,omitempty"`   // most waiting; default 512, negative is no queue
	Timeout Duration `json:"timeout,omitzero"` // longest wait; default 10s
}

// Eject takes a backend out of choice for a while after failures in a row:
// refused or reset connections, and answers 502, 503, 504.
type Eject struct {
	ConsecutiveErrors int `json:"consecutive_errors,omitempty"` // default 5, negative is never
	// BaseTime is the first ejection; each following one doubles, up to 32 times
	// as long, and is forgotten as long again after. Default 5s.
	BaseTime Duration `json:"base_time,omitzero"`
	// MaxPercent of a group may be ejected at a time (one always, of two or
	// more); default 50, negative is none.
	MaxPercent int `json:"max_percent,omitempty"`
	// PanicPercent: when less of a group than this is in service, its unhealthy
	// and ejected backends are used as well; default 25, negative is never.
	PanicPercent int `json:"panic_percent,omitempty"`
}

// Applied says what became of a snapshot.
type Applied struct {
	Version   uint64            `json:"version"`
	Frontends []AppliedFrontend `json:"frontends"` // in the snapshot's order
	// Unsaved says why the snapshot, though in force, is not on disk.
	Unsaved string `json:"unsaved,omitempty"`
}

// AppliedFrontend is the outcome for one frontend.
type AppliedFrontend struct {
	Name string `json:"name"`
	// Listen is the address in use, with the port that the kernel picked for 0;
	// "" if the frontend does not listen.
	Listen string `json:"listen,omitempty"`
	// Error says why the frontend does not listen where it should. The data
	// plane tries again every second, and on each Apply.
	Error string `json:"error,omitempty"`
}
