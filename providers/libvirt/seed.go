package libvirt

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"strings"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/kdomanski/iso9660"
)

// seedName are the names of files that a seed's file system takes.
var seedName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,30}$`)

// makeSeed makes the volume from which a machine learns what it is: cloud-init's
// NoCloud source (docs.cloud-init.io, "NoCloud"), and beside it, in the folder
// flowctl, the same for guests that have no cloud-init, and the keys of its engine.
func (l *Libvirt) makeSeed(h hypervisor, r providers.Ref, want engine.VM, net subnet, ip netip.Addr) (string, error) {
	keys, err := l.keysOnce()
	if err != nil {
		return "", err
	}
	files, err := seedFiles(keys, r, l.domainName(r)+"."+r.Operation, want, net, ip)
	if err != nil {
		return "", err
	}
	image, err := burn(files)
	if err != nil {
		return "", fmt.Errorf("make the seed of %s: %w", r.Address, err)
	}
	return l.fillVolume(h, l.volumeName(l.domainName(r), "seed"), padded(image, seedSize(want)))
}

// seedStep is what the size of a seed is a multiple of, and seedOwn what is in it
// besides what a spec writes, both in bytes. A machine that has a golden one's state
// still believes its seed to be as large as that one's was.
const seedStep, seedOwn = 1 << 20, 256 << 10

// seedSize is the least size of a machine's seed, in bytes.
func seedSize(want engine.VM) int {
	const sector = 2 << 10
	n := seedOwn + len(want.UserData)
	for name, value := range want.Metadata {
		n += len(name) + len(value) + sector
	}
	for _, f := range want.Files {
		n += len(f.Content) + 2*sector
	}
	return (n + seedStep - 1) / seedStep * seedStep
}

// padded fills an image up to a size.
func padded(image []byte, size int) []byte {
	return append(image, make([]byte, max(0, size-len(image)))...)
}

// fillVolume makes a volume of raw content, in place of one that there may be.
func (l *Libvirt) fillVolume(h hypervisor, name string, content []byte) (string, error) {
	size := int64(len(content))
	if h.Simulated() {
		return l.makeVolume(h, plain(name, size))
	}
	if err := h.RemoveVolume(l.cfg.Pool, name); err != nil && !errors.Is(err, providers.ErrNotFound) {
		return "", err
	}
	path, err := l.makeVolume(h, plain(name, size))
	if err != nil {
		return "", err
	}
	return path, storageFault(h.Upload(l.cfg.Pool, name, bytes.NewReader(content), size))
}

// seedFiles are what is in a seed. By instance a guest knows that it has not started
// before.
func seedFiles(keys *keyring, r providers.Ref, instance string, want engine.VM, net subnet, ip netip.Addr) (map[string]string, error) {
	cert, key, err := keys.issue(ip)
	if err != nil {
		return nil, err
	}
	machineID := make([]byte, 16) // machine-id(5)
	_, _ = rand.Read(machineID)   // never fails
	hostname := hostnameOf(r)
	metadata := maps.Clone(want.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	maps.Copy(metadata, map[string]string{"instance-id": instance, "local-hostname": hostname})
	meta, err := json.Marshal(metadata) // JSON is YAML
	if err != nil {
		return nil, err
	}
	at := netip.PrefixFrom(ip, net.prefix.Bits())
	files := map[string]string{
		"meta-data": string(meta) + "\n", "user-data": want.UserData, "vendor-data": vendorData,
		"network-config": fmt.Sprintf(networkConfig, macOf(ip), at, net.gateway, net.gateway),
		"flowctl/env":    fmt.Sprintf("ADDRESS=%s\nGATEWAY=%s\nHOSTNAME=%s\nMAC=%s\nMACHINE=%x\n", at, net.gateway, hostname, macOf(ip), machineID),
		"flowctl/ca.pem": string(keys.authority), "flowctl/cert.pem": string(cert), "flowctl/key.pem": string(key),
	}
	if want.UserData == "" {
		files["user-data"] = "#cloud-config\n{}\n"
	}
	for _, f := range want.Files {
		files["files/"+f.Name] = f.Content
	}
	return files, nil
}

// hostnameOf is what a machine calls itself.
func hostnameOf(r providers.Ref) string {
	name := providers.Name(r.Address, r.Gen)
	if r.Address.Kind == engine.KindWarm {
		name = "warm-" + name
	}
	name = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, name)
	return strings.Trim(name[:min(len(name), 63)], "-")
}

// networkConfig is version 2 of cloud-init's.
const networkConfig = `version: 2
ethernets:
  first:
    match: { macaddress: "%s" }
    addresses: [ "%s" ]
    routes: [ { to: "0.0.0.0/0", via: "%s" } ]
    nameservers: { addresses: [ "%s" ] }
`

// vendorData makes an engine of a machine that has cloud-init: it is run once, after
// whatever the user's own data say.
const vendorData = `#!/bin/sh
set -e
mkdir -p /run/flowctl /etc/docker/flowctl
mount -o ro -L cidata /run/flowctl
install -m 600 /run/flowctl/flowctl/*.pem /etc/docker/flowctl/
umount /run/flowctl
command -v dockerd >/dev/null || { apt-get update && apt-get install -y docker.io; }
mkdir -p /etc/systemd/system/docker.service.d
cat >/etc/systemd/system/docker.service.d/flowctl.conf <<'UNIT'
[Service]
ExecStart=
ExecStart=/bin/sh -c 'exec dockerd -H fd:// -H tcp://0.0.0.0:2376 --tlsverify --tlscacert=/etc/docker/flowctl/ca.pem --tlscert=/etc/docker/flowctl/cert.pem --tlskey=/etc/docker/flowctl/key.pem'
UNIT
systemctl daemon-reload
systemctl restart docker
`

// burn makes an ISO 9660 image with the label that cloud-init looks for.
func burn(files map[string]string) ([]byte, error) {
	w, err := iso9660.NewWriter()
	if err != nil {
		return nil, err
	}
	defer w.Cleanup()
	for name, content := range files {
		if err := w.AddFile(strings.NewReader(content), name); err != nil {
			return nil, err
		}
	}
	var image bytes.Buffer
	err = w.WriteTo(&image, "cidata")
	return image.Bytes(), err
}
