package libvirt

import (
	"bytes"
	"crypto/tls"
	"encoding/xml"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/kdomanski/iso9660"
	"libvirt.org/go/libvirtxml"
)

func bare(t *testing.T) *Libvirt {
	t.Helper()
	return New(providers.Settings{
		Name: Name, Flow: "shop", Dir: filepath.Join(t.TempDir(), "shop", Name), SpecDir: "/", Log: slog.New(slog.DiscardHandler),
		Config: engine.Encode(Config{URI: "test:///default", Accel: "tcg", Network: "default", Pool: "default"}),
	})
}

func TestAddressesAreChosenOnceEach(t *testing.T) {
	s := subnet{name: "lan", prefix: netip.MustParsePrefix("10.77.0.0/28"), gateway: netip.MustParseAddr("10.77.0.1")}
	taken := map[netip.Addr]bool{}
	for n := range 13 {
		a, err := s.pick(sum("node", string(rune('a'+n))), taken)
		if err != nil {
			t.Fatal(err)
		}
		if taken[a] || !s.prefix.Contains(a) || a == s.gateway || a == netip.MustParseAddr("10.77.0.0") || a == netip.MustParseAddr("10.77.0.15") {
			t.Errorf("machine %d gets %s, with %v taken", n, a, taken)
		}
		taken[a] = true
	}
	if a, err := s.pick(sum("late"), taken); err == nil || !strings.Contains(err.Error(), "no address left") {
		t.Errorf("a full network gives %s, %v", a, err)
	}
	one, _ := s.pick(sum("node"), nil)
	two, _ := s.pick(sum("node"), nil)
	if one != two {
		t.Errorf("the same machine gets %s and %s", one, two)
	}
}

func TestRangesOfNetworks(t *testing.T) {
	for text, want := range map[string]string{
		"<network><name>a</name><ip address='10.1.2.1' prefix='24'/></network>":                                                          "10.1.2.0/24 10.1.2.1",
		"<network><name>a</name><ip address='192.168.122.1' netmask='255.255.255.0'/></network>":                                         "192.168.122.0/24 192.168.122.1",
		"<network><name>a</name><ip family='ipv6' address='fd00::1' prefix='64'/><ip address='10.0.0.1' netmask='255.0.0.0'/></network>": "10.0.0.0/8 10.0.0.1",
		"<network><name>a</name><forward mode='bridge'/><bridge name='br0'/></network>":                                                  "invalid Prefix invalid IP",
	} {
		s, err := parseSubnet(text)
		if got := s.prefix.String() + " " + s.gateway.String(); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
}

// An engine with a guest's certificate answers us, and nobody without ours.
func TestKeysLetUsInAlone(t *testing.T) {
	l := bare(t)
	k, err := l.keysOnce()
	if err != nil {
		t.Fatal(err)
	}
	again, err := bareIn(l).keysOnce()
	if err != nil || !bytes.Equal(again.authority, k.authority) {
		t.Fatalf("the keys are made anew: %v", err)
	}
	cert, key, err := k.issue(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: k.config().RootCAs, ClientAuth: tls.RequireAndVerifyClientCert}
	s.StartTLS()
	defer s.Close()
	get := func(c *tls.Config) error {
		transport := &http.Transport{TLSClientConfig: c}
		defer transport.CloseIdleConnections()
		_, err := (&http.Client{Transport: transport}).Get(s.URL)
		return err
	}
	if err := get(k.config()); err != nil {
		t.Errorf("the flow's keys are refused: %v", err)
	}
	nobody := k.config()
	nobody.Certificates = nil
	if err := get(nobody); err == nil {
		t.Error("somebody without a certificate is let in")
	}
	other, err := bare(t).keysOnce()
	if err != nil {
		t.Fatal(err)
	}
	if err := get(other.config()); err == nil {
		t.Error("another flow is let in")
	}
	for _, f := range []string{"ca-key.pem", "key.pem"} {
		if info, err := os.Stat(filepath.Join(l.keyDir(), f)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info, err)
		}
	}
}

// bareIn is another provider of the same flow.
func bareIn(l *Libvirt) *Libvirt { return New(l.settings) }

func TestSeedTellsTheMachineWhatItIs(t *testing.T) {
	l := bare(t)
	r := providers.Ref{Address: engine.Addr(engine.KindVM, "node").At(3), Gen: 2, Operation: "r1-s1"}
	net := subnet{name: "lan", prefix: netip.MustParsePrefix("10.77.0.0/24"), gateway: netip.MustParseAddr("10.77.0.1")}
	keys, err := l.keysOnce()
	if err != nil {
		t.Fatal(err)
	}
	files, err := seedFiles(keys, r, l.domainName(r)+"."+r.Operation, engine.VM{Metadata: map[string]string{"role": "edge"}, Files: []engine.MachineFile{{Name: "motd", Content: "hello"}}}, net, netip.MustParseAddr("10.77.0.9"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := burn(files)
	if err != nil {
		t.Fatal(err)
	}
	got := readISO(t, image)
	for name, parts := range map[string][]string{
		"meta-data":      {`"local-hostname":"node-3-2"`, `"role":"edge"`, `"instance-id":"shop.node-3.2.r1-s1"`},
		"network-config": {"52:54:0a:4d:00:09", "10.77.0.9/24", `via: "10.77.0.1"`},
		"flowctl/env":    {"ADDRESS=10.77.0.9/24\n", "HOSTNAME=node-3-2\n"},
		"user-data":      {"#cloud-config"},
		"vendor-data":    {"--tlsverify"},
		"files/motd":     {"hello"},
	} {
		for _, part := range parts {
			if !strings.Contains(got[name], part) {
				t.Errorf("%s lacks %q:\n%s", name, part, got[name])
			}
		}
	}
	if _, err := tls.X509KeyPair([]byte(got["flowctl/cert.pem"]), []byte(got["flowctl/key.pem"])); err != nil {
		t.Error(err)
	}
	ours, err := os.ReadFile(filepath.Join(l.keyDir(), "key.pem"))
	if err != nil || bytes.Contains(image, ours) {
		t.Errorf("our own key is in the seed (%v)", err)
	}
}

func readISO(t *testing.T, image []byte) map[string]string {
	t.Helper()
	i, err := iso9660.OpenImage(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	root, err := i.RootDir()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	var walk func(f *iso9660.File, at string)
	walk = func(f *iso9660.File, at string) {
		if !f.IsDir() {
			text, err := io.ReadAll(f.Reader())
			if err != nil {
				t.Fatal(err)
			}
			got[at] = string(text)
			return
		}
		children, err := f.GetChildren()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range children {
			walk(c, strings.TrimPrefix(at+"/"+c.Name(), "/"))
		}
	}
	walk(root, "")
	return got
}

func TestTagsSurviveAndOthersAreNotTaken(t *testing.T) {
	l := bare(t)
	r := providers.Ref{Address: engine.Addr(engine.KindVM, "node").At(0), Gen: 1, Operation: "r1-s1"}
	text, err := xml.Marshal(l.tag(r, "10.77.0.9"))
	if err != nil {
		t.Fatal(err)
	}
	got := tagOf(libvirtxml.Domain{Metadata: &libvirtxml.DomainMetadata{XML: "<other xmlns='urn:x'/>" + string(text)}})
	if !l.ours(got) || !got.is(r) || got.IP != "10.77.0.9" || got.Operation != "r1-s1" {
		t.Errorf("read %+v", got)
	}
	if bare(t).ours(got) {
		t.Error("a flow of this name whose state is elsewhere takes it for its own")
	}
	if l.ours(tagOf(libvirtxml.Domain{Metadata: &libvirtxml.DomainMetadata{XML: "<other xmlns='urn:x'/>"}})) {
		t.Error("a domain without a tag is taken")
	}
}

func TestImagesAreInspected(t *testing.T) {
	dir := t.TempDir()
	qcow := append([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 16)...)
	qcow = append(qcow, 0, 0, 0, 2, 0, 0, 0, 0)
	layer := bytes.Clone(qcow)
	layer[15] = 1
	for name, c := range map[string]struct{ content, want string }{
		"raw": {"just bytes", "raw"}, "qcow2": {string(qcow), "qcow2"}, "layer": {string(layer), "a layer over another image"}, "empty": {"", "it is empty"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := inspect(f)
		f.Close()
		got := s.format
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if name == "qcow2" && s.size != 2<<32 {
			t.Errorf("its disk has %d bytes", s.size)
		}
	}
}

// The embedded boot sector is the one whose source lies beside it.
func TestProbeIsWhatItsSourceSays(t *testing.T) {
	if len(probeImage) != 512 || !bytes.HasSuffix(probeImage, []byte{0x55, 0xaa}) {
		t.Fatalf("the boot sector has %d bytes and ends with %x", len(probeImage), probeImage[len(probeImage)-2:])
	}
	for _, tool := range []string{"gcc", "objcopy"} {
		if _, err := osexec.LookPath(tool); err != nil {
			t.Skip("needs an assembler")
		}
	}
	dir := t.TempDir()
	for _, argv := range [][]string{
		{"gcc", "-c", "-m64", "-x", "assembler-with-cpp", "-o", filepath.Join(dir, "probe.o"), "probe/probe.S"},
		{"objcopy", "-O", "binary", "-j", ".text", filepath.Join(dir, "probe.o"), filepath.Join(dir, "probe.img")},
	} {
		if out, err := osexec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v\n%s", argv[0], err, out) // another processor's
		}
	}
	made, err := os.ReadFile(filepath.Join(dir, "probe.img"))
	if err != nil || !bytes.Equal(made, probeImage) {
		t.Errorf("probe.S makes something else (%v)", err)
	}
}

func TestConsoleTailsAreReadable(t *testing.T) {
	var c tail
	for range 3000 {
		if _, err := c.Write([]byte("noise\n")); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.last) > consoleBytes {
		t.Errorf("keeps %d bytes", len(c.last))
	}
	if got := readable([]byte("\x1b[2Jboot\r\n\n\x1b[1;31mpanic\x1b[0m\n")); got != "  boot\n  panic" {
		t.Errorf("%q", got)
	}
	raw := "no file system on /dev/vda\n[ 8.1] Kernel panic - not syncing: Attempted to kill init!\n" + strings.Repeat("[ 8.2]  ? handle_mm_fault\n", 40)
	if got, want := readable([]byte(raw)), "  no file system on /dev/vda\n  [ 8.1] Kernel panic - not syncing: Attempted to kill init!"; got != want {
		t.Errorf("of a panic it shows %q, want %q", got, want)
	}
}

// KVM is tried with the processor that machines get: there are computers on which it
// runs with others, and QEMU ends with this one.
func TestKVMIsTriedAsItIsUsed(t *testing.T) {
	l := bare(t)
	l.accel = func() string { return "kvm" }
	var d libvirtxml.Domain
	l.accelerate(&d)
	as := map[string]string{"host-passthrough": "-cpu host"}[d.CPU.Mode] // docs of libvirt, "CPU model and topology"
	if args := strings.Join(probeArgs("image"), " "); as == "" || !strings.Contains(args, as+" ") {
		t.Errorf("machines get the processor %q, and it is tried with %s", d.CPU.Mode, args)
	}
}
