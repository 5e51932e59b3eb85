package lb

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Validate reports all faults of the snapshot, joined; nil if there is none.
func (s Snapshot) Validate() error {
	var all faults
	names := map[string]bool{}
	addrs := map[string]string{}
	for i, f := range s.Frontends {
		fs := faults{at: fmt.Sprintf("frontend %q: ", f.Name)}
		switch {
		case !validName(f.Name):
			fs.at = fmt.Sprintf("frontend %d: ", i)
			fs.add("name %q is empty, longer than 200 bytes or not printable", f.Name)
		case names[f.Name]:
			fs.add("a frontend of this name came before")
		}
		names[f.Name] = true
		fs.listen(f, addrs)
		fs.settings(f.withDefaults())
		fs.routes(f)
		fs.backends(f)
		all.list = append(all.list, fs.list...)
	}
	return errors.Join(all.list...)
}

// faults collects what is wrong with one frontend.
type faults struct {
	at   string // prefix of each fault
	list []error
}

func (fs *faults) add(format string, args ...any) {
	fs.list = append(fs.list, errors.New(fs.at+fmt.Sprintf(format, args...)))
}

func (fs *faults) listen(f Frontend, taken map[string]string) {
	_, port, err := splitAddress(f.Listen)
	if err != nil {
		fs.add("listen %q is not host:port", f.Listen)
		return
	}
	if port == 0 {
		return
	}
	if other, ok := taken[f.Listen]; ok {
		fs.add("listen %s is also that of frontend %q", f.Listen, other)
	}
	taken[f.Listen] = f.Name
}

// settings looks at f with its defaults in place.
func (fs *faults) settings(f Frontend) {
	if f.Protocol != HTTP && f.Protocol != TCP {
		fs.add("protocol %q is neither %q nor %q", f.Protocol, HTTP, TCP)
	}
	if _, ok := balancers[f.Balance]; !ok {
		fs.add("balance %q is none of %s", f.Balance, strings.Join([]string{RoundRobin, LeastConn, P2C, Hash, Random}, ", "))
	}
	if kind, name, err := parseHashKey(f.HashKey); err != nil {
		fs.add("%v", err)
	} else if f.Protocol == TCP && kind != keySource {
		fs.add("hash_key %q needs HTTP: %s", f.HashKey, name)
	}
	if f.Protocol == TCP && f.Sticky != nil {
		fs.add("sticky sessions need HTTP")
	}
	if f.Sticky != nil && !validToken(f.Sticky.Cookie) {
		fs.add("sticky cookie name %q is not a token", f.Sticky.Cookie)
	}
	if f.Eject.MaxPercent > 100 || f.Eject.PanicPercent > 100 {
		fs.add("a percentage is above 100")
	}
	if f.MaxInFlight < 0 {
		fs.add("max_in_flight %d is negative", f.MaxInFlight)
	}
	for _, c := range f.TrustedProxies {
		if _, err := netip.ParsePrefix(c); err != nil {
			fs.add("trusted proxy %q is not a CIDR", c)
		}
	}
	if f.Health != nil {
		fs.health(*f.Health)
	}
	for _, b := range f.Backends {
		if b.Health != nil {
			fs.health(*b.Health)
		}
	}
}

func (fs *faults) health(h Health) {
	if h.Path != "" && !strings.HasPrefix(h.Path, "/") {
		fs.add("health path %q does not begin with /", h.Path)
	}
	if _, _, err := parseStatuses(h.Status); err != nil {
		fs.add("%v", err)
	}
	if h.Interval < 0 || h.Timeout < 0 || h.HealthyAfter < 0 || h.UnhealthyAfter < 0 {
		fs.add("a health setting is negative")
	}
}

func (fs *faults) routes(f Frontend) {
	seen := map[string]int{}
	for i, r := range f.Routes {
		if f.Protocol == TCP && (i > 0 || r.Host != "" || !slices.Contains([]string{"", "/"}, r.Path) || len(r.Headers) > 0 || r.StripPrefix) {
			fs.add("a TCP frontend has at most one route, with targets only")
			return
		}
		if r.Path != "" && !strings.HasPrefix(r.Path, "/") {
			fs.add("route %d: path %q does not begin with /", i, r.Path)
		}
		if h := strings.TrimPrefix(r.Host, "*."); r.Host != "" && (strings.Contains(h, "*") || !validHost(h) || strings.Contains(h, ":")) {
			fs.add("route %d: host %q is neither a name nor *.name", i, r.Host)
		}
		for name := range r.Headers {
			if !validToken(name) {
				fs.add("route %d: header name %q is not a token", i, name)
			}
		}
		if first, ok := seen[routeKey(r)]; ok {
			fs.add("route %d matches what route %d matches", i, first)
		} else {
			seen[routeKey(r)] = i
		}
		for _, t := range r.Targets {
			if t.Weight < 0 || t.Weight > maxWeight {
				fs.add("route %d: weight %d is not within 0 and %d", i, t.Weight, maxWeight)
			}
		}
	}
}

// maxWeight keeps schedules short.
const maxWeight = 1000

func (fs *faults) backends(f Frontend) {
	seen := map[string]bool{}
	for i, b := range f.Backends {
		switch {
		case !validName(b.ID):
			fs.add("backend %d: id %q is empty, longer than 200 bytes or not printable", i, b.ID)
		case seen[b.ID]:
			fs.add("backend %q: another has this id", b.ID)
		}
		seen[b.ID] = true
		if host, port, err := splitAddress(b.Address); err != nil || host == "" || port == 0 {
			fs.add("backend %q: address %q is not host:port", b.ID, b.Address)
		}
		if b.Weight < 0 || b.Weight > maxWeight {
			fs.add("backend %q: weight %d is not within 0 and %d", b.ID, b.Weight, maxWeight)
		}
		if b.Share < 0 || b.Share > 100 {
			fs.add("backend %q: share %d is no percentage", b.ID, b.Share)
		}
		if b.H2C && f.Protocol == TCP {
			fs.add("backend %q: h2c needs HTTP", b.ID)
		}
	}
}

func splitAddress(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(p, 10, 16)
	return host, int(n), err
}

func validName(s string) bool {
	if s == "" || len(s) > 200 {
		return false
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return false
		}
	}
	return true
}

// validToken reports whether s is a token of RFC 9110 section 5.6.2: a name of a
// header or cookie.
func validToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
