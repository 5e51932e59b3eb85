package lb

import (
	"net"
	"net/http/httputil"
	"slices"
	"strings"
)

// untrustedFields are what a client may not say about itself, or about who it
// speaks for, unless it is a trusted proxy. ReverseProxy has removed Forwarded
// and X-Forwarded-For, -Host and -Proto already.
var untrustedFields = []string{"X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Real-Ip"}

// rewrite makes the request that backends get of the client's: the same target
// and Host, and who it comes from. X-Forwarded-For, -Host and -Proto are set
// anew; from a trusted proxy (Frontend.TrustedProxies), -For is appended to,
// -Host and -Proto are kept if given, and Forwarded (RFC 7239) is appended to if
// given. Proxy is dropped always (CVE-2016-5385).
func rewrite(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	out.URL.Scheme, out.URL.User = "http", nil
	out.URL.RawQuery = in.URL.RawQuery // as it is, not as ReverseProxy cleaned it
	out.Host = in.Host
	out.Trailer = in.Trailer // the same map, which the server fills at the body's end
	out.Header.Del("Proxy")

	client, _, err := net.SplitHostPort(in.RemoteAddr)
	if err != nil {
		client = "unknown"
	}
	h := out.Header
	if exchangeOf(in.Context()).cfg.trusts(in.RemoteAddr) {
		h["X-Forwarded-For"] = []string{strings.Join(slices.Concat(in.Header["X-Forwarded-For"], []string{client}), ", ")}
		h["X-Forwarded-Host"] = orElse(in.Header["X-Forwarded-Host"], in.Host)
		h["X-Forwarded-Proto"] = orElse(in.Header["X-Forwarded-Proto"], "http")
		if prior := in.Header["Forwarded"]; len(prior) > 0 {
			h.Set("Forwarded", strings.Join(prior, ", ")+", "+forwardedFor(client))
		}
		return
	}
	for _, name := range untrustedFields {
		delete(h, name)
	}
	h["X-Forwarded-For"] = []string{client}
	h["X-Forwarded-Host"] = []string{in.Host}
	h["X-Forwarded-Proto"] = []string{"http"}
}

func orElse(given []string, value string) []string {
	if len(given) > 0 {
		return given
	}
	return []string{value}
}

// forwardedFor is an element of Forwarded; IPv6 is bracketed and quoted.
func forwardedFor(client string) string {
	if strings.Contains(client, ":") {
		return `for="[` + client + `]"`
	}
	return "for=" + client
}
