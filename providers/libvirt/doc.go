// Package libvirt makes machines real: a vm is a domain of a libvirt daemon, here
// or elsewhere, a network is a network of it. Functions run in the container
// engine of the guest, by the docker provider, which finds the engine by the
// machine's id.
//
// A machine is an overlay on a disk that all machines of a pool share, a seed with
// what the guest must know (its address, its keys), and a domain. Their names
// derive from the address, and the domain's metadata tell whose it is. Addresses
// are chosen here, not by a DHCP server, so that they are known before the machine
// starts; the fixed MAC address derives from the machine's address, too. A machine
// is ready when its engine answers. The engine asks for a certificate: keys are
// made for each flow and never leave this machine, but for each guest's own.
//
// The library that talks to libvirt needs C and the build tag libvirt_dlopen; it
// loads libvirt when it is first used. Without the tag the package says so to
// whoever uses it. All but dlopen.go is the same in both: it knows a daemon as a
// hypervisor. Start with Libvirt.
package libvirt
