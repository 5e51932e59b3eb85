package libvirt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"libvirt.org/go/libvirtxml"
)

// subnet is what a machine needs to know of its network.
type subnet struct {
	name    string // libvirt's
	prefix  netip.Prefix
	gateway netip.Addr
}

// subnetOf finds the network that a machine is to be on.
func (l *Libvirt) subnetOf(h hypervisor, want engine.VM) (subnet, error) {
	name := want.Network.ID
	if name == "" {
		name = l.cfg.Network
	}
	text, err := h.Network(name)
	if errors.Is(err, providers.ErrNotFound) {
		return subnet{}, providers.Permanent(fmt.Errorf("%w. Declare a network block and write network = network.NAME in the vm, or name an existing one with network in the provider block", err))
	}
	if err != nil {
		return subnet{}, err
	}
	s, err := parseSubnet(text)
	if err != nil {
		return s, providers.Permanent(fmt.Errorf("network %s: %w", name, err))
	}
	if s.prefix.IsValid() {
		return s, nil
	}
	// A bridge to the network outside, of which libvirt knows no addresses.
	if s.prefix, err = netip.ParsePrefix(want.Network.CIDR); err != nil {
		return s, providers.Permanent(fmt.Errorf("network %s joins machines to a network outside, whose addresses libvirt does not know: write its cidr in the network block", name))
	}
	s.prefix = s.prefix.Masked()
	s.gateway = s.prefix.Addr().Next()
	return s, nil
}

// parseSubnet reads a network's first IPv4 range; it has none if it is a bridge to
// the network outside.
func parseSubnet(text string) (subnet, error) {
	var n libvirtxml.Network
	if err := n.Unmarshal(text); err != nil {
		return subnet{}, err
	}
	s := subnet{name: n.Name}
	for _, ip := range n.IPs {
		a, err := netip.ParseAddr(ip.Address)
		if err != nil || !a.Is4() {
			continue
		}
		bits := int(ip.Prefix)
		if mask := net.ParseIP(ip.Netmask); mask != nil {
			bits, _ = net.IPMask(mask.To4()).Size()
		}
		s.gateway, s.prefix = a, netip.PrefixFrom(a, bits).Masked()
		return s, nil
	}
	return s, nil
}

// pick chooses the address of a machine: by a hash of its own address, and the
// next one if somebody has it.
func (s subnet) pick(seed []byte, taken map[netip.Addr]bool) (netip.Addr, error) {
	hosts := uint32(1)<<(32-s.prefix.Bits()) - 2
	if s.prefix.Bits() > 30 {
		return netip.Addr{}, providers.Permanent(fmt.Errorf("network %s has no room for machines: give it a larger cidr than %s", s.name, s.prefix))
	}
	first := binary.BigEndian.Uint32(s.prefix.Addr().AsSlice()) + 1
	start := binary.BigEndian.Uint32(seed) % hosts
	for n := range hosts {
		a := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, first+(start+n)%hosts)))
		if !taken[a] && a != s.gateway {
			return a, nil
		}
	}
	return netip.Addr{}, providers.Permanent(fmt.Errorf("network %s has no address left: give it a larger cidr than %s", s.name, s.prefix))
}

// takenOn lists the addresses of a network that somebody has: our machines, and
// whoever got one from its DHCP server.
func takenOn(h hypervisor, s subnet) (map[netip.Addr]bool, error) {
	taken := map[netip.Addr]bool{}
	all, err := everything(h)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if a, err := netip.ParseAddr(d.tag.IP); err == nil && slices.Contains(networksOf(d.xml), s.name) {
			taken[a] = true
		}
	}
	leases, err := h.Leases(s.name)
	if err != nil && !h.Simulated() {
		return nil, err
	}
	for _, lease := range leases {
		if a, err := netip.ParseAddr(lease); err == nil {
			taken[a] = true
		}
	}
	return taken, nil
}

func networksOf(d libvirtxml.Domain) []string {
	var all []string
	if d.Devices == nil {
		return nil
	}
	for _, i := range d.Devices.Interfaces {
		if i.Source != nil && i.Source.Network != nil {
			all = append(all, i.Source.Network.Network)
		}
	}
	return all
}

// macOf derives a machine's MAC address from its IP address, so that nobody who
// remembers one finds another machine behind the other. 52:54 is locally
// administered.
func macOf(ip netip.Addr) string {
	b := ip.As4()
	return net.HardwareAddr{0x52, 0x54, b[0], b[1], b[2], b[3]}.String()
}
