package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"time"
)

// sshOp is what fails in errors of ssh.
const sshOp = "ssh"

// sshDialer returns a way to an engine by way of ssh: each connection is an ssh
// process whose streams the engine's own client joins to the engine's socket.
// Keys, agents and known hosts are ssh's business; it must not ask anything.
func sshDialer(u *url.URL) func(context.Context, string, string) (net.Conn, error) {
	args := []string{"-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"}
	if u.User != nil {
		args = append(args, "-l", u.User.Username())
	}
	if p := u.Port(); p != "" {
		args = append(args, "-p", p)
	}
	args = append(args, "--", u.Hostname(), "docker")
	if u.Path != "" {
		args = append(args, "--host", "unix://"+u.Path)
	}
	args = append(args, "system", "dial-stdio")
	return func(context.Context, string, string) (net.Conn, error) {
		// The connection outlives the call that opens it, so its context does not
		// end the process; closing it does.
		c := &sshConn{cmd: osexec.Command("ssh", args...), where: u.Host}
		c.cmd.Stderr = &c.complaint
		c.cmd.WaitDelay = lastWords // a connection that ssh shares with later ones keeps it open
		var err error
		if c.in, err = c.cmd.StdinPipe(); err != nil {
			return nil, err
		}
		if c.out, err = c.cmd.StdoutPipe(); err != nil {
			return nil, err
		}
		if err := c.cmd.Start(); err != nil {
			return nil, &net.OpError{Op: sshOp, Net: u.Host, Err: err}
		}
		return c, nil
	}
}

// sshConn is a connection through the streams of a process.
type sshConn struct {
	cmd       *osexec.Cmd
	where     string
	in        io.WriteCloser
	out       io.ReadCloser
	complaint tail
	over      sync.Once
}

// lastWords is how long ssh may take to end, and so to say why, after its output has.
const lastWords = 2 * time.Second

// Read returns what ssh complained about instead of a bare end of file: it is the
// only place that says why an engine is not reached.
func (c *sshConn) Read(b []byte) (int, error) {
	n, err := c.out.Read(b)
	if n == 0 && (errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed)) {
		kill := time.AfterFunc(lastWords, func() { c.cmd.Process.Kill() })
		c.wait()
		kill.Stop()
		if why := c.complaint.String(); why != "" {
			err = &net.OpError{Op: sshOp, Net: c.where, Err: errors.New(why)}
		}
	}
	return n, err
}

func (c *sshConn) Write(b []byte) (int, error) { return c.in.Write(b) }

// CloseWrite ends the input, which is how a stream to a container ends.
func (c *sshConn) CloseWrite() error { return c.in.Close() }

// Close implements net.Conn. It waits for the process.
func (c *sshConn) Close() error {
	c.in.Close()
	c.cmd.Process.Kill()
	c.wait()
	return nil
}

// wait waits for the process, and for all that it has complained of.
func (c *sshConn) wait() { c.over.Do(func() { c.cmd.Wait() }) }

// refusals are what ssh says when trying again is of no use, and what to do. The first
// that fits counts.
var refusals = []struct{ says, means, advice string }{
	{"remote host identification has changed", "the box shows another key than it did", "If it is right that the box is another now, forget its old key, with ssh-keygen -R KNOWN, and connect once by hand: SSH"},
	{"host key verification failed", "the box's key is not known here", "Connect once by hand, and compare the key: SSH"},
	{"permission denied (", "the box does not let you in", "Try by hand, SSH: bring your key there with ssh-copy-id, load it with ssh-add if it has a passphrase, or correct the user in engine"},
	{"docker: command not found", "the box has no docker command", "Install it there, where SSH finds it"},
	{"docker: not found", "the box has no docker command", "Install it there, where SSH finds it"},
	{"executable file not found", "there is no ssh here", "Install the OpenSSH client"},
}

// refused tells a refusal of ssh from all else that it complains of.
func refused(place string, op *net.OpError) error {
	u, err := url.Parse(place)
	if err != nil || op.Op != sshOp {
		return nil
	}
	text := strings.ToLower(op.Err.Error())
	for _, r := range refusals {
		if !strings.Contains(text, r.says) {
			continue
		}
		by, known := "ssh", u.Hostname()
		if p := u.Port(); p != "" {
			by, known = by+" -p "+p, fmt.Sprintf("'[%s]:%s'", known, p)
		}
		who := u.Hostname()
		if u.User != nil {
			who = u.User.Username() + "@" + who
		}
		lines := strings.Split(op.Err.Error(), "\n")
		advice := strings.NewReplacer("SSH", fmt.Sprintf("'%s %s'", by, who), "KNOWN", known).Replace(r.advice)
		return fmt.Errorf("the container engine at %s is not reached: %s (%s). %s", place, r.means, strings.TrimSpace(lines[len(lines)-1]), advice)
	}
	return nil
}

func (c *sshConn) LocalAddr() net.Addr  { return sshAddr("here") }
func (c *sshConn) RemoteAddr() net.Addr { return sshAddr(c.where) }

// Deadlines are not kept: requests end with their contexts, which close.
func (c *sshConn) SetDeadline(time.Time) error      { return nil }
func (c *sshConn) SetReadDeadline(time.Time) error  { return nil }
func (c *sshConn) SetWriteDeadline(time.Time) error { return nil }

type sshAddr string

func (a sshAddr) Network() string { return "ssh" }
func (a sshAddr) String() string  { return string(a) }

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - 2048; over > 0 {
		t.text = t.text[over:]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
