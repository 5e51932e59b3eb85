package libvirt

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// pool is a hypervisor with what it takes to lend a machine. What is restored there is
// taken for whole before anything of it was read.
type pool struct {
	remover
	dir     string
	volumes []volume
	running []string
}

func (p *pool) Simulated() bool                                { return false }
func (p *pool) Refresh(string) error                           { return nil }
func (p *pool) Domains() ([]domain, error)                     { return nil, nil }
func (p *pool) Leases(string) ([]string, error)                { return nil, nil }
func (p *pool) Volumes(string) ([]volume, error)               { return p.volumes, nil }
func (p *pool) MakeVolume(string, string) error                { return nil }
func (p *pool) Upload(_, _ string, r io.Reader, _ int64) error { return nil }
func (p *pool) Volume(_, name string) (volume, error) {
	return volume{Name: name, Path: filepath.Join(p.dir, name)}, nil
}
func (p *pool) Network(name string) (string, error) {
	return `<network><name>` + name + `</name><ip address='10.77.0.1' prefix='24'/></network>`, nil
}
func (p *pool) Restore(file string) error {
	p.running = append(p.running, strings.TrimSuffix(filepath.Base(file), ".state"))
	return nil
}
func (p *pool) Stop(name string) error {
	p.running = slices.DeleteFunc(p.running, func(n string) bool { return n == name })
	return nil
}

// A machine that is lent ends, and so do its keys, even if it was thought to have failed
// when it began to run.
func TestALentMachineEnds(t *testing.T) {
	l, dir := bare(t), t.TempDir()
	l.hashes.file = "" // nothing is remembered
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, []byte("raw"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, want := &pool{dir: dir}, engine.VM{CPUs: 1, Memory: 512 * engine.MiB, Image: image}
	d := l.outline(h, want, plot{net: subnet{name: "lan"}, ip: nobody, disks: disks{own: "disk", seed: "seed", console: "console"}})
	d.Name = "golden"
	text, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	plain := &golden{key: "aa", state: filepath.Join(dir, "aa.save"), disk: filepath.Join(dir, "aa.disk"), size: 1 << 20}
	if err := os.WriteFile(plain.state, savedFile(t, text, "", strings.Repeat("0123456789abcdef", 5<<20/16)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := providers.Stock{Group: machineGroup, Key: "images", Wait: true}
	g := golden{key: l.stockedKey(plain, s), size: plain.size}
	r := providers.Ref{Address: machineGroup.At(0), Gen: 1, Operation: "r1-s1"}
	if err := l.stock(t.Context(), h, r, want, plain, g, s); err == nil || !strings.Contains(err.Error(), "before all of it was read") {
		t.Fatalf("stock: %v", err)
	}
	if len(h.running) > 0 {
		t.Errorf("still running: %v", h.running)
	}
	if left, err := os.ReadDir(l.settings.Dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

var machineGroup = engine.Addr(engine.KindVM, "node")

// What a group needs no more goes when it has another golden machine, and what is left of
// making that, but nothing of other groups whose machines are alike.
func TestGroupsSweepTheirOwnGoldenMachines(t *testing.T) {
	l, dir := bare(t), t.TempDir()
	plain := &golden{key: "aa"}
	key := func(group, stock string) string {
		return goldenPrefix + l.stockedKey(plain, providers.Stock{Group: engine.Addr(engine.KindVM, group), Key: stock})
	}
	h := &pool{dir: dir}
	add := func(stem string, whole bool) {
		for _, what := range []string{".disk", ".save"} {
			v, _ := h.Volume("", stem+what)
			h.volumes = append(h.volumes, v)
		}
		if whole {
			if err := os.WriteFile(filepath.Join(dir, stem+".save"), savedFile(t, savedDefinition, "", ""), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(goldenPrefix+"aa.0", true)
	add(key("node", "old")+".1", true)
	add(key("node", "new")+".2", false) // whoever made it was killed
	add(key("node", "new")+".3", true)
	add(key("other", "else")+".4", true)
	if err := l.sweepStocked(h, golden{key: strings.TrimPrefix(key("node", "new"), goldenPrefix)}); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, stem := range []string{key("node", "old") + ".1", key("node", "new") + ".2"} {
		want = append(want, stem+".disk", stem+".save")
	}
	if !slices.Equal(h.removed, want) {
		t.Errorf("removed are %v, want %v", h.removed, want)
	}
}

// Whoever waits for a golden machine that takes too long still has time to be made.
func TestStockingLeavesTime(t *testing.T) {
	if d := stockTime(t.Context()); d != stockTimeout {
		t.Errorf("without an end: %s", d)
	}
	for _, left := range []time.Duration{time.Hour, stockTimeout, time.Minute} {
		ctx, cancel := context.WithTimeout(t.Context(), left)
		defer cancel()
		if d := stockTime(ctx); d > min(stockTimeout, left/2) || d <= 0 {
			t.Errorf("of %s: %s", left, d)
		}
	}
}

func TestOldImagesAreNotStocked(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "disk.qcow2")
	for note, want := range map[string]bool{"": false, "1\n": false, "yes": false, "2\n": true, "10": true} {
		for file, text := range map[string]string{image: "raw", filepath.Join(dir, "golden"): note} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := bare(t).restocks(engine.VM{Image: image}); got != want {
			t.Errorf("one whose file says %q: %v", note, got)
		}
	}
}
