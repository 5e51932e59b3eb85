package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/providers/libvirt"
)

const virsh = "virsh -q -c qemu:///system "

// shell runs a script.
func shell(ctx context.Context, script string) (string, error) {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", script, err, out, &complaint)
	}
	return strings.TrimSpace(string(out)), nil
}

// byHand starts the machine of the flow again, from nothing, as somebody would with
// virsh and docker. Its seed, its definition and its image are there.
func (m *machineBench) byHand(ctx context.Context) (t trip, err error) {
	const name = "machines.node-0"
	definition := filepath.Join(m.dir, "node.xml")
	text, err := shell(ctx, virsh+"dumpxml --inactive "+name+" | tee "+definition)
	if err != nil {
		return t, err
	}
	ip := regexp.MustCompile(` ip="([0-9.]+)"`).FindStringSubmatch(text)
	image, err := shell(ctx, "docker images --format '{{.Repository}}:{{.Tag}}' flowctl/machines/demo | head -n 1")
	keys, _ := filepath.Glob(filepath.Join(m.dir, ".flowctl/*/*/libvirt/keys")) // the pattern is right
	if len(keys) == 0 {
		keys, _ = filepath.Glob(filepath.Join(m.dir, ".flowctl/*/libvirt/keys"))
	}
	if err != nil || ip == nil || image == "" || len(keys) != 1 {
		return t, fmt.Errorf("the machine to start by hand is not as expected: %w, address %v, image %q, keys %v", err, ip, image, keys)
	}
	if _, err := shell(ctx, virsh+"destroy "+name+"; "+virsh+"undefine "+name); err != nil {
		return t, err
	}
	client, err := withKeys(keys[0])
	if err != nil {
		return t, err
	}
	disk, err := shell(ctx, "sed -n \"s/.*<source file='\\(.*\\.disk\\)'.*/\\1/p\" "+definition+" | head -n 1")
	if err != nil {
		return t, err
	}
	// No machine was there, so flowctl has brought the image to the pool, too.
	const base = "machines-by-hand"
	defer shell(context.WithoutCancel(ctx), virsh+"vol-delete --pool default "+base)
	t.begun = time.Now()
	source := filepath.Join(os.Getenv("FLOWCTL_TEST_MACHINE"), "disk.qcow2")
	if _, err := shell(ctx, fmt.Sprintf("%[1]svol-create-as default %[2]s $(stat -c %%s %[3]s) && %[1]svol-upload --pool default %[2]s %[3]s", virsh, base, source)); err != nil {
		return t, err
	}
	if _, err := shell(ctx, fmt.Sprintf("qemu-img create -q -f qcow2 -F qcow2 -b %s %s; %sdefine %s; %sstart %s", filepath.Join(filepath.Dir(disk), base), disk, virsh, definition, virsh, name)); err != nil {
		return t, err
	}
	if err := untilEngine(ctx, client, "https://"+ip[1]+":2376/_ping"); err != nil {
		return t, err
	}
	t.engine = time.Since(t.begun)
	remote := fmt.Sprintf("docker -H tcp://%s:2376 --tlsverify --tlscacert %[2]s/ca.pem --tlscert %[2]s/cert.pem --tlskey %[2]s/key.pem ", ip[1], keys[0])
	if _, err := shell(ctx, "docker save "+image+" | "+remote+"load; "+remote+"network create machines.machine; "+remote+"run -d --network machines.machine --network-alias web --network-alias web-0 -p 8080:8080 -e HOST=0.0.0.0 -e PORT=8080 "+image+" api"); err != nil {
		return t, err
	}
	err = until(ctx, "http://"+ip[1]+":8080/healthz")
	t.answer = time.Since(t.begun)
	return t, err
}

// withKeys is a client that shows a flow's certificate.
func withKeys(dir string) (*http.Client, error) {
	ours, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{ours}},
	}}, err
}

// handTime is how long a machine that is started by hand may take.
const handTime = 10 * time.Minute

func untilEngine(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, handTime)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := client.Get(url)
		if err == nil {
			resp.Body.Close()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s has not answered: %w", url, err)
		}
	}
}

// How many tiny guests there are, how long they may take to be up, and how often
// their figures are asked for.
const (
	tinyGuests = 20
	tinyTime   = 5 * time.Minute
	tinyRounds = 20
)

// tinyGuest is a kernel and a shell in 96 MiB; less is too little for the kernel.
const tinyGuest = `<domain type="qemu">
  <name>tiny.node-%[1]d</name>
  <memory unit="MiB">96</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch="x86_64" machine="q35">hvm</type>
    <kernel>%[2]s/kernel</kernel>
    <initrd>%[2]s/initrd</initrd>
    <cmdline>console=ttyS0 quiet mitigations=off panic=1 rdinit=/bin/sh</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <on_crash>destroy</on_crash>
  <devices>
    <controller type="usb" model="none"/>
    <serial type="pty"><log file="%[3]s/%[1]d.console"/></serial>
  </devices>
</domain>
`

// guests measures many tiny guests at once: how long until all are up, and how long
// it takes to learn what all of them use, as the provider does for each reading.
func (b *bench) guests(ctx context.Context) (err error) {
	dir, err := b.folder("tiny", "none", "")
	if err != nil {
		return err
	}
	l := libvirt.New(providers.Settings{
		Name: libvirt.Name, Flow: "tiny", Dir: filepath.Join(dir, "state"), Log: slog.New(slog.DiscardHandler),
		Config: engine.Encode(engine.DefaultsOf[libvirt.Config]()),
	})
	defer l.Close()
	begun := time.Now()
	defer func() {
		_, e := shell(context.WithoutCancel(ctx), fmt.Sprintf("for n in $(seq 0 %d); do %sdestroy tiny.node-$n || true; %[2]sundefine tiny.node-$n || true; done", tinyGuests-1, virsh))
		err = errors.Join(err, e)
	}()
	var all []engine.Object
	for n := range tinyGuests {
		file := filepath.Join(dir, fmt.Sprint(n, ".xml"))
		if err := os.WriteFile(file, fmt.Appendf(nil, tinyGuest, n, os.Getenv("FLOWCTL_TEST_MACHINE"), dir), 0o600); err != nil {
			return err
		}
		if _, err := shell(ctx, virsh+"define "+file); err != nil {
			return err
		}
		all = append(all, engine.Object{Address: engine.Addr(engine.KindVM, "node").At(n), Gen: 1})
	}
	defined := time.Since(begun)
	if _, err := shell(ctx, fmt.Sprintf("seq 0 %d | xargs -P 4 -I N %sstart tiny.node-N", tinyGuests-1, virsh)); err != nil {
		return err
	}
	started := time.Since(begun)
	up, cancel := context.WithTimeout(ctx, tinyTime)
	defer cancel()
	for n := range tinyGuests {
		if err := prompted(up, filepath.Join(dir, fmt.Sprint(n, ".console"))); err != nil {
			return fmt.Errorf("guest %d: %w", n, err)
		}
	}
	fmt.Printf("\nguests: %d of 96 MiB at once: defined after %.1f s, started after %.1f s, all up after %.1f s\n", tinyGuests, defined.Seconds(), started.Seconds(), time.Since(begun).Seconds())
	return readings(ctx, l, all)
}

// prompted waits until a console shows the prompt of a shell.
func prompted(ctx context.Context, file string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte("# ")) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			text, _ := os.ReadFile(file)
			return fmt.Errorf("it has not come up; its console shows %q", text[max(0, len(text)-300):])
		}
	}
}

// readings asks what all guests use, a second apart.
func readings(ctx context.Context, l *libvirt.Libvirt, all []engine.Object) error {
	var took []time.Duration
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range tinyRounds {
		begun := time.Now()
		usage, err := l.Usage(ctx, all)
		took = append(took, time.Since(begun))
		if err != nil {
			return err
		}
		if len(usage) != len(all) || slices.ContainsFunc(usage, func(u providers.Usage) bool { return u.MemoryBytes == 0 || u.State != "running" }) {
			return fmt.Errorf("not all guests tell what they use: %v", usage)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	fmt.Printf("  what all of them use, asked each second: %.1f ms in the middle, %.1f at most of %d\n", ms(took[len(took)/2]), ms(took[len(took)-1]), tinyRounds)
	return nil
}
