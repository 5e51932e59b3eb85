package libvirt

import (
	"encoding/xml"
	"fmt"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"libvirt.org/go/libvirtxml"
)

// tag is what a domain's metadata say of it.
type tag struct {
	XMLName    xml.Name `xml:"urn:flowctl object"`
	Flow       string   `xml:"flow,attr"`
	Address    string   `xml:"address,attr"`
	Generation int      `xml:"generation,attr"`
	Operation  string   `xml:"operation,attr"`
	State      string   `xml:"state,attr"` // whose state tells of it
	IP         string   `xml:"ip,attr,omitempty"`
}

func (l *Libvirt) tag(r providers.Ref, ip string) tag {
	return tag{Flow: l.settings.Flow, Address: r.Address.String(), Generation: r.Gen, Operation: r.Operation, State: l.state(), IP: ip}
}

// tagOf reads a domain's tag; the zero tag if it has none.
func tagOf(d libvirtxml.Domain) tag {
	var all struct {
		Tag tag `xml:"urn:flowctl object"`
	}
	if d.Metadata != nil {
		_ = xml.Unmarshal([]byte("<metadata>"+d.Metadata.XML+"</metadata>"), &all) // what others write there is none of ours
	}
	return all.Tag
}

// known is a domain with what it says of itself.
type known struct {
	domain
	xml libvirtxml.Domain
	tag tag
}

func describe(d domain) (known, error) {
	k := known{domain: d}
	if err := k.xml.Unmarshal(d.XML); err != nil {
		return k, fmt.Errorf("read what domain %s is: %w", d.Name, err)
	}
	k.tag = tagOf(k.xml)
	return k, nil
}

// find looks a domain up.
func find(h hypervisor, name string) (known, error) {
	d, err := h.Domain(name)
	if err != nil {
		return known{}, err
	}
	return describe(d)
}

// everything lists all domains there are.
func everything(h hypervisor) ([]known, error) {
	list, err := h.Domains()
	if err != nil {
		return nil, err
	}
	all := make([]known, 0, len(list))
	for _, d := range list {
		k, err := describe(d)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}

// ours reports whether a tag is of this flow, as the state here knows it.
func (l *Libvirt) ours(t tag) bool { return t.Flow == l.settings.Flow && t.State == l.state() }

// is reports whether a tag is that of an object.
func (t tag) is(r providers.Ref) bool {
	return t.Address == r.Address.String() && t.Generation == r.Gen
}

// ref names the object that a tag tells of.
func (t tag) ref() (providers.Ref, bool) {
	a, err := engine.ParseAddress(t.Address)
	return providers.Ref{Address: a, Gen: t.Generation, Operation: t.Operation}, err == nil
}

// taken is the error for a name that something foreign has.
func taken(what, name string, t tag) error {
	whose := "nobody's that flowctl knows of"
	if t.Flow != "" {
		whose = fmt.Sprintf("of %s in a flow %q whose state is elsewhere", t.Address, t.Flow)
	}
	return providers.Permanent(fmt.Errorf("there is a %s named %s already, %s: remove it, or give one of two flows of this name another", what, name, whose))
}
