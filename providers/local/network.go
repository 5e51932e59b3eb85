package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/agent"
	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/providers"
)

// loopback is the address of machines that are on no network.
const loopback = "127.0.0.1"

// loopbackRange is all that the loopback device answers to on Linux.
var loopbackRange = netip.MustParsePrefix("127.0.0.0/8")

// network makes networks: parts of the loopback range, from which each machine
// gets an address of its own.
func network() providers.Of[engine.Network] {
	return providers.Of[engine.Network]{
		ReadFn: func(_ context.Context, _ providers.Ref, known engine.Network) (engine.Network, providers.Status, error) {
			if known.ID == "" {
				return known, providers.Status{Presence: engine.Gone, Why: "it was not recorded"}, nil
			}
			return known, providers.Status{}, nil
		},
		ApplyFn: func(_ context.Context, r providers.Ref, want engine.Network, _ *engine.Network) (engine.Network, bool, error) {
			want.ID, want.Gateway = providers.Name(r.Address, r.Gen), loopback
			return want, true, nil
		},
		DeleteFn: func(context.Context, providers.Ref, engine.Network) error { return nil },
		CheckFn: func(_ context.Context, a engine.Address, want engine.Network, _ *engine.Network) engine.Diagnostics {
			if want.CIDR == "" {
				return nil
			}
			p, err := netip.ParsePrefix(want.CIDR)
			if err == nil && loopbackRange.Contains(p.Addr()) && p.Bits() >= 8 && p.Bits() <= 30 {
				return nil
			}
			return engine.Diagnostics{{Summary: "Network outside of this computer", Address: a,
				Detail: fmt.Sprintf("%s has cidr = %q, but the local provider has the loopback device only. Write a part of 127.0.0.0/8, such as \"127.10.0.0/24\".", a, want.CIDR)}}
		},
	}
}

// pickHost chooses the address that a machine's replicas listen on: the first of
// its network that no other machine has.
func (l *Local) pickHost(ctx context.Context, r providers.Ref, cidr string) (string, error) {
	if cidr == "" {
		return loopback, nil
	}
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return "", providers.Permanent(fmt.Errorf("network of %s: %w", r.Address, err))
	}
	mine := machineID(r.Address, r.Gen)
	ids, err := l.machines()
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, id := range ids {
		c := agent.NewClient(l.dir(id))
		m, err := c.Machine(ctx)
		c.Close()
		switch {
		case errors.Is(err, daemon.ErrNotRunning):
		case err != nil:
			return "", fmt.Errorf("ask %s for its address: %w", id, err)
		case id == mine:
			return m.Host, nil
		default:
			taken[m.Host] = true
		}
	}
	for a := p.Masked().Addr().Next(); p.Contains(a) && p.Contains(a.Next()); a = a.Next() {
		if !taken[a.String()] {
			return a.String(), nil
		}
	}
	return "", providers.Permanent(fmt.Errorf("the network %s has no address left for %s: give it a larger cidr", cidr, r.Address))
}

// image records images: what they are made from is pinned, and nothing is made
// of it.
func (l *Local) image() providers.Of[engine.Image] {
	return providers.Of[engine.Image]{
		ReadFn: func(_ context.Context, _ providers.Ref, known engine.Image) (engine.Image, providers.Status, error) {
			if known.ID == "" {
				return known, providers.Status{Presence: engine.Gone, Why: "it was not recorded"}, nil
			}
			return known, providers.Status{}, nil
		},
		ApplyFn: func(_ context.Context, r providers.Ref, want engine.Image, _ *engine.Image) (engine.Image, bool, error) {
			if want.ID = want.Ref; want.ID == "" {
				want.ID = l.settings.Flow + "/" + providers.Name(r.Address, r.Gen)
			}
			if want.Archive == "" {
				return want, true, nil
			}
			sum, err := l.digest(want.Archive)
			want.Digest = sum
			return want, err == nil, err
		},
		DeleteFn: func(context.Context, providers.Ref, engine.Image) error { return nil },
		CheckFn: func(_ context.Context, a engine.Address, _ engine.Image, _ *engine.Image) engine.Diagnostics {
			return engine.Diagnostics{{Severity: engine.Warning, Summary: "Image without effect", Address: a,
				Detail: fmt.Sprintf("%s is made by the local provider, which runs programs (exec) and no containers. The block is recorded, so that the spec stays portable, and nothing is built or pulled.", a)}}
		},
	}
}

func (l *Local) digest(path string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.settings.SpecDir, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", providers.Permanent(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
