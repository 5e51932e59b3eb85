package libvirt

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/flowctl/flowctl/providers"
)

// pollFirst and pollEvery are how often a machine that starts is asked whether it is
// ready, at first and later, and askTimeout how long one question may take: an emulated
// machine does its part of TLS slowly.
const pollFirst, pollEvery, askTimeout = 25 * time.Millisecond, 250 * time.Millisecond, 10 * time.Second

// ready waits until the engine of a machine answers, as long as its domain runs.
func (l *Libvirt) ready(ctx context.Context, h hypervisor, name string, ip netip.Addr) error {
	keys, err := l.keysOnce()
	if err != nil {
		return err
	}
	return l.readyWith(ctx, h, keys, name, ip)
}

func (l *Libvirt) readyWith(ctx context.Context, h hypervisor, keys *keyring, name string, ip netip.Addr) error {
	transport := &http.Transport{TLSClientConfig: keys.config(), DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: askTimeout}
	for p := (pause{pollFirst, pollEvery}); ; {
		err := ping(ctx, client, ip)
		if err == nil {
			return nil
		}
		switch over, err := startsOn(h, name); {
		case err != nil:
			return err
		case over != "":
			return l.dead(h, name, fmt.Errorf("domain %s is %s before its engine has answered", name, over))
		}
		if !p.wait(ctx) {
			return l.dead(h, name, fmt.Errorf("the engine of domain %s has not answered at %s: %w; last: %w", name, ip, context.Cause(ctx), err))
		}
	}
}

// ping asks an engine whether it is there.
func ping(ctx context.Context, c *http.Client, ip netip.Addr) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(ip.String(), enginePort)+"/_ping", nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers with status %s", resp.Status)
	}
	return nil
}

// dead completes the error for a machine that did not come up with the end of what
// it printed.
func (l *Libvirt) dead(h hypervisor, name string, err error) error {
	return l.shown(h, name, err, "nothing, as when its disk has no boot loader: an image without one needs a kernel")
}

// mute is the error for a machine that was made of a golden one's state and did not
// come up in time.
func (l *Libvirt) mute(h hypervisor, name string, err error) error {
	return l.shown(h, name, fmt.Errorf("domain %s, which is made of a golden machine's state, has not answered: %w", name, err), "nothing since then")
}

// shown completes an error with the end of a console, or with what it means if there is
// none.
func (l *Libvirt) shown(h hypervisor, name string, err error, nothing string) error {
	text := l.console(h, name)
	if text == "" {
		text = "  (" + nothing + ")"
	}
	return providers.Permanent(fmt.Errorf("%w. The last that its console shows:\n%s", err, text))
}

// consoleLines and consoleBytes bound the part of a console that errors show, and
// that is looked through for it.
const consoleLines, consoleBytes = 15, 16 << 10

// panicSign is what a kernel says as it gives up. What comes after it is where in the
// kernel that was; the reason stands before it.
const panicSign = "Kernel panic"

var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|\x1b[c>=]|[\x00-\x08\x0b-\x1f]`)

// console returns the end of what a machine printed, indented, as far as it can be
// read.
func (l *Libvirt) console(h hypervisor, name string) string {
	return l.consoleOf(h, l.volumeName(name, "console"))
}

func (l *Libvirt) consoleOf(h hypervisor, volume string) string {
	var text tail
	if h.Refresh(l.cfg.Pool) != nil || h.Download(l.cfg.Pool, volume, &text) != nil {
		return ""
	}
	return readable(text.last)
}

// readable makes of raw output lines for an error.
func readable(raw []byte) string {
	clean := escapes.ReplaceAllString(string(bytes.ToValidUTF8(raw, []byte("?"))), "")
	var lines []string
	for line := range strings.Lines(clean) {
		if line = strings.TrimRight(line, " \n"); line != "" {
			lines = append(lines, "  "+line)
		}
	}
	for i, line := range lines {
		if strings.Contains(line, panicSign) {
			lines = lines[:i+1]
			break
		}
	}
	return strings.Join(lines[max(0, len(lines)-consoleLines):], "\n")
}

// tail keeps the last of what is written to it.
type tail struct{ last []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.last = append(t.last, p...)
	t.last = t.last[max(0, len(t.last)-consoleBytes):]
	return len(p), nil
}

// startFault says what to do about a domain that does not start.
func startFault(err error) error {
	has := func(signs ...string) bool {
		for _, s := range signs {
			if strings.Contains(err.Error(), s) {
				return true
			}
		}
		return false
	}
	switch {
	case has("Cannot allocate memory", "cannot set up guest memory"):
		return providers.Permanent(fmt.Errorf("%w. Give the machine less memory", err))
	case has("Permission denied"):
		return providers.Permanent(fmt.Errorf("%w. QEMU may not read the pool's files: use a pool where libvirt expects its disks", err))
	default:
		return err
	}
}
