package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"syscall"
)

// ErrTarget says that the driver refuses to send to a target.
var ErrTarget = errors.New("target refused")

// checkTarget resolves the host and refuses it unless every one of its
// addresses may be driven: a name must not be half local.
func checkTarget(ctx context.Context, u *url.URL, allowRemote bool) error {
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil {
		return checkAddr(addr, allowRemote)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return fmt.Errorf("resolve target: %w", err)
	}
	for _, addr := range addrs {
		if err := checkAddr(addr, allowRemote); err != nil {
			return fmt.Errorf("host %s: %w", host, err)
		}
	}
	return nil
}

// checkAddr allows loopback always and private networks (RFC 1918, RFC 4193)
// when asked; the rest, link-local with its metadata services included, never.
func checkAddr(addr netip.Addr, allowRemote bool) error {
	addr = addr.Unmap()
	switch {
	case addr.IsLoopback():
		return nil
	case addr.IsUnspecified():
		return fmt.Errorf("%w: %s is no address to send to; use 127.0.0.1 or [::1]", ErrTarget, addr)
	case !addr.IsPrivate():
		return fmt.Errorf("%w: %s is neither loopback nor private; load is only for servers of your own", ErrTarget, addr)
	case !allowRemote:
		return fmt.Errorf("%w: %s is another machine's private address; allow remote targets to drive it", ErrTarget, addr)
	}
	return nil
}

// control checks the address of every connection when it is made, because a
// name may resolve differently by then.
func control(allowRemote bool) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: address %q: %w", ErrTarget, address, err)
		}
		return checkAddr(to.Addr(), allowRemote)
	}
}
