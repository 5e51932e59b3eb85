//go:build libvirt_dlopen && cgo

package libvirt

import "libvirt.org/go/libvirt"

func (h *connection) Networks() ([]string, error) {
	list, err := h.c.ListAllNetworks(0)
	if err != nil {
		return nil, fault("list networks", err)
	}
	var all []string
	for _, n := range list {
		if xml, err := n.GetXMLDesc(0); err == nil { // else it is gone
			all = append(all, xml)
		}
		n.Free()
	}
	return all, nil
}

// onNetwork calls f with a network.
func (h *connection) onNetwork(act, name string, f func(*libvirt.Network) error) error {
	n, err := h.c.LookupNetworkByName(name)
	if err != nil {
		return fault(act+" network "+name, err)
	}
	defer n.Free()
	return fault(act+" network "+name, f(n))
}

func (h *connection) Network(name string) (string, error) {
	var xml string
	err := h.onNetwork("look for", name, func(n *libvirt.Network) (err error) {
		xml, err = n.GetXMLDesc(0)
		return err
	})
	return xml, err
}

func (h *connection) MakeNetwork(xml string) error {
	n, err := h.c.NetworkDefineXML(xml)
	if err != nil {
		return fault("define a network", err)
	}
	defer n.Free()
	if err := n.SetAutostart(true); err != nil {
		return fault("let a network start with the machine", err)
	}
	return nil
}

func (h *connection) StartNetwork(name string) error {
	return h.onNetwork("start", name, func(n *libvirt.Network) error {
		if on, err := n.IsActive(); err != nil || on {
			return err
		}
		return n.Create()
	})
}

func (h *connection) RemoveNetwork(name string) error {
	return h.onNetwork("remove", name, func(n *libvirt.Network) error {
		if on, err := n.IsActive(); err != nil {
			return err
		} else if on {
			if err := n.Destroy(); err != nil {
				return err
			}
		}
		return n.Undefine()
	})
}

func (h *connection) Leases(network string) ([]string, error) {
	var all []string
	err := h.onNetwork("ask for the leases of", network, func(n *libvirt.Network) error {
		leases, err := n.GetDHCPLeases()
		for _, l := range leases {
			all = append(all, l.IPaddr)
		}
		return err
	})
	return all, err
}
