package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/google/uuid"
	"libvirt.org/go/libvirtxml"
)

// networkID is the UUID of a network of ours: networks have no metadata in older
// versions of libvirt, so it alone says whose one is.
func (l *Libvirt) networkID(r providers.Ref) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, sum("network", l.state(), l.settings.Flow, r.Address.String(), fmt.Sprint(r.Gen))).String()
}

func (l *Libvirt) checkNetwork(_ context.Context, a engine.Address, want engine.Network, _ *engine.Network) engine.Diagnostics {
	var diags engine.Diagnostics
	fault := func(summary, format string, args ...any) {
		diags = append(diags, engine.Diagnostic{Summary: summary, Address: a, Detail: fmt.Sprintf(format, args...)})
	}
	if p, err := netip.ParsePrefix(want.CIDR); want.CIDR != "" && (err != nil || !p.Addr().Is4() || p.Bits() < 8 || p.Bits() > 29) {
		fault("Invalid address range", "%s has cidr = %q. Write an IPv4 range from /8 to /29, such as \"10.77.0.0/24\".", a, want.CIDR)
	}
	switch {
	case want.Mode == "bridge" && (want.Bridge == "" || want.CIDR == ""):
		fault("Bridge without a name", "%s has mode = \"bridge\". Write the name of the computer's bridge, such as bridge = \"br0\", and the cidr of the network outside, from which machines get addresses that nobody else has.", a)
	case want.Mode != "bridge" && want.Bridge != "":
		fault("Bridge without effect", "%s names the bridge %s, which means something with mode = \"bridge\" only. Write that, or remove bridge.", a, want.Bridge)
	}
	return diags
}

// draw makes the definition of a network.
func (l *Libvirt) drawNetwork(r providers.Ref, want engine.Network, p netip.Prefix) (string, error) {
	n := libvirtxml.Network{Name: l.name(r.Address, r.Gen), UUID: l.networkID(r)}
	if want.Mode == "bridge" {
		n.Forward, n.Bridge = &libvirtxml.NetworkForward{Mode: "bridge"}, &libvirtxml.NetworkBridge{Name: want.Bridge}
		return n.Marshal()
	}
	if want.Mode == "nat" {
		n.Forward = &libvirtxml.NetworkForward{Mode: "nat"}
	}
	n.Bridge = &libvirtxml.NetworkBridge{Name: "fl" + short(n.UUID), STP: "off", Delay: "0"}
	n.IPs = []libvirtxml.NetworkIP{{Address: p.Addr().Next().String(), Prefix: uint(p.Bits())}}
	// Whoever lists networks finds here which object it is.
	n.DNS = &libvirtxml.NetworkDNS{TXTs: []libvirtxml.NetworkDNSTXT{{Name: "flowctl", Value: fmt.Sprintf("%s %d %s", r.Address, r.Gen, r.Operation)}}}
	return n.Marshal()
}

func (l *Libvirt) applyNetwork(ctx context.Context, r providers.Ref, want engine.Network, prior *engine.Network) (engine.Network, bool, error) {
	h, err := l.begin(ctx)
	if err != nil {
		return want, false, err
	}
	name := l.name(r.Address, r.Gen)
	switch _, err := h.Network(name); {
	case errors.Is(err, providers.ErrNotFound):
		if err := l.makeNetwork(h, r, want); err != nil {
			return want, false, err
		}
	case err != nil:
		return want, false, err
	}
	text, err := h.Network(name)
	if err != nil {
		return want, false, err
	}
	if !strings.Contains(text, l.networkID(r)) {
		return want, false, taken("network", name, tag{})
	}
	if err := h.StartNetwork(name); err != nil && prior != nil { // machines may be on it
		return want, true, networkFault(err)
	} else if err != nil {
		return want, false, errors.Join(networkFault(err), h.RemoveNetwork(name))
	}
	return want, true, fillNetwork(text, &want)
}

// networkFault says what to do about a network that could not be made.
func networkFault(err error) error {
	if err == nil {
		return nil
	}
	for _, sign := range []string{"already in use", "is already in use by interface", "overlap"} {
		if strings.Contains(err.Error(), sign) {
			return providers.Permanent(fmt.Errorf("%w. Give the network another cidr", err))
		}
	}
	if strings.Contains(err.Error(), "Cannot get interface MTU") || strings.Contains(err.Error(), "No such device") {
		return providers.Permanent(fmt.Errorf("%w. Correct bridge in the network block", err))
	}
	return err
}

func fillNetwork(text string, n *engine.Network) error {
	s, err := parseSubnet(text)
	if err != nil {
		return err
	}
	n.ID = s.name
	if s.gateway.IsValid() {
		n.Gateway = s.gateway.String()
	}
	return nil
}

func (l *Libvirt) makeNetwork(h hypervisor, r providers.Ref, want engine.Network) error {
	l.addressing.Lock()
	defer l.addressing.Unlock()
	p, err := netip.ParsePrefix(want.CIDR)
	if want.CIDR == "" && want.Mode != "bridge" {
		p, err = l.freeRange(h, r)
	}
	if err != nil && want.Mode != "bridge" {
		return providers.Permanent(err)
	}
	text, err := l.drawNetwork(r, want, p.Masked())
	if err != nil {
		return err
	}
	return networkFault(h.MakeNetwork(text))
}

// freeRange chooses a range for a network that names none: 256 addresses of
// 10.64.0.0/10 that neither this computer nor another network uses.
func (l *Libvirt) freeRange(h hypervisor, r providers.Ref) (netip.Prefix, error) {
	used, err := usedRanges(h)
	if err != nil {
		return netip.Prefix{}, err
	}
	seed := binary.BigEndian.Uint32(sum(l.networkID(r)))
	const ranges = 64 * 256
	for n := range uint32(ranges) {
		i := (seed + n) % ranges
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(64 + i>>8), byte(i), 0}), 24)
		free := true
		for _, u := range used {
			free = free && !u.Overlaps(p)
		}
		if free {
			return p, nil
		}
	}
	return netip.Prefix{}, errors.New("no address range is free: write cidr in the network block")
}

func usedRanges(h hypervisor) ([]netip.Prefix, error) {
	var used []netip.Prefix
	texts, err := h.Networks()
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		if s, err := parseSubnet(text); err == nil && s.prefix.IsValid() {
			used = append(used, s.prefix)
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			used = append(used, p.Masked())
		}
	}
	return used, nil
}

func (l *Libvirt) readNetwork(_ context.Context, r providers.Ref, known engine.Network) (engine.Network, providers.Status, error) {
	h, err := l.hypervisor()
	if err != nil {
		return known, providers.Status{}, err
	}
	text, err := h.Network(l.name(r.Address, r.Gen))
	switch {
	case errors.Is(err, providers.ErrNotFound):
		return known, providers.Status{Presence: engine.Gone, Why: "libvirt does not have it"}, nil
	case err != nil:
		return known, providers.Status{}, err
	case !strings.Contains(text, l.networkID(r)):
		return known, providers.Status{Presence: engine.Gone, Why: "what libvirt has of that name is somebody else's"}, nil
	}
	return known, providers.Status{}, fillNetwork(text, &known)
}

func (l *Libvirt) removeNetwork(_ context.Context, r providers.Ref, _ engine.Network) error {
	h, err := l.hypervisor()
	if err != nil {
		return err
	}
	name := l.name(r.Address, r.Gen)
	text, err := h.Network(name)
	if err == nil && !strings.Contains(text, l.networkID(r)) {
		return nil // it is somebody else's
	}
	if err == nil {
		err = h.RemoveNetwork(name)
	}
	if errors.Is(err, providers.ErrNotFound) {
		return nil
	}
	return err
}
