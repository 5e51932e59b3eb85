package libvirt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// running finds the domain of a machine that runs.
func (l *Libvirt) running(o engine.Object) (hypervisor, string, error) {
	h, err := l.hypervisor()
	if err != nil {
		return nil, "", err
	}
	d, err := l.machine(h, refOf(o))
	name := d.Name
	switch {
	case err != nil:
		return nil, "", err
	case !l.ours(d.tag):
		return nil, "", taken("domain", name, d.tag)
	case d.State == "paused":
		return nil, "", fmt.Errorf("domain %s is paused: 'flowctl resume %s' lets it go on", name, o.Address)
	case d.State != "running":
		return nil, "", l.dead(h, name, fmt.Errorf("domain %s is %s: 'flowctl apply' starts it", name, d.State))
	default:
		return h, name, nil
	}
}

// inputPiece is how much of a command's input the agent gets at a time: it refuses
// messages of some hundred KiB.
const inputPiece = 32 << 10

// Exec implements providers.Execer, through the guest agent: the command runs as the
// user of the agent, who is root. All of its input is read before it begins; what it
// prints is read while it runs.
func (l *Libvirt) Exec(ctx context.Context, o engine.Object, argv []string, streams providers.Streams) (int, error) {
	if o.Address.Kind != engine.KindVM {
		return 0, providers.Unsupported(l.settings.Name, o.Address)
	}
	if streams.Terminal != nil {
		return 0, fmt.Errorf("the guest agent, which runs the command, has no terminals: use 'flowctl console %s'", o.Address)
	}
	h, domain, err := l.running(o)
	if err != nil {
		return 0, err
	}
	folder, err := inGuest(ctx, h, domain, nil, "mktemp -d /tmp/flowctl.XXXXXX")
	if err != nil {
		return 0, err
	}
	c := command{h: h, domain: domain, folder: strings.TrimSpace(folder)}
	defer c.clear()
	if err := c.feed(ctx, streams.In); err != nil {
		return 0, err
	}
	env := []string{"FLOWCTL_FLOW=" + l.settings.Flow, "FLOWCTL_MACHINE=" + o.Address.String()}
	return c.run(ctx, append(env, argv...), len(env), streams)
}

// inGuest runs a script of a shell and returns what it prints.
func inGuest(ctx context.Context, h hypervisor, domain string, input []byte, script string, args ...string) (string, error) {
	e, err := runInGuest(ctx, h, domain, append([]string{"/bin/sh", "-c", script, "sh"}, args...), input)
	if err != nil {
		return "", err
	}
	return string(e.Out), e.fault("domain " + domain)
}

// command is one command in a guest, with files for its streams in a folder there:
// what the agent itself keeps of them cannot be read before the command has ended.
type command struct {
	h              hypervisor
	domain, folder string
}

// feed puts the command's input in place.
func (c command) feed(ctx context.Context, in io.Reader) error {
	if in == nil {
		in = bytes.NewReader(nil)
	}
	piece := make([]byte, inputPiece)
	for first := true; ; first = false {
		n, err := io.ReadFull(in, piece)
		if n > 0 || first {
			if _, err := inGuest(ctx, c.h, c.domain, piece[:n], `cat >>"$1/in"`, c.folder); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the command's input: %w", err)
		}
	}
}

// launch is the shell that becomes the command, with its streams and surroundings.
const launch = `folder=$1 n=$2
shift 2
while [ $n -gt 0 ]; do export "$1"; shift; n=$((n - 1)); done
HOME=$(awk -F: '$3 == 0 { print $6; exit }' /etc/passwd)
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export HOME PATH
cd "${HOME:=/}"
exec "$@" <"$folder/in" >"$folder/out" 2>"$folder/err"`

// run runs the command, whose words begin with the variables of its environment, and
// passes on what it prints.
func (c command) run(ctx context.Context, words []string, variables int, streams providers.Streams) (int, error) {
	started, err := ask[struct{ PID int }](ctx, c.h, c.domain, "guest-exec", map[string]any{
		"path": "/bin/sh", "arg": append([]string{"-c", launch, "sh", c.folder, fmt.Sprint(variables)}, words...),
	})
	if err != nil {
		return 0, err
	}
	over := false
	defer func() {
		if !over {
			c.end(started.PID)
		}
	}()
	out := &following{command: c, path: c.folder + "/out", into: streams.Out}
	errs := &following{command: c, path: c.folder + "/err", into: streams.Err}
	defer out.close()
	defer errs.close()
	for p := (pause{20 * time.Millisecond, 500 * time.Millisecond}); ; {
		s, err := ask[execStatus](ctx, c.h, c.domain, "guest-exec-status", map[string]any{"pid": started.PID})
		if err != nil {
			return 0, err
		}
		read, err := out.more(ctx)
		more, err2 := errs.more(ctx)
		over = s.Exited
		switch err := cmp.Or(err, err2); {
		case err != nil:
			return 0, err
		case s.Exited && !(out.open && errs.open):
			return 0, fmt.Errorf("the command has run, but what it printed cannot be read: %w", cmp.Or(out.closed, errs.closed))
		case s.Exited && s.Signal != 0:
			return 128 + s.Signal, nil
		case s.Exited:
			return s.ExitCode, nil
		}
		if read || more {
			p.next = 20 * time.Millisecond
		}
		if !p.wait(ctx) {
			return 0, context.Cause(ctx)
		}
	}
}

// lastWords is how long ending a command, and clearing up after it, may take.
const lastWords = 10 * time.Second

// end ends a command that nobody waits for any more.
func (c command) end(pid int) {
	ctx, stop := context.WithTimeout(context.Background(), lastWords)
	defer stop()
	_, _ = inGuest(ctx, c.h, c.domain, nil, `kill "$1"`, fmt.Sprint(pid)) // it may have ended
}

// clear removes the command's files.
func (c command) clear() {
	ctx, stop := context.WithTimeout(context.Background(), lastWords)
	defer stop()
	_, _ = inGuest(ctx, c.h, c.domain, nil, `rm -rf "$1"`, c.folder) // a guest that is gone has none
}

// following reads a file of a guest that grows.
type following struct {
	command
	path   string
	into   io.Writer
	handle int
	open   bool
	closed error // why it cannot be opened
}

// readPiece is how much of a file the agent sends at a time.
const readPiece = 256 << 10

// more passes on what has come since it was called last, and whether that is
// anything.
func (f *following) more(ctx context.Context) (bool, error) {
	if !f.open {
		handle, err := ask[int](ctx, f.h, f.domain, "guest-file-open", map[string]any{"path": f.path, "mode": "r"})
		if err != nil && !errors.Is(err, errSilent) && !errors.Is(err, errLost) && ctx.Err() == nil {
			f.closed = err
			return false, nil // the shell has not made it yet, mostly
		}
		if err != nil {
			return false, err
		}
		f.handle, f.open = handle, true
	}
	for read := false; ; read = true {
		piece, err := ask[struct {
			Count int
			Text  []byte `json:"buf-b64"`
		}](ctx, f.h, f.domain, "guest-file-read", map[string]any{"handle": f.handle, "count": readPiece})
		if err != nil || piece.Count == 0 {
			return read, err
		}
		if _, err := f.into.Write(piece.Text); err != nil {
			return read, err
		}
	}
}

func (f *following) close() {
	if f.open {
		ctx, stop := context.WithTimeout(context.Background(), lastWords)
		defer stop()
		_, _ = ask[struct{}](ctx, f.h, f.domain, "guest-file-close", map[string]any{"handle": f.handle}) // the agent closes it when it ends
	}
}

// Console implements providers.Consoler.
func (l *Libvirt) Console(ctx context.Context, o engine.Object, keys <-chan []byte, out io.Writer) error {
	h, domain, err := l.running(o)
	if err != nil {
		return err
	}
	return h.Console(ctx, domain, keys, out)
}
