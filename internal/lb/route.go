package lb

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// routes is a frontend's routing table, in order of precedence. Immutable.
type routes []*route

// route is one compiled Route.
type route struct {
	path    string // without trailing slash; "" is every path
	host    string // lower case; with suffix set, it begins with "."
	suffix  bool
	headers [][2]string // canonical name, value; sorted
	strip   bool

	// targets by weight; empty is every backend
	groups []string
	share  []int32 // smooth weighted order of groups
	next   *atomic.Uint32

	line *line // where its requests wait
}

// compileRoutes sorts rs by precedence. No routes are one that matches all.
func compileRoutes(rs []Route) routes {
	if len(rs) == 0 {
		rs = []Route{{}}
	}
	table := make(routes, len(rs))
	for i, r := range rs {
		table[i] = compileRoute(r)
	}
	slices.SortStableFunc(table, func(a, b *route) int {
		return cmp.Or(
			cmp.Compare(len(b.path), len(a.path)),
			cmp.Compare(b.hostRank(), a.hostRank()),
			cmp.Compare(len(b.headers), len(a.headers)))
	})
	return table
}

func compileRoute(r Route) *route {
	c := &route{
		path: strings.TrimRight(r.Path, "/"), host: normalHost(r.Host), strip: r.StripPrefix, next: new(atomic.Uint32),
	}
	if rest, ok := strings.CutPrefix(c.host, "*"); ok {
		c.host, c.suffix = rest, true
	}
	for name, value := range r.Headers {
		c.headers = append(c.headers, [2]string{http.CanonicalHeaderKey(name), value})
	}
	slices.SortFunc(c.headers, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	var weights []float64
	for _, t := range r.Targets {
		if t.Weight > 0 || allZero(r.Targets) {
			c.groups = append(c.groups, t.Group)
			weights = append(weights, float64(max(t.Weight, 1)))
		}
	}
	c.share = wheel(weights)
	return c
}

func allZero(ts []Target) bool {
	return !slices.ContainsFunc(ts, func(t Target) bool { return t.Weight != 0 })
}

// hostRank orders hosts by how much they say: exact, then the longest suffix.
func (r *route) hostRank() int {
	switch {
	case r.host == "":
		return 0
	case r.suffix:
		return len(r.host)
	default:
		return 1 << 20
	}
}

// match returns the route of a request, or nil.
func (rs routes) match(host, path string, header http.Header) *route {
	host = normalHost(host)
	for _, r := range rs {
		if r.matches(host, path, header) {
			return r
		}
	}
	return nil
}

func (r *route) matches(host, path string, header http.Header) bool {
	if r.path != "" && (!strings.HasPrefix(path, r.path) || len(path) > len(r.path) && path[len(r.path)] != '/') {
		return false
	}
	if r.suffix && (len(host) <= len(r.host) || !strings.HasSuffix(host, r.host)) {
		return false
	}
	if r.host != "" && !r.suffix && host != r.host {
		return false
	}
	for _, h := range r.headers {
		if v := header[h[0]]; len(v) != 1 || v[0] != h[1] {
			return false
		}
	}
	return true
}

// stripPath takes the route's prefix off a path and its raw form; false if the
// raw form does not spell the prefix as it is, so that nothing can be taken off.
func (r *route) stripPath(path, raw string) (string, string, bool) {
	if !r.strip || r.path == "" {
		return path, raw, true
	}
	path = cmp.Or(path[len(r.path):], "/")
	if raw != "" {
		rest, ok := strings.CutPrefix(raw, r.path)
		if !ok || rest != "" && rest[0] != '/' {
			return "", "", false
		}
		raw = cmp.Or(rest, "/")
	}
	return path, raw, true
}

// routeKey is equal for two routes that match the same requests.
func routeKey(r Route) string {
	c := compileRoute(Route{Host: r.Host, Path: r.Path, Headers: r.Headers})
	return fmt.Sprintf("%q %q %t %q", c.path, c.host, c.suffix, c.headers)
}

func (r *route) key() string {
	return fmt.Sprintf("%q %q %t %q", r.path, r.host, r.suffix, r.headers)
}

// normalHost is a Host header's name: lower case, without port and final dot.
func normalHost(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// validHost reports whether a Host header is one that no two servers read
// differently: a name, an IPv4 or a bracketed IPv6 address, and a port.
func validHost(host string) bool {
	for i := range len(host) {
		c := host[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._:[]", c) >= 0:
		default:
			return false
		}
	}
	if open := strings.IndexByte(host, '['); open > 0 || open < 0 && strings.Count(host, ":") > 1 {
		return false
	}
	return host != ""
}
