package lb

import (
	"fmt"
	"net"
	"net/http"
	"strings"
)

// keyKind is where the key of Hash comes from.
type keyKind int

const (
	keySource keyKind = iota
	keyHeader
	keyCookie
	keyPath
)

// parseHashKey reads Frontend.HashKey; name is the header's or cookie's.
func parseHashKey(s string) (kind keyKind, name string, err error) {
	what, name, named := strings.Cut(s, ":")
	switch {
	case s == "source":
		return keySource, "", nil
	case s == "path":
		return keyPath, "", nil
	case what == "header" && named && validToken(name):
		return keyHeader, http.CanonicalHeaderKey(name), nil
	case what == "cookie" && named && validToken(name):
		return keyCookie, name, nil
	}
	return 0, "", fmt.Errorf("hash_key %q is none of source, path, header:NAME, cookie:NAME", s)
}

// requestKey is the hash of the request's key; false if it has none.
func requestKey(kind keyKind, name string, r *http.Request) (uint64, bool) {
	switch kind {
	case keySource:
		return sourceKey(r.RemoteAddr)
	case keyPath:
		return hash64(r.URL.Path), true
	case keyHeader:
		if v := r.Header[name]; len(v) > 0 {
			return hash64(v[0]), true
		}
	case keyCookie:
		if c, err := r.Cookie(name); err == nil {
			return hash64(c.Value), true
		}
	}
	return 0, false
}

func sourceKey(remote string) (uint64, bool) {
	host, _, err := net.SplitHostPort(remote)
	return hash64(host), err == nil
}

// hash64 is FNV-1a with a finisher: stable over processes and versions, so that
// a restarted data plane keeps affinity.
func hash64(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// mix is the finisher of SplitMix64 (Steele, Lea and Flood 2014).
func mix(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}
