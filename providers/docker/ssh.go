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
		var err error
		if c.in, err = c.cmd.StdinPipe(); err != nil {
			return nil, err
		}
		if c.out, err = c.cmd.StdoutPipe(); err != nil {
			return nil, err
		}
		if err := c.cmd.Start(); err != nil {
			return nil, fmt.Errorf("reach %s: %w", u.Host, err)
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
	once      sync.Once
}

// Read returns what ssh complained about instead of a bare end of file: it is the
// only place that says why an engine is not reached.
func (c *sshConn) Read(b []byte) (int, error) {
	n, err := c.out.Read(b)
	if n == 0 && (errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed)) {
		if why := c.complaint.String(); why != "" {
			err = &net.OpError{Op: "ssh", Net: c.where, Err: errors.New(why)}
		}
	}
	return n, err
}

func (c *sshConn) Write(b []byte) (int, error) { return c.in.Write(b) }

// CloseWrite ends the input, which is how a stream to a container ends.
func (c *sshConn) CloseWrite() error { return c.in.Close() }

// Close implements net.Conn. It waits for the process.
func (c *sshConn) Close() error {
	c.once.Do(func() {
		c.in.Close()
		c.cmd.Process.Kill()
		c.cmd.Wait()
	})
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
