package lb

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// config is a frontend's settings as its requests use them. Immutable, but for
// the turns and lines of its routes.
type config struct {
	Frontend // with defaults
	routes   routes
	balance  balancer
	keyKind  keyKind
	keyName  string
	trusted  []netip.Prefix
}

// compile expects a valid frontend.
func compile(f Frontend) *config {
	f = f.withDefaults()
	c := &config{Frontend: f, routes: compileRoutes(f.Routes), balance: balancers[f.Balance]}
	c.keyKind, c.keyName, _ = parseHashKey(f.HashKey)
	for _, s := range f.TrustedProxies {
		if p, err := netip.ParsePrefix(s); err == nil {
			c.trusted = append(c.trusted, p)
		}
	}
	return c
}

// trusts reports whether the client at remote ("ip:port") may say who its own
// clients are.
func (c *config) trusts(remote string) bool {
	if len(c.trusted) == 0 {
		return false
	}
	addr, err := netip.ParseAddrPort(remote)
	return err == nil && slices.ContainsFunc(c.trusted, func(p netip.Prefix) bool { return p.Contains(addr.Addr().Unmap()) })
}

// parseStatuses reads "200" or "200-399".
func parseStatuses(s string) (low, high int, err error) {
	from, to, isRange := strings.Cut(s, "-")
	low, errLow := strconv.Atoi(from)
	high = low
	var errHigh error
	if isRange {
		high, errHigh = strconv.Atoi(to)
	}
	if errLow != nil || errHigh != nil || low < 100 || high > 599 || low > high {
		return 0, 0, fmt.Errorf("health status %q is neither a status nor a range such as 200-399", s)
	}
	return low, high, nil
}
